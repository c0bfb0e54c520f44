"""The live feed in the dashboard: a thread receives it and wakes the browsers' tasks."""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import partial

from stream.core.errors import StoreError
from stream.dashboard.live.frames import live_frame, part_frame, state_header
from stream.dashboard.live.latest import STATE, LatestParts, LivePart
from stream.line.config import LineConfig
from stream.line.locks import lock_owner
from stream.store.review_store import Review
from stream.transport.broadcast import FeedClient
from stream.transport.messages import LineState, ToDashboard
from stream.transport.sockets import Received, Sockets, warn_if_unreached

log = logging.getLogger(__name__)


class Hub:
    """The latest of every channel; read it in the event loop's thread only."""

    def __init__(self, config: LineConfig, review: Review) -> None:
        """Connect to the sink's feed; raises TransportError."""
        self.latest = LatestParts(config.stations)
        self._review = review
        self._frames: dict[str, tuple[int, bytes]] = {}
        self._sockets = Sockets(config.transport.keys)
        self._client = FeedClient(self._sockets, config.feed_address())
        warn_if_unreached(config.feed_address(), partial(lock_owner, "sink", config.state))
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._drain, name="feed", daemon=True)
        self._news: set[asyncio.Event] = set()

    def start(self) -> None:
        """Begin to receive; call it in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def close(self) -> None:
        """Stop receiving."""
        self._ending.set()
        self._thread.join(timeout=2.0)
        self._sockets.close()

    def subscribe(self) -> asyncio.Event:
        """Return an event that is set whenever a channel has a new version."""
        event = asyncio.Event()
        self._news.add(event)
        return event

    def unsubscribe(self, event: asyncio.Event) -> None:
        """Set this event no longer."""
        self._news.discard(event)

    def frame(self, channel: str) -> bytes:
        """Return the latest frame of a channel; made once for all browsers."""
        version = self.latest.versions[channel]
        cached = self._frames.get(channel)
        if cached is None or cached[0] != version:
            cached = self._frames[channel] = (version, self._make(channel))
        return cached[1]

    def _make(self, channel: str) -> bytes:
        if channel == STATE:
            return live_frame(state_header(self.latest, self._acknowledged()))
        return part_frame(self.latest.shown[channel])

    def _acknowledged(self) -> dict[tuple[str, str, int], tuple[str, float]]:
        alarms = self.latest.state.alarms if self.latest.state else []
        try:
            return self._review.acknowledged((alarm.kind, alarm.subject, alarm.raised_realtime_ns) for alarm in alarms)
        except StoreError as error:
            log.error("%s", error)  # noqa: TRY400 - one line says it all
            return {}

    def _drain(self) -> None:
        taken = threading.Event()
        while not self._ending.is_set():
            received = self._client.receive(timeout_ms=200)
            if received:
                # While the loop is busy nothing more is received, and the sink drops the surplus.
                taken.clear()
                self._loop.call_soon_threadsafe(self._take, received, taken)
                while not taken.wait(0.5) and not self._ending.is_set():
                    pass

    def _take(self, received: list[Received[ToDashboard]], taken: threading.Event) -> None:
        for message, attachments in received:
            if isinstance(message, LineState):
                self.latest.take_state(message)
            elif len(attachments) == 2:
                self.latest.take_part(LivePart(message, attachments[0], attachments[1]))
        taken.set()
        for event in self._news:
            event.set()
