"""Results that arrive before the announcement of their part, held until it comes. Pure."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

R = TypeVar("R")

#: Results of one station that are held; with more, the lowest number goes on without its announcement.
_HELD = 64
#: Longest wait, ns: an announcement that is later was lost.
_LONGEST_NS = 1_000_000_000


class _Held(NamedTuple, Generic[R]):
    result: R
    until_ns: int


class EarlyResults(Generic[R]):
    """Results that wait for their announcements, which name the frame that a result must be about.

    An announcement takes another way than a result, and can be later by what its connection is slower. A result waits
    for half of the time that its part has left, a second at most, so that a part whose announcement was lost has its
    verdict in time.
    """

    def __init__(self) -> None:
        self._held: dict[str, dict[int, _Held[R]]] = {}

    def hold(self, station: str, seq: int, result: R, now_ns: int, deadline_ns: int) -> list[R]:
        """Hold a result; returns those that wait no longer for it. The first one about a part stays."""
        held = self._held.setdefault(station, {})
        held.setdefault(seq, _Held(result, now_ns + min((deadline_ns - now_ns) // 2, _LONGEST_NS)))
        return [held.pop(min(held)).result for _ in range(len(held) - _HELD)]

    def holds(self, station: str, seq: int) -> bool:
        """Whether a result about this part waits."""
        return seq in self._held.get(station, {})

    def take(self, station: str, seq: int) -> R | None:
        """Return the result about a part that has been announced, if one waits."""
        held = self._held.get(station, {}).pop(seq, None)
        return None if held is None else held.result

    def below(self, station: str, seq: int) -> list[R]:
        """Return the results whose announcements were lost: a later number was announced."""
        held = self._held.get(station, {})
        return [held.pop(number).result for number in sorted(held) if number < seq]

    def due(self, now_ns: int) -> list[R]:
        """Return the results that have waited long enough."""
        return [
            held.pop(number).result
            for held in self._held.values()
            for number in sorted(held)
            if held[number].until_ns <= now_ns
        ]

    def all(self) -> list[R]:
        """Return whatever still waits."""
        return [held.pop(number).result for held in self._held.values() for number in sorted(held)]

    @property
    def next_ns(self) -> int | None:
        """Earliest moment at which `due` has a result; None where none waits."""
        return min((one.until_ns for held in self._held.values() for one in held.values()), default=None)
