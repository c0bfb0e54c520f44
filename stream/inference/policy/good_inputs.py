"""Which GOOD parts' network inputs a worker sends: at least those that the sink may keep, hardly any others."""

from __future__ import annotations

import heapq

from stream.core.good_parts import hour_of, is_sampled


class GoodInputs:
    """The scores that one worker has given to GOOD parts. Pure: the time is that of the exposure.

    A part among the highest of the whole line in its hour is also among the highest of its worker, which therefore
    needs to know no other worker.
    """

    def __init__(self, per_hour: int, one_in: int) -> None:
        """Send those of the `per_hour` highest scores of a station and hour so far, and of one in `one_in` others."""
        self._per_hour = per_hour
        self._one_in = one_in
        #: By station, the latest hour and bundle, and a heap of their highest scores.
        self._highest: dict[str, tuple[tuple[int, str], list[float]]] = {}

    def wants(self, station: str, bundle_sha256: str, seq: int, score: float, captured_realtime_ns: int) -> bool:
        """Take a GOOD part; returns whether its network input is to be sent."""
        if is_sampled(seq, self._one_in):
            return True
        # Scores of two bundles may have different scales.
        now = hour_of(captured_realtime_ns), bundle_sha256
        latest, highest = self._highest.get(station, (now, []))
        if now != latest:
            highest = []
        self._highest[station] = now, highest
        if len(highest) < self._per_hour:
            heapq.heappush(highest, score)
        elif not highest or score <= highest[0]:
            return False
        else:
            heapq.heapreplace(highest, score)
        return True
