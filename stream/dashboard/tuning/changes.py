"""Changes of a station's bundle: kept with what they do, put live, undone. Each step stands in the audit log."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from stream.core.errors import ConflictError, PatchLineError, StoreError
from stream.core.verdict import Verdict
from stream.dashboard.tuning.bundle_archive import BundleArchive
from stream.line.config import LineConfig
from stream.line.install import confirm_live, put_live
from stream.store.review_store import AuditEntry, MarkKind, Review

log = logging.getLogger(__name__)

#: Changes of a station that are shown, and whose bundles are kept.
KEPT = 30

ChangeKind = Literal["accept", "threshold", "teach"]
State = Literal["offered", "live", "undone", "discarded"]
PendingStep = Literal["live", "undo"]


class MarkedPartBeforeAfter(BaseModel):
    """A marked part under the old bundle and under the new one."""

    event_id: int
    seq: int
    mark: MarkKind
    score_before: float | None
    score_after: float | None
    verdict_before: Verdict | None
    verdict_after: Verdict | None


class Step(BaseModel):
    """What somebody did with a change."""

    at_s: float
    who: str
    what: str


class ChangeDraft(BaseModel):
    """A new bundle and what it does; `base` and `bundle` are hashes of files."""

    station: str
    kind: ChangeKind
    who: str
    note: str
    base: str
    bundle: str
    threshold_before: float
    threshold_after: float
    patches_before: int
    patches_after: int
    warnings: list[str]
    table: list[MarkedPartBeforeAfter]


class ChangeRecord(ChangeDraft):
    """A change as it is kept; `asked`: what was begun, as long as nobody has written down how it ended."""

    at_s: float
    state: State = "offered"
    asked: PendingStep | None = None
    log: list[Step]


class Change(ChangeRecord):
    """A change, and what can be done with it now."""

    id: int
    may_go_live: bool
    may_undo: bool


class BundleChanges:
    """The changes of all stations; any thread may call, one thing happens at a time."""

    def __init__(self, config: LineConfig, review: Review) -> None:
        """Keep changes in `review`, and their bundles in `kept`."""
        self._config = config
        self._review = review
        self._turn = threading.Lock()
        self.kept = BundleArchive(config)

    def offer(self, draft: ChangeDraft, made: Path) -> int:
        """Keep a change with the bundle file that was `made`; returns its number. Raises BundleError, StoreError."""
        with self._turn:
            self.kept.add(draft.station, draft.bundle, made)
            now_s = time.time()
            record = ChangeRecord(
                **draft.model_dump(), at_s=now_s, log=[Step(at_s=now_s, who=draft.who, what="offered")]
            )
            entry = AuditEntry(at_s=now_s, who=draft.who, what=f"offer {draft.kind}", detail=_named(record))
            number = self._review.add_change(draft.station, record.model_dump_json(), entry)
            self._tidy(draft.station)
            return number

    def of(self, station: str) -> list[Change]:
        """Return the last changes of a station, the newest first. Raises StoreError."""
        live = self.kept.live(station)
        return [self._shown(number, record, live) for number, record in self._records(station)]

    def get(self, number: int) -> Change | None:
        """Return a change, or None. Raises StoreError."""
        record = self._record(number)
        return None if record is None else self._shown(number, record, self.kept.live(record.station))

    def put_live(self, number: int, who: str) -> Change:
        """Give the station the bundle of a change; raises Conflict-, Reload-, Bundle- or StoreError."""
        with self._turn:
            record = self._known(number)
            if record.state not in ("offered", "undone"):
                raise ConflictError(f"this change is {record.state}")
            self._install(number, record, "live", who)
            return self._step(number, record, who, "put live", state="live")

    def undo(self, number: int, who: str) -> Change:
        """Give the station back the bundle before a change; raises Conflict-, Reload-, Bundle- or StoreError."""
        with self._turn:
            record = self._known(number)
            if record.state != "live":
                raise ConflictError(f"this change is {record.state}, not live")
            self._install(number, record, "undo", who)
            return self._step(number, record, who, "undone", state="undone")

    def discard(self, number: int, who: str) -> Change:
        """Offer a change no longer; raises ConflictError, StoreError."""
        with self._turn:
            record = self._known(number)
            if record.state not in ("offered", "undone"):
                raise ConflictError(f"this change is {record.state}")
            return self._step(number, record, who, "discarded", state="discarded")

    def resume(self, who: str) -> None:
        """End what was begun when the dashboard died: where the file was replaced already, the line is to confirm it.

        The line may have taken it or not; a file that it refuses must not stay in place for its next start.
        """
        for station in self._config.stations:
            try:
                for number, record in self._records(station):
                    if record.asked is not None:
                        log.warning("station %s: change %d was interrupted (%s)", station, number, record.asked)
                        self._resume(number, record, who)
            except PatchLineError as error:
                log.error("station %s: %s", station, error)  # noqa: TRY400 - one line says it all

    def _resume(self, number: int, record: ChangeRecord, who: str) -> None:
        if self.kept.live(record.station) == (record.bundle if record.asked == "live" else record.base):
            (self.put_live if record.asked == "live" else self.undo)(number, who)
            return
        with self._turn:
            if (now := self._known(number)).asked is not None:
                self._step(number, now, who, "was interrupted; nothing has changed")

    def _install(self, number: int, record: ChangeRecord, step: PendingStep, who: str) -> None:
        live, wanted = self.kept.live(record.station), record.bundle if step == "live" else record.base
        done = record.asked == step and live == wanted  # nobody has written down how it ended
        if step == "live" and record.kind == "teach" and not done:
            # Learned from nothing that was before: it may follow whatever there is now.
            _, before = self.kept.keep_live(record.station)
            assert before.info.thresholds is not None, "live bundles are calibrated"
            record.base, record.patches_before = before.sha256, len(before.bank)
            record.threshold_before = before.info.thresholds.image
        base = record.base if step == "live" else record.bundle
        file = self.kept.whole(record.station, wanted)
        # Written first: what cannot be put down in the audit log is not done.
        record.asked = step
        self._save(number, record, who, "asks to put live" if step == "live" else "asks to undo")
        try:
            if done:
                confirm_live(self._config, record.station, before=self.kept.whole(record.station, base))
            else:
                put_live(self._config, record.station, file, base=base)
        except Exception as error:
            left = step if self.kept.live(record.station) == wanted else None  # it could not be put back
            try:
                self._step(number, record, who, f"refused: {error}", asked=left)
            except StoreError as unwritten:
                log.error("%s", unwritten)  # noqa: TRY400 - what was refused matters more
            raise

    def _step(
        self,
        number: int,
        record: ChangeRecord,
        who: str,
        what: str,
        state: State | None = None,
        asked: PendingStep | None = None,
    ) -> Change:
        record.asked, record.state = asked, state or record.state
        record.log.append(Step(at_s=time.time(), who=who, what=what))
        self._save(number, record, who, what)
        self._tidy(record.station)
        return self._shown(number, record, self.kept.live(record.station))

    def _save(self, number: int, record: ChangeRecord, who: str, what: str) -> None:
        said, _, why = what.partition(": ")
        detail = f"{_named(record)}: {why}" if why else _named(record)
        entry = AuditEntry(at_s=time.time(), who=who, what=f"{said}: {record.kind}", detail=detail)
        self._review.save_change(number, record.model_dump_json(), entry)

    def _shown(self, number: int, record: ChangeRecord, live: str) -> Change:
        kept = {bundle: self.kept.file(record.station, bundle).is_file() for bundle in (record.bundle, record.base)}
        offered = record.state in ("offered", "undone")
        # Interrupted: the file lies there, and nobody knows what the line has made of it.
        put, undone = record.asked == "live" and record.bundle == live, record.asked == "undo" and record.base == live
        follows = record.kind == "teach" or record.base == live or put
        return Change(
            **record.model_dump(),
            id=number,
            may_go_live=offered and follows and kept[record.bundle],
            may_undo=record.state == "live" and (record.bundle == live or undone) and kept[record.base],
        )

    def _known(self, number: int) -> ChangeRecord:
        record = self._record(number)
        if record is None:
            raise ConflictError(f"there is no change {number}")
        if record.station not in self._config.stations:
            raise ConflictError(f"this change is of station {record.station}, which the configuration does not have")
        return record

    def _record(self, number: int) -> ChangeRecord | None:
        body = self._review.change(number)
        return None if body is None else ChangeRecord.model_validate_json(body)

    def _records(self, station: str) -> list[tuple[int, ChangeRecord]]:
        rows = self._review.changes(station, KEPT)
        return [(number, ChangeRecord.model_validate_json(body)) for number, body in rows]

    def _tidy(self, station: str) -> None:
        """Remove the bundles of discarded changes, and of those that are too old to be shown."""
        records = [record for _, record in self._records(station)]
        bundles = {each.bundle for each in records if each.state != "discarded"}
        self.kept.tidy(station, bundles | {each.base for each in records})


def _named(record: ChangeRecord) -> str:
    return (
        f"{record.station}: {record.base[:12]} → {record.bundle[:12]}, threshold {record.threshold_before:.4g} → "
        f"{record.threshold_after:.4g}, patches {record.patches_before} → {record.patches_after} {record.note}"
    ).strip()
