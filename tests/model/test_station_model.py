from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.bundles import resaved
from support.pictures import write_good_folder

from stream.core.errors import BundleError
from stream.inference.station_models import load_station_model
from stream.line.sections import StationOptions, WorkerOptions
from stream.model.bundle import (
    SelfTest,
    calibration_inputs,
    load_bundle,
)
from stream.model.cpu_lanes import Lanes
from stream.model.station_model import StationModel, run_self_test
from stream.training.fit import calibrate


def judge_of(path: Path, device: str = "auto") -> StationModel:
    return load_station_model(
        "cap", StationOptions(camera="top", bundle=path), WorkerOptions(device=device), Lanes(1), {}
    )


def saved(path: Path, source: Path, *, factor: float) -> Path:
    """The bundle with another self-test score."""
    selftest = load_bundle(source).selftest
    resaved(source, path, selftest=SelfTest(selftest.network_input, selftest.score * factor))
    return path


def test_the_self_test_is_a_good_picture_upside_down(small_bundle: Path):
    selftest = load_bundle(small_bundle).selftest.network_input
    assert any((selftest[::-1] == picture).all() for picture in calibration_inputs(small_bundle))


@pytest.mark.parametrize("device", ["openvino", "torch-cpu"])
def test_a_sound_bundle_passes_its_self_test_on_every_device(small_bundle: Path, device: str):
    run_self_test(judge_of(small_bundle, device), small_bundle)


@pytest.mark.parametrize("factor", [0.998, 1.002, float("nan"), 0.0])
def test_a_bundle_whose_score_comes_out_differently_is_refused_with_both_scores(
    small_bundle: Path, tmp_path: Path, factor: float
):
    bundle = load_bundle(small_bundle)
    path = saved(tmp_path / "off.safetensors", small_bundle, factor=factor)
    with pytest.raises(BundleError) as error:
        run_self_test(judge_of(path), path)
    assert f"{bundle.selftest.score * factor:.6g}" in str(error.value)
    assert f"this worker gives it {bundle.selftest.score:.3g}"[:-1] in str(error.value)


def test_rounding_is_allowed(small_bundle: Path, tmp_path: Path):
    path = saved(tmp_path / "near.safetensors", small_bundle, factor=1.0005)
    run_self_test(judge_of(path), path)


def test_calibration_keeps_the_self_test(small_bundle: Path, tmp_path: Path):
    good_folder = write_good_folder(tmp_path / "more", 6, first_seed=400)
    path = tmp_path / "again.safetensors"
    path.write_bytes(small_bundle.read_bytes())
    calibrate(path, good_folder, false_reject_rate=0.2)
    before, after = load_bundle(small_bundle), load_bundle(path)
    assert after.sha256 != before.sha256
    assert after.selftest.score == before.selftest.score
    np.testing.assert_array_equal(after.selftest.network_input, before.selftest.network_input)


def test_bundles_of_the_same_features_share_the_extractor_that_is_there(small_bundle: Path):
    one, station = judge_of(small_bundle), StationOptions(camera="top", bundle=small_bundle)
    assert (
        load_station_model("cap", station, WorkerOptions(), Lanes(1), {one.group: one.extractor}).extractor
        is one.extractor
    )
