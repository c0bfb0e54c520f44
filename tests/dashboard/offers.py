"""A line whose bundle is changed, and offers of changes."""

from __future__ import annotations

from stream.accept import with_threshold
from stream.bundle_file import file_sha256
from stream.config import LineConfig
from stream.dashboard.changes import Change, ChangeKind, Changes, Draft
from stream.dashboard.kept import remove

LINE = """
line: bottling
cameras: {top: {kind: folder, path: parts, rate_hz: 10}}
stations:
  cap: {camera: top, bundle: cap.safetensors}
store: {path: events}
"""


def live(config: LineConfig) -> str:
    return file_sha256(config.stations["cap"].bundle)


def offer(changes: Changes, threshold: float, kind: ChangeKind = "threshold") -> Change:
    """Offer the present bundle with another threshold, as whatever kind of change."""
    kept, before = changes.kept.keep_live("cap")
    made = changes.kept.workplace("cap") / "made.safetensors"
    after = with_threshold(kept, made, threshold)
    assert before.info.thresholds is not None
    draft = Draft(
        station="cap",
        kind=kind,
        who="anna",
        note="too strict",
        base=before.sha256,
        bundle=after.sha256,
        threshold_before=before.info.thresholds.image,
        threshold_after=threshold,
        patches_before=len(before.bank),
        patches_after=len(after.bank),
        warnings=[],
        table=[],
    )
    number = changes.offer(draft, made)
    remove(made.parent)
    found = changes.get(number)
    assert found is not None
    return found
