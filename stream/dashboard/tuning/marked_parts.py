"""The parts of a station that people have marked, and what its bundles make of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from stream.core.errors import PatchLineError
from stream.core.files import identity
from stream.core.verdict import verdict_of
from stream.dashboard.tuning.changes import MarkedPartBeforeAfter
from stream.model.bundle import Bundle, load_bundle
from stream.store.event_store import EventStore
from stream.store.records import Event
from stream.store.review_store import Mark, Review
from stream.training.dataset import network_input_hash

#: The newest marks of a station count; older ones are of another light, another lot.
_MARKS = 200


class MarkedPart(NamedTuple):
    """A marked part: its event, its mark, and the name of its network input, None where the store has none."""

    event: Event
    mark: Mark
    picture: str | None

    @property
    def event_id(self) -> int:
        """Number of the event."""
        assert self.event.event_id is not None, "it was read from the store"
        return self.event.event_id


class MarkedParts:
    """Finds marked parts; it remembers their pictures' names, for these never change."""

    def __init__(self, review: Review) -> None:
        self._review = review
        self._names: dict[int, str | None] = {}

    def of(self, station: str, store: EventStore) -> list[MarkedPart]:
        """Return the marked parts of a station that the event store still has, the last marked first."""
        marked = []
        for mark in self._review.marks_of(station, _MARKS):
            for event in store.search(station=station, seq=mark.seq, limit=1):
                assert event.event_id is not None, "it was read from the store"
                if event.event_id not in self._names:
                    picture = store.network_input(event.event_id)
                    self._names[event.event_id] = None if picture is None else network_input_hash(picture)
                marked.append(MarkedPart(event, mark, self._names[event.event_id]))
        return marked

    def scores(self, parts: list[MarkedPart], bundle: Bundle, folder: Path) -> list[float | None]:
        """Return each part's image score by a bundle; None where nobody has computed it.

        Args:
            parts: of one station.
            bundle: with which to judge.
            folder: of the station's kept bundles, some of which have judged the parts.
        """
        scale = scale_of(bundle)
        anew = self._review.scores(parts[0].event.part.station, scale) if parts else {}

        def score(part: MarkedPart) -> float | None:
            by = part.event.bundle_sha256
            if by is not None and (by == bundle.sha256 or _scale_of_kept(folder / f"{by}.safetensors") == scale):
                return part.event.part.score
            return anew.get(part.event.part.seq)

        return [score(part) for part in parts]


def scale_of(bundle: Bundle) -> str:
    """Name what decides image scores: bundles of one scale differ in their thresholds only."""
    info = bundle.info
    digest = hashlib.sha256(msgspec.json.encode((info.spec, info.roi, info.reweight_neighbours)))
    digest.update(np.ascontiguousarray(bundle.bank).tobytes())
    return digest.hexdigest()[:16]


def compared(
    parts: Iterable[MarkedPart],
    before: Iterable[float | None],
    after: Iterable[float | None],
    thresholds: tuple[float, float],
) -> list[MarkedPartBeforeAfter]:
    """Return the table of marked parts under two bundles, by their scores and thresholds, (old, new) each."""
    return [
        MarkedPartBeforeAfter(
            event_id=part.event_id,
            seq=part.event.part.seq,
            mark=part.mark.mark,
            score_before=old,
            score_after=new,
            verdict_before=None if old is None else verdict_of(old, thresholds[0]),
            verdict_after=None if new is None else verdict_of(new, thresholds[1]),
        )
        for part, old, new in zip(parts, before, after, strict=True)
    ]


def _scale_of_kept(kept: Path) -> str | None:
    """Return the scale of a kept bundle; None when it is not kept (any more), or cannot be read."""
    found = identity(kept)
    try:
        return None if found is None else _scale_of_file(kept, found)
    except PatchLineError:
        return None


@lru_cache(maxsize=64)
def _scale_of_file(kept: Path, _identity: tuple[int, int, int]) -> str:
    return scale_of(load_bundle(kept))
