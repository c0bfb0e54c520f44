"""Keeps chosen GOOD parts with their images in the event store, by the rule of `policy/kept_good_parts.py`."""

from __future__ import annotations

import math
from dataclasses import replace

from stream.core.good_parts import hour_of
from stream.line.sections import StoreOptions
from stream.sink.policy.kept_good_parts import KeptGoodPart, KeptGoodParts
from stream.store.event_store import EventStore
from stream.store.records import Event
from stream.store.review_store import FILE_NAME as REVIEW_FILE
from stream.store.review_store import marked_among

#: Least interval of reading anew what the store has after its retention has deleted events, s.
_RELOAD_S = 600.0


class GoodPartKeeper:
    """What the recorder's thread does about GOOD parts; `on_recorded` raises StoreError."""

    def __init__(self, store: EventStore, options: StoreOptions) -> None:
        """Continue with what the store has, which is read at the first call of `on_recorded`."""
        self._store = store
        self._options = options
        self._kept = self._nothing()
        self._to_remove: list[KeptGoodPart] = []
        self._stale = True
        self._next_reload_s = -math.inf

    def _reload(self) -> None:
        self._kept = self._nothing()
        self._to_remove = []
        for event, size_bytes in self._store.kept_good_parts():
            self._take(event, size_bytes)
        self._remove()

    def choose(self, event: Event) -> Event:
        """Return a GOOD part as it is to be stored: with its images and the reason for keeping them, or without."""
        if event.network_input is not None and event.preview_jpeg and event.part.score is not None:
            hour = hour_of(event.captured_realtime_ns)
            kept_as = self._kept.kept_as(
                event.part.station, event.bundle_sha256 or "", event.part.seq, hour, event.part.score
            )
            if kept_as is not None:
                return replace(event, kept_as=kept_as)
        return event.without_images()

    def on_deleted(self) -> None:
        """Note that the store's retention has deleted events, kept parts perhaps among them."""
        self._stale = True

    def on_recorded(self, events: list[Event], now_s: float) -> None:
        """Take the events that were written, and remove the parts that they displace; `now_s` is monotonic."""
        if self._stale and now_s >= self._next_reload_s:
            self._reload()
            self._stale = False
            self._next_reload_s = now_s + _RELOAD_S
        for event in events:
            if event.kept_as is not None:
                self._take(event, self._store.images_bytes(event.part.station, event.part.seq))
        self._remove()

    def _take(self, event: Event, size_bytes: int) -> None:
        assert event.kept_as is not None
        assert event.part.score is not None, "a GOOD part has a score"
        hour = hour_of(event.captured_realtime_ns)
        part = KeptGoodPart(
            event.part.station,
            event.bundle_sha256 or "",
            event.part.seq,
            hour,
            event.part.score,
            event.kept_as,
            size_bytes,
        )
        self._to_remove += self._kept.add(part)

    def _remove(self) -> None:
        """Remove what was displaced, except for parts that a user has marked; what fails is tried again."""
        if not self._to_remove:
            return
        keys = [(part.station, part.seq) for part in self._to_remove]
        marked = marked_among(self._options.path / REVIEW_FILE, keys)
        self._store.remove_kept([key for key in keys if key not in marked], events=self._options.record == "non_good")
        for part in self._to_remove:
            if (part.station, part.seq) in marked:
                self._kept.protect(part)
        self._to_remove = []

    def _nothing(self) -> KeptGoodParts:
        options = self._options
        budget_bytes = int(options.good_gib * 2**30)
        return KeptGoodParts(per_hour=options.good_per_hour, one_in=options.good_one_in, budget_bytes=budget_bytes)
