"""Changes of a station's bundle: stored with their effect, put live, undone. Every step is in the audit log."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from stream.core.errors import ConflictError, PatchLineError, StoreError
from stream.dashboard.tuning.bundle_archive import BundleArchive
from stream.dashboard.tuning.change_record import (
    Change,
    ChangeDraft,
    ChangeRecord,
    LogEntry,
    PendingStep,
    State,
    Step,
)
from stream.line.config import LineConfig
from stream.line.install import confirm_live, put_live
from stream.store.review_store import AuditEntry, Review

log = logging.getLogger(__name__)

#: Changes of a station that are shown and whose bundles stay in the archive.
SHOWN = 30


class BundleChanges:
    """The changes of all stations; any thread may call, one step happens at a time."""

    def __init__(self, config: LineConfig, review: Review) -> None:
        """Store changes in `review`, and their bundles in `archive`."""
        self._config = config
        self._review = review
        self._turn = threading.Lock()
        self.archive = BundleArchive(config)

    def offer(self, draft: ChangeDraft, made: Path) -> Change:
        """Store a change with the bundle file that was `made`. Raises BundleError, StoreError."""
        with self._turn:
            self.archive.add(draft.station, draft.bundle_sha256, made)
            now_s = time.time()
            entry = LogEntry(at_s=now_s, who=draft.who, what="offered")
            record = ChangeRecord(**draft.model_dump(), at_s=now_s, log=[entry])
            audit = AuditEntry(at_s=now_s, who=draft.who, what=f"offer {draft.kind}", detail=record.summary())
            number = self._review.add_change(draft.station, record.model_dump_json(), audit)
            self._tidy(draft.station)
            return self._shown(number, record, self.archive.live_sha256(record.station))

    def of(self, station: str) -> list[Change]:
        """Return the last changes of a station, latest first. Raises StoreError."""
        live_sha256 = self.archive.live_sha256(station)
        return [self._shown(number, record, live_sha256) for number, record in self._records(station)]

    def get(self, number: int) -> Change | None:
        """Return a change, or None. Raises StoreError."""
        record = self._record(number)
        return None if record is None else self._shown(number, record, self.archive.live_sha256(record.station))

    def apply(self, number: int, step: Step, user: str) -> Change:
        """Put a change live, undo it or discard it.

        Raises:
            ConflictError: the change, its files or the live bundle are not as the step needs them.
            ReloadError: the line refused the bundle and keeps its own.
            BundleError: a file cannot be read or written.
            StoreError: the step cannot be recorded; it is not taken then.
        """
        with self._turn:
            record = self._known(number)
            transition = record.transition(step)
            if step != "discard":
                self._install(number, record, step, user)
            return self._record_end(number, record, user, transition.entry, state=transition.state)

    def resume(self, user: str) -> None:
        """Finish the steps that were pending when the dashboard died.

        Where the file was replaced already, the line has to confirm it: it may have taken it or not, and a file that
        it refuses must not stay in place for its next start.
        """
        for station in self._config.stations:
            try:
                for number, record in self._records(station):
                    if record.pending is not None:
                        log.warning("station %s: change %d was interrupted (%s)", station, number, record.pending)
                        self._resume(number, record, record.pending, user)
            except PatchLineError as error:
                log.error("station %s: %s", station, error)  # noqa: TRY400 - one line says it all

    def _resume(self, number: int, record: ChangeRecord, step: PendingStep, user: str) -> None:
        if record.replacement(step, self.archive.live_sha256(record.station)).in_place:
            self.apply(number, step, user)
            return
        with self._turn:
            record = self._known(number)
            if record.pending is not None:
                self._record_end(number, record, user, "was interrupted; nothing has changed")

    def _install(self, number: int, record: ChangeRecord, step: PendingStep, user: str) -> None:
        replacement = record.replacement(step, self.archive.live_sha256(record.station))
        if replacement.rebases:
            _, base = self.archive.keep_live(record.station)
            assert base.info.thresholds is not None, "live bundles are calibrated"
            record.base_sha256, record.patches_before = base.sha256, len(base.bank)
            record.threshold_before = base.info.thresholds.image
            replacement = replacement._replace(old_sha256=base.sha256)
        bundle = self.archive.verified(record.station, replacement.new_sha256)
        # Recorded first: what cannot be written to the audit log is not done.
        record.pending = step
        self._save(number, record, user, "asks to put live" if step == "live" else "asks to undo")
        try:
            if replacement.in_place:
                before = self.archive.verified(record.station, replacement.old_sha256)
                confirm_live(self._config, record.station, before=before)
            else:
                put_live(self._config, record.station, bundle, base_sha256=replacement.old_sha256)
        except Exception as error:
            in_place = self.archive.live_sha256(record.station) == bundle.sha256  # it could not be put back
            try:
                self._record_end(number, record, user, f"refused: {error}", pending=step if in_place else None)
            except StoreError as unwritten:
                log.error("%s", unwritten)  # noqa: TRY400 - the refusal matters more
            raise

    def _record_end(
        self,
        number: int,
        record: ChangeRecord,
        user: str,
        what: str,
        state: State | None = None,
        pending: PendingStep | None = None,
    ) -> Change:
        """Record the outcome of a step, and remove the bundles that are no longer needed."""
        record.pending, record.state = pending, state or record.state
        record.log.append(LogEntry(at_s=time.time(), who=user, what=what))
        self._save(number, record, user, what)
        self._tidy(record.station)
        return self._shown(number, record, self.archive.live_sha256(record.station))

    def _save(self, number: int, record: ChangeRecord, user: str, what: str) -> None:
        action, _, reason = what.partition(": ")
        detail = f"{record.summary()}: {reason}" if reason else record.summary()
        entry = AuditEntry(at_s=time.time(), who=user, what=f"{action}: {record.kind}", detail=detail)
        self._review.save_change(number, record.model_dump_json(), entry)

    def _shown(self, number: int, record: ChangeRecord, live_sha256: str) -> Change:
        archived = [
            sha256
            for sha256 in (record.base_sha256, record.bundle_sha256)
            if self.archive.path(record.station, sha256).is_file()
        ]
        return Change(
            **record.model_dump(),
            id=number,
            may_go_live=record.may("live", live_sha256, archived),
            may_undo=record.may("undo", live_sha256, archived),
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
        rows = self._review.changes(station, SHOWN)
        return [(number, ChangeRecord.model_validate_json(body)) for number, body in rows]

    def _tidy(self, station: str) -> None:
        """Remove the bundles of discarded changes, and of those that are too old to be shown."""
        records = [record for _, record in self._records(station)]
        bundles = {record.bundle_sha256 for record in records if record.state != "discarded"}
        self.archive.tidy(station, bundles | {record.base_sha256 for record in records})
