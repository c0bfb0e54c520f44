"""The executor returns one outcome for every frame: an inspection, or the cause of UNINSPECTED."""

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
def model(small_bundle: Path) -> StationModel:
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
        region_px=(SIZE_PX, SIZE_PX),
        siblings=1,
        epoch="e",
        stamps=FrameStamps(1, 1, 1),
        clock=local_clock(),
    )
    return QueuedFrame(header=header, pixels=pixels, view=b"", deadline_ns=2, received_ns=1, group="g")


def pixels(picture: NDArray[np.uint8]) -> bytes:
    return network_input(picture, (SIZE_PX, SIZE_PX)).tobytes()


GOOD, BLACK = pixels(good_picture(900)), bytes(SIZE_PX * SIZE_PX * 3)


def inspected(batch: list[bytes], model: StationModel) -> list[InspectionOutcome]:
    """The outcomes of a batch, in the order of its frames."""
    executor = InferenceExecutor(None, 1)
    frames = [frame(seq, network_input_bytes) for seq, network_input_bytes in enumerate(batch)]
    executor.start(frames, [model] * len(batch), alone=True)
    outcomes: list[InspectionOutcome] = []
    while executor.begun_ns is not None:
        assert select.select([executor.wake], [], [], 60)[0], "no outcome arrives"
        outcomes += executor.outcomes()[0]
    return sorted(outcomes, key=lambda outcome: outcome.frame.header.seq)


def test_a_bad_frame_is_refused_with_the_reason_and_the_rest_of_its_batch_is_inspected(model: StationModel):
    outcomes = inspected([GOOD, BLACK, GOOD, BLACK], model)
    assert [outcome.cause for outcome in outcomes] == [None, Cause.BAD_FRAME, None, Cause.BAD_FRAME]
    assert [outcome.inspected is None for outcome in outcomes] == [False, True, False, True]
    assert outcomes[1].detail.startswith("black")
    first, third = outcomes[0].inspected, outcomes[2].inspected
    assert first is not None
    assert third is not None
    assert first.inspection.score == pytest.approx(third.inspection.score)


def test_the_measures_come_with_the_outcome(model: StationModel):
    (outcome,) = inspected([GOOD], model)
    assert outcome.measures is not None
    assert 100 < outcome.measures.brightness < 130


def test_a_batch_of_bad_frames_only_has_outcomes(model: StationModel):
    assert [outcome.cause for outcome in inspected([BLACK] * 3, model)] == [Cause.BAD_FRAME] * 3


def test_a_station_without_frame_checks_has_every_frame_inspected(model: StationModel):
    unchecked = StationModel(model.bundle, model.extractor, model.memory, model.group, frame_checks=False)
    (outcome,) = inspected([BLACK], unchecked)
    thresholds = model.bundle.info.thresholds
    assert outcome.cause is None
    assert outcome.inspected is not None
    assert thresholds is not None
    assert outcome.inspected.inspection.score > thresholds.image


def test_frames_that_cannot_be_measured_are_errors_of_the_worker_and_none_is_lost(model: StationModel):
    outcomes = inspected([GOOD, GOOD[:-1], BLACK], model)
    assert [outcome.cause for outcome in outcomes] == [Cause.WORKER_ERROR] * 3
    assert all(outcome.inspected is None for outcome in outcomes)


def test_an_error_in_the_inspection_spares_what_was_refused_before(model: StationModel):
    of_other_features = MemoryBank(model.bundle.bank[:, :8].copy())
    broken = StationModel(model.bundle, model.extractor, of_other_features, model.group, frame_checks=True)
    outcomes = inspected([GOOD, BLACK], broken)
    assert [outcome.cause for outcome in outcomes] == [Cause.WORKER_ERROR, Cause.BAD_FRAME]
