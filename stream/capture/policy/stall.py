"""When a camera that should deliver has stalled: decided once for each silence."""

from __future__ import annotations


class Stall:
    """How long ago the last frame came. Pure: the clock is passed in."""

    def __init__(self, after_ns: int | None, since_ns: int) -> None:
        """Take a silence of `after_ns` for a stall, counted from `since_ns` at first; None: there is no stall."""
        self._after_ns = after_ns
        self._heard_ns = since_ns
        #: No frame has come for too long, and none has come since.
        self.on = False

    def heard(self, now_ns: int) -> None:
        """Note that a frame came, good or bad."""
        self._heard_ns = max(self._heard_ns, now_ns)
        self.on = False

    def begins(self, now_ns: int) -> bool:
        """Whether a stall begins now: True once for each."""
        if self.on or self._after_ns is None or now_ns - self._heard_ns < self._after_ns:
            return False
        self.on = True
        return True

    @property
    def text(self) -> str:
        """What is wrong, for a person; empty while nothing is."""
        if not self.on or self._after_ns is None:
            return ""
        return f"no frame for {self._after_ns / 1e6:g} ms"
