"""The kept parts whose verdict another threshold would change."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from fastapi import FastAPI
from starlette.requests import Request

from stream.core.parts import PartResult
from stream.core.verdict import Verdict
from stream.dashboard.routes.verdict_changes import VerdictChanges, verdict_changes
from stream.dashboard.services import Dashboard
from stream.dashboard.tuning.changes import BundleChanges
from stream.line.config import LineConfig
from stream.model.bundle import load_bundle
from stream.store.event_reader import FILE_NAME
from stream.store.event_store import EventStore
from stream.store.records import Event
from stream.store.review_store import Review

THRESHOLD = 10.0


def event(seq: int, verdict: Verdict, score: float, sha256: str, **part: Any) -> Event:
    result = PartResult(station="cap", seq=seq, verdict=verdict, score=score, threshold=THRESHOLD, **part)
    return Event(
        part=result,
        decision="reject",
        captured_realtime_ns=time.time_ns(),
        bundle_sha256=sha256,
        kept_as="near_miss" if verdict is Verdict.GOOD and not result.within_spec else None,
        preview_jpeg=b"\xff\xd8",
        network_input=np.full((8, 8, 3), seq, np.uint8),
    )


def changed(config: LineConfig, review: Review, changes: BundleChanges, threshold: float) -> VerdictChanges:
    app = FastAPI()
    fields = dict.fromkeys(Dashboard._fields) | {"config": config, "review": review, "changes": changes}
    app.state.dashboard = Dashboard(**fields)  # type: ignore[arg-type]
    return verdict_changes(Request({"type": "http", "app": app}), "cap", threshold)


def test_only_parts_that_the_score_decided_are_said_to_change(
    config: LineConfig, review: Review, changes: BundleChanges
):
    live = load_bundle(config.stations["cap"].bundle).sha256
    with EventStore.open(config.store.path / FILE_NAME) as store:
        store.record(
            [
                event(1, Verdict.DEFECT, 12.0, live),
                event(2, Verdict.DEFECT, 8.0, live, rule="too many"),  # by the number of its spots
                event(3, Verdict.GOOD, 8.0, live),
                event(4, Verdict.GOOD, 12.0, live, within_spec=True, rule="dust"),
                event(5, Verdict.DEFECT, 12.0, "0" * 64),  # of another scale
                event(6, Verdict.DEFECT, 14.0, live),
            ],
            [],
            {},
        )
    lenient, strict = (changed(config, review, changes, threshold) for threshold in (13.0, 7.0))
    assert ([part.seq for part in lenient.to_good], lenient.to_good_count) == ([1], 1)
    assert lenient.to_defect == []
    assert ([part.seq for part in strict.to_defect], strict.to_defect_count) == ([3], 1)
    assert strict.to_good == []
