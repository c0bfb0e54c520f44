"""A worker's desk: every frame handed in comes back once, judged or with the reason why not."""

from __future__ import annotations

import select
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.pictures import good_picture

from stream.core.clock import local_clock
from stream.core.verdict import Cause
from stream.inference.executor import InferenceExecutor, InspectionOutcome
from stream.inference.policy.batching import QueuedFrame
from stream.model.bundle import load_bundle
from stream.model.extractor import load_extractor
from stream.model.patchcore.preprocess import network_input
from stream.model.patchcore.search import MemoryBank
from stream.model.station_model import StationModel
from stream.transport.messages import FrameHeader, FrameStamps

SIZE_PX = 96


@pytest.fixture(scope="module")
def judge(small_bundle: Path) -> StationModel:
    bundle = load_bundle(small_bundle)
    extractor = load_extractor(bundle.info.spec, device="openvino", threads=1)
    return StationModel(bundle, extractor, MemoryBank(bundle.bank), bundle.info.spec.key, frame_checks=True)


def frame(seq: int, pixels: bytes) -> QueuedFrame:
    header = FrameHeader(
        station="cap",
        seq=seq,
        captured_ns=1,
        deadline_ns=2,
        mode="triggered",
        bundle_sha256="",
        height_px=SIZE_PX,
        width_px=SIZE_PX,
        siblings=1,
        epoch="e",
        stamps=FrameStamps(1, 1, 1),
        clock=local_clock(),
    )
    return QueuedFrame(header=header, pixels=pixels, preview_jpeg=b"", deadline_ns=2, received_ns=1, group="g")


def pixels(picture: NDArray[np.uint8]) -> bytes:
    return network_input(picture, SIZE_PX).tobytes()


GOOD, BLACK = pixels(good_picture(900)), bytes(SIZE_PX * SIZE_PX * 3)


def judged(batch: list[bytes], judge: StationModel) -> list[InspectionOutcome]:
    """What becomes of a batch, in the order of its frames."""
    desk = InferenceExecutor(None, 1)
    desk.start([frame(seq, each) for seq, each in enumerate(batch)], [judge] * len(batch), alone=True)
    found: list[InspectionOutcome] = []
    while desk.begun_ns is not None:
        assert select.select([desk.wake], [], [], 60)[0], "the desk does not answer"
        found += desk.outcomes()[0]
    return sorted(found, key=lambda outcome: outcome.frame.header.seq)


def test_a_bad_frame_is_refused_with_the_reason_and_its_company_is_judged(judge: StationModel):
    outcomes = judged([GOOD, BLACK, GOOD, BLACK], judge)
    assert [outcome.cause for outcome in outcomes] == [None, Cause.BAD_FRAME, None, Cause.BAD_FRAME]
    assert [outcome.judged is None for outcome in outcomes] == [False, True, False, True]
    assert outcomes[1].detail.startswith("black")
    first, third = outcomes[0].judged, outcomes[2].judged
    assert first is not None
    assert third is not None
    assert first.inspection.score == pytest.approx(third.inspection.score)


def test_what_was_measured_comes_with_the_verdict(judge: StationModel):
    (outcome,) = judged([GOOD], judge)
    assert outcome.seen is not None
    assert 100 < outcome.seen.brightness < 130


def test_a_batch_of_nothing_but_bad_frames_is_answered(judge: StationModel):
    assert [outcome.cause for outcome in judged([BLACK] * 3, judge)] == [Cause.BAD_FRAME] * 3


def test_a_station_without_frame_checks_has_every_picture_judged(judge: StationModel):
    unchecked = StationModel(judge.bundle, judge.extractor, judge.memory, judge.group, frame_checks=False)
    (outcome,) = judged([BLACK], unchecked)
    thresholds = judge.bundle.info.thresholds
    assert outcome.cause is None
    assert outcome.judged is not None
    assert thresholds is not None
    assert outcome.judged.inspection.score > thresholds.image


def test_frames_that_cannot_be_measured_are_errors_of_the_worker_and_none_is_lost(judge: StationModel):
    outcomes = judged([GOOD, GOOD[:-1], BLACK], judge)
    assert [outcome.cause for outcome in outcomes] == [Cause.WORKER_ERROR] * 3
    assert all(outcome.judged is None for outcome in outcomes)


def test_an_error_in_the_judging_spares_what_was_refused_before(judge: StationModel):
    of_other_features = MemoryBank(judge.bundle.bank[:, :8].copy())
    broken = StationModel(judge.bundle, judge.extractor, of_other_features, judge.group, frame_checks=True)
    outcomes = judged([GOOD, BLACK], broken)
    assert [outcome.cause for outcome in outcomes] == [Cause.WORKER_ERROR, Cause.BAD_FRAME]
