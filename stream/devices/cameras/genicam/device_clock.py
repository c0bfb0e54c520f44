"""A camera's time stamps on the clock of this host."""

from __future__ import annotations

#: How long the quickest way seen counts: two crystals drift apart by up to 0.1 ms in each second.
WINDOW_NS = 10_000_000_000


class DeviceClock:
    """Maps a camera's time stamps to the host's monotonic clock by the quickest arrival of the last 10 to 20 s.

    Every frame arrives later than it was exposed, by a time that varies. The smallest difference between
    arrival and stamp is the nearest to the offset of the two clocks that can be seen from here.
    """

    def __init__(self) -> None:
        """Begin without knowing anything of the camera's clock."""
        self._newest_ns: int | None = None  # on the camera's clock
        self._since_ns: int | None = None  # when the present window began
        self._lowest_ns = 0  # in the present window
        self._earlier_ns: int | None = None  # in the window before it

    def captured_ns(self, device_ns: int, arrived_ns: int) -> int:
        """Return the host's time of a camera's stamp; never later than the arrival.

        A stamp before the one before it means that the camera's clock was set: then nothing is known.
        """
        offset_ns = arrived_ns - device_ns
        age_ns = 2 * WINDOW_NS
        if self._since_ns is not None and self._newest_ns is not None and device_ns >= self._newest_ns:
            age_ns = arrived_ns - self._since_ns
        if age_ns >= WINDOW_NS:
            self._earlier_ns = self._lowest_ns if age_ns < 2 * WINDOW_NS else None
            self._lowest_ns, self._since_ns = offset_ns, arrived_ns
        self._lowest_ns = min(self._lowest_ns, offset_ns)
        self._newest_ns = device_ns
        return device_ns + (self._lowest_ns if self._earlier_ns is None else min(self._lowest_ns, self._earlier_ns))
