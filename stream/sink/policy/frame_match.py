"""Whether a result is about the frame that was announced: same exposure, capture process and bundle. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

#: Parts of one station that are remembered: many more than can be pending at once.
_REMEMBERED = 2_000


class FrameIdentity(NamedTuple):
    """What names a frame beyond its number; the last two are empty where an announcement does not say them.

    Attributes:
        captured_ns: moment of exposure, by the sender's monotonic clock.
        epoch: its capture process.
        bundle_sha256: the bundle for which its part was cropped.
    """

    captured_ns: int
    epoch: str
    bundle_sha256: str

    def difference(self, other: FrameIdentity) -> str | None:
        """Return in which respect the frame of a result differs from this announced one, or None."""
        if self.captured_ns != other.captured_ns:
            return f"exposed {abs(self.captured_ns - other.captured_ns) / 1e6:.3f} ms apart"
        if self.epoch and self.epoch != other.epoch:
            return "of another capture process"
        if self.bundle_sha256 and self.bundle_sha256 != other.bundle_sha256:
            return f"for bundle {other.bundle_sha256[:12] or 'unnamed'}, not {self.bundle_sha256[:12]}"
        return None


class FrameMatch:
    """The frames of the newest parts of each station, as announced and as results name them."""

    def __init__(self) -> None:
        self._announced: dict[str, OrderedDict[int, FrameIdentity]] = {}
        self._results: dict[str, OrderedDict[int, FrameIdentity]] = {}

    def announced(self, station: str, seq: int, frame: FrameIdentity) -> str | None:
        """Note an announcement; returns how the result that came before it differs, if one did."""
        _remember(self._announced.setdefault(station, OrderedDict()), seq, frame)
        before = self._results.setdefault(station, OrderedDict()).pop(seq, None)
        return None if before is None else frame.difference(before)

    def result(self, station: str, seq: int, frame: FrameIdentity) -> str | None:
        """Return how a result's frame differs from the announced one; notes it where none was announced yet."""
        expected = self._announced.setdefault(station, OrderedDict()).get(seq)
        if expected is not None:
            return expected.difference(frame)
        _remember(self._results.setdefault(station, OrderedDict()), seq, frame)
        return None


def _remember(frames: OrderedDict[int, FrameIdentity], seq: int, frame: FrameIdentity) -> None:
    frames.setdefault(seq, frame)
    while len(frames) > _REMEMBERED:
        frames.popitem(last=False)
