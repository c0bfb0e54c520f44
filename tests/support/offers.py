"""A line whose bundle is changed, and offers of changes."""

from __future__ import annotations

from stream.core.files import file_sha256
from stream.dashboard.tuning.bundle_archive import remove
from stream.dashboard.tuning.change_record import Change, ChangeDraft, ChangeKind
from stream.dashboard.tuning.changes import BundleChanges
from stream.line.config import LineConfig
from stream.training.extend import with_threshold

LINE = """
line: bottling
cameras: {top: {kind: folder, path: parts, rate_hz: 10}}
stations:
  cap: {camera: top, bundle: cap.safetensors}
store: {path: events}
"""


def live(config: LineConfig) -> str:
    return file_sha256(config.stations["cap"].bundle)


def offer(changes: BundleChanges, threshold: float, kind: ChangeKind = "threshold") -> Change:
    """Offer the present bundle with another threshold, as any kind of change."""
    archived, before = changes.archive.keep_live("cap")
    made = changes.archive.scratch_dir("cap") / "made.safetensors"
    after = with_threshold(archived, made, threshold)
    assert before.info.thresholds is not None
    draft = ChangeDraft(
        station="cap",
        kind=kind,
        who="anna",
        note="too strict",
        base_sha256=before.sha256,
        bundle_sha256=after.sha256,
        threshold_before=before.info.thresholds.image,
        threshold_after=threshold,
        patches_before=len(before.bank),
        patches_after=len(after.bank),
        warnings=[],
        table=[],
    )
    change = changes.offer(draft, made)
    remove(made.parent)
    assert change == changes.get(change.id)
    return change
