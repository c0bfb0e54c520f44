"""The newest that the live feed told of every station, and who has been shown what.

Whoever watches is given the newest part of a station, and the next only once he said that he has it: a slow
browser sees fewer parts, never older ones, and nothing queues for it. Pure: values in, values out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from stream.core.verdict import Cause, Verdict
from stream.transport.messages import LineState, SettledPart

#: Parts a station's charts go back.
HISTORY = 600
#: Parts without a GOOD verdict whose pictures are kept for the line view.
REJECTS = 24
#: The channel of the line's state; stations' names are never empty.
STATE = ""


class LivePart(NamedTuple):
    """A part with its picture."""

    settled: SettledPart
    preview_jpeg: bytes
    patch_distances: bytes


class LatestParts:
    """What a browser that comes now would see."""

    def __init__(self, stations: Iterable[str]) -> None:
        """Know the stations of the line."""
        self.versions = dict.fromkeys([STATE, *stations], 0)
        self.state: LineState | None = None
        self.shown: dict[str, LivePart] = {}
        self.history: dict[str, deque[SettledPart]] = {name: deque(maxlen=HISTORY) for name in self.versions if name}
        self.rejects: deque[LivePart] = deque(maxlen=REJECTS)

    def take_state(self, state: LineState) -> None:
        """Replace the line's state."""
        self.state = state
        self.versions[STATE] += 1

    def take_part(self, shown: LivePart) -> None:
        """Note a part; one without picture joins the charts only, unless it is all that there is of it."""
        station = shown.settled.part.station
        if station not in self.history or shown.settled.part.cause is Cause.SKIPPED:
            return  # a free-running camera passes frames over all the time; the ledger counts them
        self.history[station].append(shown.settled)
        if shown.settled.part.verdict is not Verdict.GOOD:
            self.rejects.append(shown)
        if shown.preview_jpeg or shown.settled.part.verdict is not Verdict.GOOD:
            self.shown[station] = shown
            self.versions[station] += 1

    def reject(self, station: str, seq: int) -> LivePart | None:
        """Return one of the last rejects."""
        return next(
            (each for each in self.rejects if (each.settled.part.station, each.settled.part.seq) == (station, seq)),
            None,
        )


class Subscription:
    """What one browser was sent: on every channel at most one thing that it has not acknowledged."""

    def __init__(self, channels: Iterable[str]) -> None:
        """Watch channels: stations, and STATE."""
        self._sent = dict.fromkeys(channels, 0)
        self._waiting: set[str] = set()

    def due(self, versions: dict[str, int]) -> list[str]:
        """Return the channels with news that the browser has room for, and count them as sent."""
        due = [
            channel
            for channel, version in self._sent.items()
            if channel not in self._waiting and versions.get(channel, 0) > version
        ]
        for channel in due:
            self._sent[channel] = versions[channel]
            self._waiting.add(channel)
        return due

    def acknowledge(self, channel: str) -> None:
        """Note that the browser has drawn what came on a channel."""
        self._waiting.discard(channel)
