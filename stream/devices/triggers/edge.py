"""Rising edges of an input that is looked at again and again, also when the connection was away in between."""

from __future__ import annotations

from stream.devices.triggers.trigger import TriggerEvent


class RisingEdge:
    """Remembers an input's last state. Pure: the clock is passed in."""

    def __init__(self) -> None:
        self._before: bool | None = None
        self._away = False

    def lost(self) -> None:
        """Note that it cannot be read: the time of an edge before the next reading is unknown."""
        self._away = True

    def seen(self, state: bool, now_ns: int) -> TriggerEvent | None:
        """Note the state; returns the event if it has risen. What it was before the first look is not known."""
        risen = state and self._before is False
        away, self._away, self._before = self._away, False, state
        if not risen:
            return None
        return TriggerEvent(now_ns, fault="the trigger could not be read when the part came" if away else "")
