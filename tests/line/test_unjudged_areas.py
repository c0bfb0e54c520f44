from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from stream.line.config import LineConfig, parse
from stream.line.unjudged_areas import archived_bundle, unjudged_area
from stream.model.bundle import change_bundle, load_bundle
from stream.model.patchcore.masks import Mask, Masks

LINE = """
line: bottling
cameras: {top: {kind: folder, path: parts}}
stations: {cap: {camera: top, bundle: cap.safetensors}}
store: {path: events}
"""
RIGHT = Masks((160, 120), (Mask("right", "ignore", rectangle=(80, 0, 80, 120)),))


@pytest.fixture
def config(tmp_path: Path, small_bundle: Path) -> LineConfig:
    change_bundle(small_bundle, tmp_path / "cap.safetensors", masks=RIGHT)
    return parse(LINE, name="line.yaml", folder=tmp_path)


def test_what_the_live_bundle_does_not_judge_is_known_by_its_hash(config: LineConfig):
    live = load_bundle(config.stations["cap"].bundle)
    area = unjudged_area(config, "cap", live.sha256)
    assert area is not None
    np.testing.assert_array_equal(area, live.info.filled)
    assert area[:, 50:].all()
    assert not area[:, :45].any()


def test_a_bundle_without_masks_judges_everything(config: LineConfig, small_bundle: Path):
    shutil.copy(small_bundle, config.stations["cap"].bundle)
    assert unjudged_area(config, "cap", load_bundle(small_bundle).sha256) is None


def test_parts_of_an_earlier_bundle_are_hatched_by_it_while_it_is_archived(config: LineConfig, small_bundle: Path):
    live = config.stations["cap"].bundle
    before = load_bundle(live).sha256
    archived = archived_bundle(config, "cap", before)
    archived.parent.mkdir(parents=True)
    live.replace(archived)
    shutil.copy(small_bundle, live)
    assert unjudged_area(config, "cap", before) is not None
    archived.unlink()
    assert unjudged_area(config, "cap", before) is None, "nobody knows any more"


def test_of_a_part_without_a_bundle_and_of_an_unreadable_one_nothing_is_hatched(config: LineConfig):
    sha256 = load_bundle(config.stations["cap"].bundle).sha256
    assert unjudged_area(config, "cap", None) is None
    assert unjudged_area(config, "gone", sha256) is None
    config.stations["cap"].bundle.write_bytes(b"damaged")
    assert unjudged_area(config, "cap", "0" * 64) is None
