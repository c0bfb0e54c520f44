"""The marked parts of a station, and their scores by its bundles."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from stream.core.errors import PatchLineError
from stream.core.files import identity
from stream.core.verdict import Verdict
from stream.dashboard.tuning.change_record import ChangedPart, MarkedPartComparison, RecentComparison
from stream.line.rules import PartVerdict, verdict_on
from stream.line.sections import StationOptions
from stream.model.bundle import Bundle, load_bundle
from stream.store.event_reader import EventReader
from stream.store.records import Event
from stream.store.review_store import Mark, Review
from stream.training.dataset import network_input_hash

#: Marks of a station that count, latest first; older ones are of another light or another lot.
_MARKS = 200
#: Recent parts with another verdict that are listed, latest first.
_SHOWN = 60


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
    """Finds marked parts; remembers the names of their network inputs, which never change. Any thread may call."""

    def __init__(self, review: Review) -> None:
        self._review = review
        self._names: dict[int, str | None] = {}

    def of(self, station: str, store: EventReader) -> list[MarkedPart]:
        """Return the marked parts of a station that the event store still has, latest mark first."""
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
        """Return each part's image score by a bundle; None where none was computed.

        Args:
            parts: of one station.
            bundle: whose scores are wanted.
            folder: of the station's archived bundles, some of which have judged the parts.
        """
        stored = self._review.scores(parts[0].event.part.station, scale_of(bundle)) if parts else {}
        comparable = comparable_to(bundle, folder)

        def score(part: MarkedPart) -> float | None:
            if comparable(part.event):
                return part.event.part.score
            return stored.get(part.event.part.seq)

        return [score(part) for part in parts]


def verdicts_on(
    parts: list[MarkedPart],
    scores: list[float | None],
    bundle: Bundle,
    comparable: Callable[[Event], bool],
    ruled: tuple[str, StationOptions],
    store: EventReader,
) -> list[PartVerdict | None]:
    """Return what a bundle and a station's rules say of marked parts; None without a score.

    Args:
        parts: of one station.
        scores: of each, by the bundle.
        bundle: a calibrated one.
        comparable: whether an event's patch distances are those of the bundle.
        ruled: name and options of the station.
        store: has the patch distances of the events.

    Raises:
        ConfigError: the rules cannot be used with the bundle.
    """
    verdicts: list[PartVerdict | None] = []
    for part, score in zip(parts, scores, strict=True):
        if score is None:
            verdicts.append(None)
            continue
        images = store.images(part.event_id) if ruled[1].rules and comparable(part.event) else None
        verdicts.append(verdict_on(score, None if images is None else images.patch_distances, bundle.info, *ruled))
    return verdicts


def comparable_to(bundle: Bundle, folder: Path) -> Callable[[Event], bool]:
    """Return whether an event's score is what a bundle would give it; `folder` is of the station's archived bundles."""
    scale = scale_of(bundle)

    @cache
    def is_of_scale(by: str | None) -> bool:
        return by == bundle.sha256 or (by is not None and _scale_of_archived(folder / f"{by}.safetensors") == scale)

    return lambda event: is_of_scale(event.bundle_sha256)


def scale_of(bundle: Bundle) -> str:
    """Return a name for all that decides image scores: bundles of one scale differ in their thresholds only."""
    info = bundle.info
    digest = hashlib.sha256(msgspec.json.encode((info.spec, info.roi, info.reweight_neighbours)))
    digest.update(np.ascontiguousarray(bundle.bank).tobytes())
    for plane in bundle.position or ():
        digest.update(np.ascontiguousarray(plane).tobytes())
    if bundle.heads is not None:
        digest.update(np.ascontiguousarray(bundle.heads.head.weights).tobytes())
    return digest.hexdigest()[:16]


def comparison(
    parts: Iterable[MarkedPart],
    before: Iterable[PartVerdict | None],
    after: Iterable[PartVerdict | None],
) -> list[MarkedPartComparison]:
    """Return the table of marked parts under two bundles."""
    return [
        MarkedPartComparison(
            event_id=part.event_id,
            seq=part.event.part.seq,
            mark=part.mark.mark,
            score_before=None if old is None else old.score,
            score_after=None if new is None else new.score,
            verdict_before=None if old is None else old.verdict,
            verdict_after=None if new is None else new.verdict,
            within_spec_before=old is not None and old.within_spec,
            within_spec_after=new is not None and new.within_spec,
        )
        for part, old, new in zip(parts, before, after, strict=True)
    ]


def recent_comparison(
    events: Iterable[Event],
    verdicts: Mapping[int, tuple[PartVerdict | None, PartVerdict | None]],
    left_out: int,
) -> RecentComparison:
    """Return recent parts under two bundles, by the verdicts (old, new) on each event."""
    changed: list[ChangedPart] = []
    parts = 0
    for event in events:
        assert event.event_id is not None, "it was read from the store"
        old, new = verdicts.get(event.event_id, (None, None))
        if old is None or new is None or old.verdict is None or new.verdict is None:
            continue
        parts += 1
        if old.verdict is not new.verdict:
            changed.append(
                ChangedPart(
                    event_id=event.event_id,
                    seq=event.part.seq,
                    captured_s=event.captured_realtime_ns / 1e9,
                    score_before=old.score,
                    score_after=new.score,
                    verdict_before=old.verdict,
                    verdict_after=new.verdict,
                    within_spec_before=old.within_spec,
                    within_spec_after=new.within_spec,
                )
            )
    to_good = sum(part.verdict_after is Verdict.GOOD for part in changed)
    return RecentComparison(
        parts=parts,
        left_out=left_out,
        to_good=to_good,
        to_defect=len(changed) - to_good,
        changed=changed[:_SHOWN],
    )


def _scale_of_archived(path: Path) -> str | None:
    """Return the scale of an archived bundle; None when it is not archived or cannot be read."""
    stamp = identity(path)
    try:
        return None if stamp is None else _scale_of_file(path, stamp)
    except PatchLineError:
        return None


@lru_cache(maxsize=64)
def _scale_of_file(path: Path, _identity: tuple[int, int, int]) -> str:
    return scale_of(load_bundle(path))
