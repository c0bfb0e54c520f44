"""The live feed in the dashboard: a thread that drains it, and the browsers' tasks that it wakes."""

from __future__ import annotations

import asyncio
import logging
import threading

from stream.core.errors import StoreError
from stream.dashboard.live.frames import live_frame, part_header, state_header
from stream.dashboard.live.latest import STATE, LatestParts, LivePart
from stream.line.config import LineConfig
from stream.store.review_store import Review
from stream.transport.broadcast import FeedClient
from stream.transport.messages import LineState, ToDashboard
from stream.transport.sockets import Received, Sockets

log = logging.getLogger(__name__)


class Hub:
    """Holds the newest of everything; read it in the event loop's thread only."""

    def __init__(self, config: LineConfig, review: Review) -> None:
        """Connect to the sink's feed; raises TransportError."""
        self.newest = LatestParts(config.stations)
        self._review = review
        self._frames: dict[str, tuple[int, bytes]] = {}
        self._sockets = Sockets(config.transport.keys)
        self._client = FeedClient(self._sockets, config.feed_address())
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._drain, name="feed", daemon=True)
        self._news: set[asyncio.Event] = set()

    def start(self) -> None:
        """Begin to listen; call it in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._ending.set()
        self._thread.join(timeout=2.0)
        self._sockets.close()

    def subscribe(self) -> asyncio.Event:
        """Return an event that is set whenever there is something new."""
        event = asyncio.Event()
        self._news.add(event)
        return event

    def unsubscribe(self, event: asyncio.Event) -> None:
        """Wake this event no more."""
        self._news.discard(event)

    def frame(self, channel: str) -> bytes:
        """Return the newest of a channel as browsers receive it; made once for all of them."""
        version = self.newest.versions[channel]
        made = self._frames.get(channel)
        if made is None or made[0] != version:
            made = self._frames[channel] = (version, self._make(channel))
        return made[1]

    def _make(self, channel: str) -> bytes:
        if channel == STATE:
            return live_frame(state_header(self.newest, self._seen()))
        shown = self.newest.shown[channel]
        return live_frame(part_header(shown.settled), shown.patch_distances, shown.preview_jpeg)

    def _seen(self) -> dict[tuple[str, str, int], tuple[str, float]]:
        alarms = self.newest.state.alarms if self.newest.state else []
        try:
            return self._review.acknowledged((each.kind, each.subject, each.raised_realtime_ns) for each in alarms)
        except StoreError as error:
            log.error("%s", error)  # noqa: TRY400 - one line says it all
            return {}

    def _drain(self) -> None:
        taken = threading.Event()
        while not self._ending.is_set():
            received = self._client.receive(timeout_ms=200)
            if received:
                # While the loop is busy nothing more is received, and the sink drops what is too much.
                taken.clear()
                self._loop.call_soon_threadsafe(self._take, received, taken)
                while not taken.wait(0.5) and not self._ending.is_set():
                    pass

    def _take(self, received: list[Received[ToDashboard]], taken: threading.Event) -> None:
        for message, attachments in received:
            if isinstance(message, LineState):
                self.newest.take_state(message)
            elif len(attachments) == 2:
                self.newest.take_part(LivePart(message, attachments[0], attachments[1]))
        taken.set()
        for event in self._news:
            event.set()
