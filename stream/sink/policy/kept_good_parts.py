"""Which GOOD parts the event store keeps with their images, so that a miss can be found and shown.

Of each station and hour those with the highest scores, the near misses; and a sample of all others, by which a user
can tell how many defects pass. When the budget is full, the oldest hour goes first, in it the lowest score.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Iterator
from typing import NamedTuple

from stream.core.good_parts import KeptAs, is_sampled


class KeptGoodPart(NamedTuple):
    """A GOOD part in the store.

    Attributes:
        station, seq: the part.
        bundle_sha256: by which it was scored; scores of two bundles are not compared.
        hour: of its exposure, since 1970.
        score: its image score.
        kept_as: why it is kept.
        size_bytes: of its images in the store.
    """

    station: str
    bundle_sha256: str
    seq: int
    hour: int
    score: float
    kept_as: KeptAs
    size_bytes: int


class KeptGoodParts:
    """What is kept at present. Pure: the caller stores and removes."""

    def __init__(self, *, per_hour: int, one_in: int, budget_bytes: int) -> None:
        """Keep the `per_hour` highest of a station and hour and one in `one_in` (0: none), within the budget."""
        self._per_hour = per_hour
        self._one_in = one_in
        self._budget_bytes = budget_bytes
        self._parts: dict[tuple[str, int], KeptGoodPart] = {}
        self._protected: set[tuple[str, int]] = set()
        #: Near misses of each station, bundle and hour, (score, −seq) rising: of equals the earliest part stays.
        self._near_misses: dict[tuple[str, str, int], list[tuple[float, int]]] = {}
        #: (hour, score, station, seq) of all parts, some of which have been removed.
        self._oldest: list[tuple[int, float, str, int]] = []
        self.size_bytes = 0

    def __len__(self) -> int:
        """Return the number of parts kept."""
        return len(self._parts) + len(self._protected)

    def kept_as(self, station: str, bundle_sha256: str, seq: int, hour: int, score: float) -> KeptAs | None:
        """Return why a new GOOD part is to be kept; None: it is not."""
        if is_sampled(seq, self._one_in):
            return "sample"
        near_misses = self._near_misses.get((station, bundle_sha256, hour), [])
        if len(near_misses) < self._per_hour or (self._per_hour and (score, -seq) > near_misses[0]):
            return "near_miss"
        return None

    def add(self, part: KeptGoodPart) -> list[KeptGoodPart]:
        """Take a part that was stored; returns those to remove from the store now, possibly itself."""
        if (part.station, part.seq) in self._parts or (part.station, part.seq) in self._protected:
            return []
        self._parts[part.station, part.seq] = part
        self.size_bytes += part.size_bytes
        heapq.heappush(self._oldest, (part.hour, part.score, part.station, part.seq))
        if part.kept_as == "near_miss":
            insort(self._near_misses.setdefault(_key(part), []), (part.score, -part.seq))
        return [*self._displaced(part), *self._beyond_budget()]

    def protect(self, part: KeptGoodPart) -> None:
        """Take back a part that was to be removed but stays, since a user has marked it: it counts, and displaces none.

        It is not returned again.
        """
        self._protected.add((part.station, part.seq))
        self.size_bytes += part.size_bytes

    def _displaced(self, by: KeptGoodPart) -> Iterator[KeptGoodPart]:
        near_misses = self._near_misses.get(_key(by), [])
        while len(near_misses) > self._per_hour:
            _, negative_seq = near_misses[0]
            yield self._remove(self._parts[by.station, -negative_seq])

    def _beyond_budget(self) -> Iterator[KeptGoodPart]:
        while self.size_bytes > self._budget_bytes and self._oldest:
            _, _, station, seq = heapq.heappop(self._oldest)
            part = self._parts.get((station, seq))
            if part is not None:
                yield self._remove(part)

    def _remove(self, part: KeptGoodPart) -> KeptGoodPart:
        del self._parts[part.station, part.seq]
        self.size_bytes -= part.size_bytes
        if part.kept_as == "near_miss":
            key = _key(part)
            self._near_misses[key].remove((part.score, -part.seq))
            if not self._near_misses[key]:
                del self._near_misses[key]
        return part


def _key(part: KeptGoodPart) -> tuple[str, str, int]:
    return part.station, part.bundle_sha256, part.hour
