"""When a camera has stalled: decided once for each period without a frame."""

from __future__ import annotations


class Stall:
    """How long ago the last frame came. Pure: the clock is passed in."""

    def __init__(self, after_ns: int | None, now_ns: int) -> None:
        """Regard `after_ns` without a frame as a stall, counted from `now_ns` at first; None: never."""
        self._after_ns = after_ns
        self._last_frame_ns = now_ns
        #: The stall has been reported by `begins`, and no frame has come since.
        self.stalled = False

    def on_frame(self, now_ns: int) -> None:
        """Note that a frame came, good or bad."""
        self._last_frame_ns = max(self._last_frame_ns, now_ns)
        self.stalled = False

    def begins(self, now_ns: int) -> bool:
        """Whether a stall begins now: True once for each."""
        if self.stalled or self._after_ns is None or now_ns - self._last_frame_ns < self._after_ns:
            return False
        self.stalled = True
        return True

    @property
    def text(self) -> str:
        """The fault in words; empty without one."""
        if not self.stalled or self._after_ns is None:
            return ""
        return f"no frame for {self._after_ns / 1e6:g} ms"
