from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from support.pictures import part_picture

from stream.core.errors import DatasetError
from stream.line.config import parse
from stream.model.bundle import load_bundle
from stream.model.patchcore.alignment import taught
from stream.model.patchcore.masks import Mask, Masks
from stream.store.event_reader import FILE_NAME
from stream.store.event_store import EventStore
from stream.training.jobs import FitOverrides, leave_out_job, options_like, relearn_job
from stream.training.progress import silent

LINE = """
line: bottling
cameras: {top: {kind: folder, path: good, rate_hz: 1000}}
stations: {cap: {camera: top, bundle: cap.safetensors}}
store: {path: events}
"""


def test_teaching_leaves_a_camera_that_has_no_process_alone(tmp_path: Path, good_folder: Path, small_bundle: Path):
    shutil.copytree(good_folder, tmp_path / "good")
    line, output = parse(LINE, name="line.yaml", folder=tmp_path), tmp_path / "made" / "new.safetensors"
    output.parent.mkdir()
    with pytest.raises(DatasetError, match="0 of 20 parts collected"):
        relearn_job(
            silent,
            line=line,
            station="cap",
            live=small_bundle,
            output=output,
            parts=20,
            false_reject_rate=0.2,
            marked=[],
        )
    assert list(output.parent.iterdir()) == []


def test_a_station_is_taught_in_the_region_of_its_bundle_also_when_the_file_is_gone(tmp_path: Path, small_bundle: Path):
    line, bundle = parse(LINE, name="line.yaml", folder=tmp_path), load_bundle(small_bundle)
    cut = msgspec.structs.replace(bundle.info, roi=(8, 8, 96, 96))
    assert options_like(bundle._replace(info=cut), line, "cap", FitOverrides()).roi == (8, 8, 96, 96)


def test_teaching_keeps_the_fixtures_as_they_were_marked_and_the_ruler(small_bundle: Path, tmp_path: Path):
    alignment = taught(part_picture(0), [(52, 42, 136, 116)], reference="first.png")
    bundle = load_bundle(small_bundle)
    aligned = bundle._replace(info=msgspec.structs.replace(bundle.info, alignment=alignment, mm_per_px=0.1))
    options = options_like(aligned, parse(LINE, name="line.yaml", folder=tmp_path), "cap", FitOverrides())
    assert (options.alignment, options.mm_per_px) == (alignment, 0.1)


def test_the_region_of_the_configuration_comes_before_that_of_the_bundle(tmp_path: Path, small_bundle: Path):
    own = LINE.replace("bundle: cap", "roi: [1, 2, 30, 40], bundle: cap")
    line, bundle = parse(own, name="line.yaml", folder=tmp_path), load_bundle(small_bundle)
    cut = bundle._replace(info=msgspec.structs.replace(bundle.info, roi=(8, 8, 96, 96)))
    assert options_like(cut, line, "cap", FitOverrides()).roi == (1, 2, 30, 40)
    assert options_like(None, line, "cap", FitOverrides()).roi == (1, 2, 30, 40)


def test_a_station_is_taught_with_the_masks_of_its_configuration_or_else_of_its_bundle(
    tmp_path: Path, small_bundle: Path
):
    bundle = load_bundle(small_bundle)
    assert options_like(bundle, parse(LINE, name="line.yaml", folder=tmp_path), "cap", FitOverrides()).masks == ()
    hole = Mask("hole", "ignore", circle=(50, 50, 9))
    masked = bundle._replace(info=msgspec.structs.replace(bundle.info, masks=Masks((160, 120), (hole,))))
    line = parse(LINE, name="line.yaml", folder=tmp_path)
    (kept,) = options_like(masked, line, "cap", FitOverrides()).masks
    assert (kept.size_px, kept.masks) == ((160, 120), (hole,))

    (tmp_path / "own.yaml").write_text("masks: [{name: own, kind: ignore, circle: [9, 9, 5]}]")
    for given in ("own.yaml", "[own.yaml]"):
        own = parse(LINE.replace("bundle: cap", f"masks: {given}, bundle: cap"), name="line.yaml", folder=tmp_path)
        for like in (masked, None):
            (drawn,) = options_like(like, own, "cap", FitOverrides()).masks
            assert [mask.name for mask in drawn.masks] == ["own"]


def test_a_station_is_taught_on_the_levels_of_its_bundle_unless_the_network_is_another(
    tmp_path: Path, small_bundle: Path
):
    line, bundle = parse(LINE, name="line.yaml", folder=tmp_path), load_bundle(small_bundle)
    spec = msgspec.structs.replace(bundle.info.spec, levels=("stride4", "stride8"))
    fine = bundle._replace(info=msgspec.structs.replace(bundle.info, spec=spec))
    assert options_like(fine, line, "cap", FitOverrides()).levels == ("stride4", "stride8")
    assert options_like(fine, line, "cap", FitOverrides(backbone="efficientnet_lite0")).levels == ("stride4", "stride8")
    assert options_like(fine, line, "cap", FitOverrides(backbone="vit_small_patch14_dinov2")).levels == ()


def test_a_bundle_of_given_weights_is_taught_with_these_weights(
    tmp_path: Path, small_bundle: Path, monkeypatch: pytest.MonkeyPatch
):
    line, bundle = parse(LINE, name="line.yaml", folder=tmp_path), load_bundle(small_bundle)
    assert options_like(bundle, line, "cap", FitOverrides()).weights is None, "published"
    monkeypatch.setenv("PATCHLINE_CACHE", str(tmp_path))
    kept = tmp_path / "weights" / f"{bundle.info.spec.weights_sha256}.safetensors"
    kept.parent.mkdir()
    kept.touch()
    assert options_like(bundle, line, "cap", FitOverrides()).weights == kept
    assert options_like(bundle, line, "cap", FitOverrides(backbone="resnet18")).weights is None


def test_leaving_pictures_out_says_that_those_left_are_too_few_for_the_rate(tmp_path: Path, small_bundle: Path):
    line = parse(LINE, name="line.yaml", folder=tmp_path)
    EventStore.open(line.store.path / FILE_NAME).close()
    names, output = list(load_bundle(small_bundle).info.calibration_names[:2]), tmp_path / "made.safetensors"
    outcome = leave_out_job(silent, line=line, station="cap", live=small_bundle, output=output, names=names, marked=[])
    assert set(names).isdisjoint(load_bundle(output).info.calibration_names)
    assert "22 good images can promise" in outcome.warnings[0]
    assert (outcome.before, outcome.after) == ([], [])


def test_a_picture_that_the_bundle_does_not_keep_cannot_be_left_out(tmp_path: Path, small_bundle: Path):
    output = tmp_path / "made.safetensors"
    with pytest.raises(DatasetError, match="nobody"):
        leave_out_job(
            silent,
            line=parse(LINE, name="line.yaml", folder=tmp_path),
            station="cap",
            live=small_bundle,
            output=output,
            names=["nobody"],
            marked=[],
        )
    assert not output.exists()
