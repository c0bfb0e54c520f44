from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stream.core.verdict import Verdict
from stream.line.config import parse
from stream.line.rules import PartVerdict, verdict_on
from stream.line.sections import StationOptions
from stream.model.bundle import load_bundle
from stream.model.bundle_info import BundleInfo


def station(folder: Path, rules: str) -> StationOptions:
    line = f"""
line: bottling
cameras: {{top: {{kind: folder, path: parts}}}}
stations: {{cap: {{camera: top, bundle: cap.safetensors, rules: [{rules}]}}}}
"""
    return parse(line, name="line.yaml", folder=folder).stations["cap"]


@pytest.fixture
def info(small_bundle: Path) -> BundleInfo:
    return load_bundle(small_bundle).info


def with_spot(info: BundleInfo) -> np.ndarray:
    assert info.thresholds is not None
    distances = np.zeros(info.grid, np.float16)
    distances[3:6, 3:6] = 1.5 * info.thresholds.pixel
    return distances


def test_a_part_above_the_threshold_is_within_the_specification_where_the_rules_say_so(
    info: BundleInfo, tmp_path: Path
):
    assert info.thresholds is not None
    score = 1.2 * info.thresholds.image
    large, small = (f"{{name: one, within_spec: {{area_px: {area}}}}}" for area in (100_000, 1))
    assert verdict_on(score, with_spot(info), info, "cap", station(tmp_path, large)) == PartVerdict(
        score, Verdict.GOOD, within_spec=True
    )
    assert verdict_on(score, with_spot(info), info, "cap", station(tmp_path, small)) == PartVerdict(
        score, Verdict.DEFECT
    )


def test_without_patch_distances_only_what_no_rule_can_change_is_said(info: BundleInfo, tmp_path: Path):
    assert info.thresholds is not None
    high, low = 1.2 * info.thresholds.image, 0.8 * info.thresholds.image
    passing, counting = "{name: one, within_spec: {area_px: 9}}", "{name: many, more_than: 0}"
    assert verdict_on(high, None, info, "cap", station(tmp_path, passing)).verdict is None
    assert verdict_on(low, None, info, "cap", station(tmp_path, passing)).verdict is Verdict.GOOD
    assert verdict_on(low, None, info, "cap", station(tmp_path, counting)).verdict is None
    assert verdict_on(high, None, info, "cap", station(tmp_path, "")).verdict is Verdict.DEFECT


def test_a_good_part_with_too_many_spots_is_a_defect(info: BundleInfo, tmp_path: Path):
    assert info.thresholds is not None
    counting = station(tmp_path, "{name: many, more_than: 0}")
    assert verdict_on(0.8 * info.thresholds.image, with_spot(info), info, "cap", counting).verdict is Verdict.DEFECT
