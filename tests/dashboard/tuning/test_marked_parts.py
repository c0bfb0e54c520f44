from __future__ import annotations

import shutil
from pathlib import Path

from stream.core.parts import PartResult
from stream.core.verdict import Verdict
from stream.dashboard.tuning.marked_parts import MarkedPart, MarkedParts
from stream.model.bundle import load_bundle
from stream.store.records import Event
from stream.store.review_store import Mark, Review
from stream.training.extend import with_threshold


def test_a_score_counts_again_once_the_bundle_that_gave_it_is_kept(tmp_path: Path, small_bundle: Path):
    before = load_bundle(small_bundle)
    now = with_threshold(small_bundle, tmp_path / "now.safetensors", 9.0)
    event = Event(
        part=PartResult(station="cap", seq=7, verdict=Verdict.DEFECT, score=3.25),
        decision="reject",
        captured_realtime_ns=10**18,
        bundle_sha256=before.sha256,
        event_id=1,
    )
    mark = Mark(station="cap", seq=7, mark="false_alarm", note="", who="anna", at_s=1.0)
    marked = MarkedParts(Review(tmp_path / "review.sqlite"))
    part = MarkedPart(event, mark, None)
    assert marked.scores([part], now, tmp_path) == [None], "nobody knows the scale of a bundle that is not there"
    shutil.copy(small_bundle, tmp_path / f"{before.sha256}.safetensors")
    assert marked.scores([part], now, tmp_path) == [3.25]
