"""A pin of the computer itself, for example of a Raspberry Pi."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from stream.core.errors import ConfigError
from stream.core.options import Options, PositiveMs
from stream.devices.actuators.actuator import RejectCommand

if TYPE_CHECKING:
    from gpiozero import DigitalOutputDevice


class GpioHeartbeat(Options):
    """A pin that toggles while the line is well."""

    pin: int | str
    period_ms: PositiveMs = 500.0


class GpioActuatorOptions(Options):
    """Switch a GPIO pin; numbers are the chip's, as gpiozero counts them."""

    kind: Literal["gpio"]
    pin: int | str
    active_high: bool = True
    heartbeat: GpioHeartbeat | None = None

    def open(self) -> GpioActuator:
        """Take the pin and switch it off; raises ConfigError when there is no such pin or no access to it."""
        from gpiozero import DigitalOutputDevice

        try:
            output = DigitalOutputDevice(self.pin, active_high=self.active_high, initial_value=False)
        except Exception as error:  # noqa: BLE001 - gpiozero's and each pin library's own
            raise ConfigError(f"actuators: pin {self.pin}: {error}") from None
        if self.heartbeat is None:
            return GpioActuator(output, None, None)
        try:
            beat = DigitalOutputDevice(self.heartbeat.pin, initial_value=False)
        except Exception as error:  # noqa: BLE001 - gpiozero's and each pin library's own
            output.close()
            raise ConfigError(f"actuators: heartbeat.pin {self.heartbeat.pin}: {error}") from None
        return GpioActuator(output, beat, int(self.heartbeat.period_ms * 1e6))


class GpioActuator:
    """The acknowledgement of this actuator is that the pin's driver has taken the level; the wire is not checked."""

    fault: str | None = None

    def __init__(
        self, output: DigitalOutputDevice, heartbeat: DigitalOutputDevice | None, heartbeat_ns: int | None
    ) -> None:
        """Take over pins that are off."""
        self.heartbeat_ns = heartbeat_ns
        self._output = output
        self._heartbeat = heartbeat

    def check(self, _until_ns: int) -> None:
        """Do nothing: a pin cannot be asked."""

    def begin(self, _command: RejectCommand, _fired_ns: int) -> None:
        """Switch on."""
        self._output.on()

    def end(self) -> None:
        """Switch off."""
        self._output.off()

    def beat(self, level: bool, _until_ns: int) -> None:
        """Set the heartbeat's pin."""
        if self._heartbeat is not None:
            self._heartbeat.value = level

    def close(self) -> None:
        """Switch off and give the pins back."""
        self._output.off()
        for pin in (self._output, self._heartbeat):
            if pin is not None:
                pin.close()
