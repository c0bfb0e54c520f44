"""The latest part of every station and the state of the line, and what each browser was sent of them.

A browser gets a station's latest part, and the next only after it acknowledged that one: a slow browser sees fewer
parts, never older ones, and nothing queues for it. Pure: values in, values out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from stream.core.verdict import Cause, Verdict
from stream.transport.messages import LineState, SettledPart

#: Parts in a station's charts.
HISTORY = 600
#: Parts without a GOOD verdict whose previews are kept for the line view.
REJECTS = 24
#: The channel of the line's state; stations' names are never empty.
STATE = ""


class LivePart(NamedTuple):
    """A part with its preview and the patch distances of its map, float16."""

    settled: SettledPart
    preview_jpeg: bytes
    patch_distances: bytes


class LatestParts:
    """The latest of every channel, as a browser that connects now would see it."""

    def __init__(self, stations: Iterable[str]) -> None:
        """Begin without parts, for the stations of the line."""
        self.versions = dict.fromkeys([STATE, *stations], 0)
        self.state: LineState | None = None
        self.shown: dict[str, LivePart] = {}
        self.history: dict[str, deque[SettledPart]] = {name: deque(maxlen=HISTORY) for name in self.versions if name}
        self.rejects: deque[LivePart] = deque(maxlen=REJECTS)

    def take_state(self, state: LineState) -> None:
        """Replace the line's state."""
        self.state = state
        self.versions[STATE] += 1

    def take_part(self, part: LivePart) -> None:
        """Add a part; a GOOD one without preview joins the charts only."""
        station = part.settled.part.station
        if station not in self.history or part.settled.part.cause is Cause.SKIPPED:
            return  # a free-running camera skips frames all the time; the ledger counts them
        self.history[station].append(part.settled)
        if part.settled.part.verdict is not Verdict.GOOD:
            self.rejects.append(part)
        if part.preview_jpeg or part.settled.part.verdict is not Verdict.GOOD:
            self.shown[station] = part
            self.versions[station] += 1

    def reject(self, station: str, seq: int) -> LivePart | None:
        """Return one of the last rejects."""
        return next(
            (part for part in self.rejects if (part.settled.part.station, part.settled.part.seq) == (station, seq)),
            None,
        )


class Subscription:
    """What one browser was sent: on every channel at most one frame that it has not acknowledged."""

    def __init__(self, channels: Iterable[str]) -> None:
        """Subscribe to channels: stations, and STATE."""
        self._sent = dict.fromkeys(channels, 0)
        self._waiting: set[str] = set()

    def due(self, versions: dict[str, int]) -> list[str]:
        """Return the channels with a new version whose last frame was acknowledged, and count them as sent."""
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
        """Record that the browser has drawn the last frame of a channel."""
        self._waiting.discard(channel)
