"""Changes of a station's bundle: kept with what they do, put live, undone. Each step stands in the audit log."""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from stream.bundle import Bundle, live_bundle
from stream.bundle_file import file_sha256, identity
from stream.config import LineConfig
from stream.dashboard.answers import AuditEntry, MarkKind
from stream.dashboard.review import Review
from stream.errors import BundleError, ReloadError
from stream.installing import install, replace
from stream.messages import Verdict

#: Changes of a station that are shown, and whose bundles are kept.
KEPT = 30

ChangeKind = Literal["accept", "threshold", "teach"]


class Compared(BaseModel):
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


class Draft(BaseModel):
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
    table: list[Compared]


class Record(Draft):
    """A change as it is kept."""

    at_s: float
    state: Literal["offered", "live", "undone", "discarded"] = "offered"
    log: list[Step]


class Change(Record):
    """A change, and what can be done with it now."""

    id: int
    may_go_live: bool
    may_undo: bool


class Changes:
    """The changes of all stations; any thread may call, one thing happens at a time."""

    def __init__(self, config: LineConfig, review: Review) -> None:
        self._config = config
        self._review = review
        self._turn = threading.Lock()
        # Whatever a job has left that was killed: their files have names with a dot.
        for left in (config.store.path / "bundles").glob("*/.*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)

    def keep_live(self, station: str) -> tuple[Path, Bundle]:
        """Keep the bundle that a station has now; returns the kept file. Raises BundleError."""
        bundle = live_bundle(self._config.stations[station].bundle)
        kept = self._file(station, bundle.sha256)
        if not kept.is_file():
            replace(self._config.stations[station].bundle, kept)
            if file_sha256(kept) != bundle.sha256:
                kept.unlink()
                raise BundleError(f"{kept}: the bundle was replaced meanwhile; try again")
        return kept, bundle

    def new_file(self, station: str) -> Path:
        """Return where to write a bundle that is to be offered."""
        return self.folder(station) / f".new-{uuid.uuid4().hex}.safetensors"

    def offer(self, draft: Draft, made: Path) -> int:
        """Keep a change with the bundle file that was `made`; returns its number. Raises StoreError."""
        with self._turn:
            made.replace(self._file(draft.station, draft.bundle))
            now_s = time.time()
            record = Record(**draft.model_dump(), at_s=now_s, log=[Step(at_s=now_s, who=draft.who, what="offered")])
            entry = AuditEntry(at_s=now_s, who=draft.who, what=f"offer {draft.kind}", detail=_named(record))
            number = self._review.add_change(draft.station, record.model_dump_json(), entry)
            self._tidy(draft.station)
            return number

    def of(self, station: str) -> list[Change]:
        """Return the last changes of a station, the newest first. Raises StoreError."""
        live = self._live(station)
        return [
            self._shown(number, Record.model_validate_json(body), live)
            for number, body in self._review.changes(station, KEPT)
        ]

    def get(self, number: int) -> Change | None:
        """Return a change, or None. Raises StoreError."""
        record = self._record(number)
        return None if record is None else self._shown(number, record, self._live(record.station))

    def put_live(self, number: int, who: str) -> Change:
        """Give the station the bundle of a change; raises ReloadError, BundleError, StoreError."""
        with self._turn:
            record = self._known(number)
            if record.state not in ("offered", "undone"):
                raise ReloadError(f"this change is {record.state}")
            if record.kind == "teach":  # learned from nothing that was before: it may follow whatever there is now
                record.base = self.keep_live(record.station)[1].sha256
            self._install(record, record.bundle, base=record.base, who=who, what="asks to put live")
            return self._step(number, record, "live", who, "put live")

    def undo(self, number: int, who: str) -> Change:
        """Give the station back the bundle before a change; raises ReloadError, BundleError, StoreError."""
        with self._turn:
            record = self._known(number)
            if record.state != "live":
                raise ReloadError(f"this change is {record.state}, not live")
            self._install(record, record.base, base=record.bundle, who=who, what="asks to undo")
            return self._step(number, record, "undone", who, "undone")

    def discard(self, number: int, who: str) -> Change:
        """Offer a change no longer; raises ReloadError, StoreError."""
        with self._turn:
            record = self._known(number)
            if record.state not in ("offered", "undone"):
                raise ReloadError(f"this change is {record.state}")
            return self._step(number, record, "discarded", who, "discarded")

    def _install(self, record: Record, bundle: str, *, base: str, who: str, what: str) -> None:
        file = self._file(record.station, bundle)
        if not file.is_file():
            raise ReloadError(f"{file}: this bundle is not kept any more")
        # Written first: what cannot be put down in the audit log is not done.
        entry = AuditEntry(at_s=time.time(), who=who, what=f"{what}: {record.kind}", detail=_named(record))
        self._review.note(entry)
        install(self._config, record.station, file, base=base)

    def _step(
        self, number: int, record: Record, state: Literal["live", "undone", "discarded"], who: str, what: str
    ) -> Change:
        record.state = state
        step = Step(at_s=time.time(), who=who, what=what)
        record.log.append(step)
        entry = AuditEntry(at_s=step.at_s, who=who, what=f"{what}: {record.kind}", detail=_named(record))
        self._review.save_change(number, record.model_dump_json(), entry)
        self._tidy(record.station)
        return self._shown(number, record, self._live(record.station))

    def _shown(self, number: int, record: Record, live: str) -> Change:
        kept = {bundle: self._file(record.station, bundle).is_file() for bundle in (record.bundle, record.base)}
        offered = record.state in ("offered", "undone")
        follows = record.kind == "teach" or record.base == live
        return Change(
            **record.model_dump(),
            id=number,
            may_go_live=offered and follows and kept[record.bundle],
            may_undo=record.state == "live" and record.bundle == live and kept[record.base],
        )

    def _known(self, number: int) -> Record:
        record = self._record(number)
        if record is None:
            raise ReloadError(f"there is no change {number}")
        return record

    def _record(self, number: int) -> Record | None:
        body = self._review.change(number)
        return None if body is None else Record.model_validate_json(body)

    def _live(self, station: str) -> str:
        """Return the hash of the bundle that a station has; empty when it cannot be read."""
        path = self._config.stations[station].bundle if station in self._config.stations else Path()
        found = identity(path)
        return "" if found is None else _hash_of(path, found)

    def _tidy(self, station: str) -> None:
        """Remove the bundles of discarded changes, and of those that are too old to be shown."""
        records = [Record.model_validate_json(body) for _, body in self._review.changes(station, KEPT)]
        kept = {record.base for record in records} | {each.bundle for each in records if each.state != "discarded"}
        for file in self.folder(station).glob("*.safetensors"):
            if not file.name.startswith(".") and file.stem not in kept | {self._live(station)}:
                file.unlink(missing_ok=True)

    def _file(self, station: str, bundle: str) -> Path:
        return self.folder(station) / f"{bundle}.safetensors"

    def folder(self, station: str) -> Path:
        """Return where a station's bundles are kept, each under its hash."""
        return self._config.store.path / "bundles" / station


@lru_cache(maxsize=64)
def _hash_of(path: Path, _identity: tuple[int, int, int]) -> str:
    try:
        return file_sha256(path)
    except OSError:
        return ""


def _named(record: Record) -> str:
    return (
        f"{record.station}: {record.base[:12]} → {record.bundle[:12]}, threshold {record.threshold_before:.4g} → "
        f"{record.threshold_after:.4g}, patches {record.patches_before} → {record.patches_after} {record.note}"
    ).strip()
