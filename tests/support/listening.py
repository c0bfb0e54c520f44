"""An open trigger that is listened to in a thread of its own, as capture does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stream.devices.triggers.trigger import TriggerEvent, TriggerSource


class Listener:
    """The events so far."""

    def __init__(self, signal: TriggerSource) -> None:
        self.signal = signal
        self.heard: list[TriggerEvent] = []
        self.error: BaseException | None = None

    def run(self, stop: threading.Event) -> None:
        try:
            for trigger in self.signal.events(stop):
                self.heard.append(trigger)
        except BaseException as error:  # noqa: BLE001 - raised by the test
            self.error = error

    def until(self, condition: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
        """Wait for a condition."""
        by_s = time.monotonic() + timeout_s
        while not condition():
            assert self.error is None, self.error
            assert time.monotonic() < by_s, f"no {what}: fault {self.signal.fault}, heard {self.heard}"
            time.sleep(0.005)

    def well(self) -> None:
        self.until(lambda: self.signal.fault is None, "connection")

    def events(self, count: int) -> list[TriggerEvent]:
        """Wait for so many events; there must not be more."""
        self.until(lambda: len(self.heard) >= count, f"{count} events")
        assert len(self.heard) == count
        return self.heard

    @property
    def part_ids(self) -> list[str | None]:
        return [trigger.part_id for trigger in self.heard]


@contextmanager
def listening(signal: TriggerSource) -> Iterator[Listener]:
    """Listen while the block runs; afterwards the trigger must end by itself."""
    listener, stop = Listener(signal), threading.Event()
    thread = threading.Thread(target=listener.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive(), "the trigger does not end"
        assert listener.error is None, listener.error


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
