"""Lost frames, from a camera's own frame numbers."""

from __future__ import annotations

from typing import NamedTuple

from stream.core.errors import FrameFault
from stream.core.verdict import Cause
from stream.devices.cameras.camera import Frame

#: More than this is not announced for one gap: a jump so wide is no loss of single frames.
MOST_LOST = 1000
#: GigE Vision numbers frames from 1 to here and then begins again at 1.
_LAST_OF_16_BITS = 0xFFFF


class Gap(NamedTuple):
    """Frames between two that came: the numbers they had, and how many of them were lost."""

    first: int
    last: int
    lost: int

    def __str__(self) -> str:
        if self.first == self.last:
            return f"the camera's frame {self.first} was lost"
        numbers = f"the camera's frames {self.first} to {self.last}"
        all_lost = self.lost == _between(self.first - 1, self.last + 1)
        return f"{numbers} were lost" if all_lost else f"{self.lost} of {numbers} were lost"


def gap(previous: int | None, current: int, incomplete: int = 0) -> Gap | None:
    """Return what was lost between two frames, or None.

    Args:
        previous: number of the last frame that came, None for the first one.
        current: number of the present frame. One that is not above `previous` began again: nothing is lost,
            unless a 16-bit number ran over between them.
        incomplete: frames between the two that arrived damaged and have been reported.
    """
    if previous is None:
        return None
    missing = _between(previous, current)
    lost = min(missing - incomplete, MOST_LOST)
    if lost <= 0:
        return None
    return Gap(_after(previous, current), _before(current, previous), lost)


def lost_frames(gap: Gap, before_ns: int, after_ns: int) -> list[Frame]:
    """Return a frame with its fault for each one that was lost, spread evenly between its two neighbours in time."""
    step_ns = (after_ns - before_ns) / (gap.lost + 1)
    fault = FrameFault(Cause.CAMERA_FAULT, str(gap))
    return [Frame(None, before_ns + int(step_ns * (index + 1)), fault=fault) for index in range(gap.lost)]


def _between(previous: int, current: int) -> int:
    """Return how many numbers lie between two, 0 when the camera's count began again."""
    if current > previous:
        return current - previous - 1
    over = _LAST_OF_16_BITS - previous + current - 1
    return over if previous <= _LAST_OF_16_BITS and 0 <= over <= MOST_LOST else 0


def _after(number: int, following: int) -> int:
    return 1 if number == _LAST_OF_16_BITS and following < number else number + 1


def _before(number: int, preceding: int) -> int:
    return _LAST_OF_16_BITS if number == 1 and preceding > number else number - 1
