from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np

from stream.core.parts import PartResult
from stream.core.verdict import Verdict
from stream.dashboard.tuning.marked_parts import MarkedPart, MarkedParts, comparison, verdicts_on
from stream.line.config import LineConfig
from stream.line.rules import PartVerdict
from stream.model.bundle import load_bundle
from stream.store.event_reader import FILE_NAME
from stream.store.event_store import EventStore
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


def test_a_marked_part_has_the_verdict_of_the_rules_before_and_after_a_change(config: LineConfig):
    bundle = load_bundle(config.stations["cap"].bundle)
    thresholds = bundle.info.thresholds
    assert thresholds is not None
    distances = np.zeros(bundle.info.grid, np.float16)
    distances[3:6, 3:6] = 1.5 * thresholds.pixel
    score = 1.2 * thresholds.image
    with EventStore.open(config.store.path / FILE_NAME) as store:
        part = PartResult(station="cap", seq=7, verdict=Verdict.GOOD, score=score, within_spec=True, rule="dust")
        event = Event(
            part=part,
            decision="pass",
            captured_realtime_ns=10**18,
            bundle_sha256=bundle.sha256,
            preview_jpeg=b"\xff\xd8",
            patch_distances=distances,
        )
        store.record([event], [], {})
        (stored,) = store.events(station="cap")
        marked = [MarkedPart(stored, Mark(station="cap", seq=7, mark="true_defect", note="", who="a", at_s=1.0), None)]
        strict = bundle._replace(
            info=msgspec.structs.replace(bundle.info, thresholds=msgspec.structs.replace(thresholds, image=2 * score))
        )

        def found(rules: list[dict[str, object]], *, known: bool = True) -> list[PartVerdict | None]:
            station = type(config.stations["cap"]).model_validate(
                config.stations["cap"].model_dump(exclude={"rules"}) | {"rules": rules}
            )
            ruled = "cap", station
            return [verdicts_on(marked, [score], each, lambda _: known, ruled, store)[0] for each in (bundle, strict)]

        dust = [{"name": "dust", "within_spec": {"area_px": 100_000}}]
        before, after = found(dust)
        assert before == PartVerdict(score, Verdict.GOOD, within_spec=True)
        assert after == PartVerdict(score, Verdict.GOOD)
        assert found([])[0] == PartVerdict(score, Verdict.DEFECT)
        assert found(dust, known=False)[0] == PartVerdict(score, None), "nobody knows its spots by this bundle"
        (row,) = comparison(marked, [before], [after])
        assert (row.verdict_before, row.within_spec_before) == (Verdict.GOOD, True)
        assert (row.verdict_after, row.within_spec_after) == (Verdict.GOOD, False)
