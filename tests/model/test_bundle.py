from __future__ import annotations

import hashlib
import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import stream.model.bundle_file
from stream.core.errors import BundleError, DiskError, WeightsError
from stream.core.files import file_sha256
from stream.model.bundle import (
    CalibrationScores,
    SelfTest,
    calibration_distances,
    calibration_inputs,
    change_bundle,
    live_bundle,
    load_bundle,
    save_bundle,
    shadow_bundle,
)
from stream.model.bundle_info import FORMAT, BundleInfo, Thresholds, read_info
from stream.model.extractor import load_extractor
from stream.model.patchcore.health import Measures, reference_of
from stream.model.patchcore.masks import Mask, Masks
from stream.model.patchcore.preprocess import PREPROCESSING, Roi
from stream.model.patchcore.scoring import PositionStatistics
from stream.model.patchcore.spec import FeatureSpec
from stream.model.patchcore.tiles import Tiles
from stream.training.fit import fit
from stream.training.fit_options import FitOptions

BANK = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
SCORES = np.random.default_rng(1).gamma(3, size=20)
SELFTEST = SelfTest(np.random.default_rng(3).integers(0, 256, (224, 224, 3), dtype=np.uint8), 2.5)
PEAKS = np.random.default_rng(2).gamma(2, size=20).astype(np.float32)
CALIBRATION = CalibrationScores(SCORES, PEAKS, np.ones((20, 28, 28), np.float16))
#: Of one colour each, hence small files.
PICTURES = np.tile(np.arange(60, dtype=np.uint8).reshape(20, 1, 1, 3), (1, 224, 224, 1))

INFO = BundleInfo(
    format=FORMAT,
    spec=FeatureSpec(
        "efficientnet_lite0", "ab" * 32, ("stride8", "stride16"), (224, 224), 3, 1, PREPROCESSING, (40, 112)
    ),
    roi=(1, 2, 300, 400),
    picture_px=(640, 480),
    grid=(28, 28),
    coreset=0.01,
    projection_dims=128,
    reweight_neighbours=9,
    position_aware=False,
    shift_patches=0.25,
    seed=7,
    bank_patches=5000,
    coreset_patches=50,
    covering_radius=1.5,
    thresholds=Thresholds(3.25, 2.125, 0.01, 1 / 21, 2 / 21),
    reference=reference_of([Measures(120.0, 0.0, 0.01, -0.5, 3.0, 4.0), Measures(130.0, 0.1, 0.0, -0.6, 3.6, 4.5)]),
    calibration_names=tuple(f"{number}.png" for number in range(20)),
    folds=tuple(number // 4 for number in range(20)),
    bank_pictures=("0123456789abcdef", "fedcba9876543210"),
    versions={"patchline": "0.1.0"},
)


HOLE = Mask("hole", "ignore", circle=(100, 100, 50))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A sound bundle, to be damaged."""
    save_bundle(tmp_path / "cap.safetensors", INFO, BANK, CALIBRATION, PICTURES, SELFTEST)
    return tmp_path / "cap.safetensors"


def refusal(path: Path) -> str:
    """The error of a bundle that must not be loaded: one line that names the file."""
    with pytest.raises(BundleError) as error:
        load_bundle(path)
    said = str(error.value)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    return said


def rewrite(path: Path, metadata: str, *, leave_out: str = "") -> None:
    """Replace a bundle's metadata, whatever it says, or drop a tensor."""
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys() if name != leave_out}  # noqa: SIM118
    save_file(tensors, path, metadata={"patchline": f"0 {metadata}"})


def without_pictures(calibration: CalibrationScores) -> CalibrationScores:
    return CalibrationScores(*(column[:0] for column in calibration))


def changed(**changes: object) -> str:
    """The metadata with some fields different."""
    return json.dumps(msgspec.to_builtins(INFO) | changes)


def test_a_bundle_is_read_as_it_was_saved(tmp_path: Path):
    saved = save_bundle(tmp_path / "deep" / "folder" / "cap.safetensors", INFO, BANK, CALIBRATION, PICTURES, SELFTEST)
    loaded = load_bundle(tmp_path / "deep" / "folder" / "cap.safetensors")
    for bundle in (saved, loaded):
        assert bundle.info == INFO
        np.testing.assert_array_equal(bundle.bank, BANK)
        np.testing.assert_array_equal(bundle.calibration_scores, SCORES)
        np.testing.assert_array_equal(bundle.calibration_peaks, PEAKS)
        np.testing.assert_array_equal(bundle.selftest.network_input, SELFTEST.network_input)
        assert bundle.selftest.score == SELFTEST.score
        assert (bundle.bank.dtype, bundle.calibration_scores.dtype) == (np.float32, np.float64)
    assert saved.sha256 == loaded.sha256


def test_a_bundle_carries_the_hash_of_its_file(path: Path):
    assert load_bundle(path).sha256 == file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_bundle_of_whole_pictures_of_several_sizes_is_read_as_it_was_saved(tmp_path: Path):
    info = msgspec.structs.replace(INFO, roi=None, picture_px=None, thresholds=None)
    assert save_bundle(tmp_path / "b.safetensors", info, BANK, CALIBRATION, PICTURES, SELFTEST).info == info


def test_an_input_wider_than_high_and_its_statistics_by_place_are_read_as_they_were_saved(tmp_path: Path):
    spec = msgspec.structs.replace(INFO.spec, input_px=(64, 32))
    info = msgspec.structs.replace(INFO, spec=spec, grid=(4, 8), position_aware=True)
    planes = PositionStatistics(*np.random.default_rng(5).gamma(3, size=(2, 4, 8)).astype(np.float32))
    selftest = SelfTest(SELFTEST.network_input[:32, :64], -1.5)
    distances = CALIBRATION._replace(distances=np.ones((20, 4, 8), np.float16))
    path = tmp_path / "wide.safetensors"
    bundle = save_bundle(path, info, BANK, distances, PICTURES[:, :32, :64], selftest, position=planes)
    assert bundle.scoring.position is not None
    np.testing.assert_array_equal(bundle.scoring.position.mean, planes.mean)
    np.testing.assert_array_equal(bundle.scoring.position.spread, planes.spread)
    assert calibration_inputs(path).shape == (20, 32, 64, 3)
    assert calibration_distances(path).shape == (20, 4, 8)


def test_statistics_of_other_places_than_the_grid_are_refused(tmp_path: Path):
    info = msgspec.structs.replace(INFO, position_aware=True)
    planes = PositionStatistics(*np.ones((2, 3, 3), np.float32))
    with pytest.raises(BundleError, match="its statistics by place are not of its"):
        save_bundle(tmp_path / "b.safetensors", info, BANK, CALIBRATION, PICTURES, SELFTEST, position=planes)


def test_the_calibration_pictures_come_back_without_loss_and_in_order(tmp_path: Path):
    noisy = PICTURES.copy()
    noisy[7] = SELFTEST.network_input
    save_bundle(tmp_path / "cap.safetensors", INFO, BANK, CALIBRATION, iter(noisy), SELFTEST)
    np.testing.assert_array_equal(calibration_inputs(tmp_path / "cap.safetensors"), noisy)


def test_a_bundle_without_calibration_pictures_has_none(tmp_path: Path):
    info = msgspec.structs.replace(INFO, calibration_names=(), folds=())
    save_bundle(tmp_path / "cap.safetensors", info, BANK, without_pictures(CALIBRATION), PICTURES[:0], SELFTEST)
    assert calibration_inputs(tmp_path / "cap.safetensors").shape == (0, 224, 224, 3)


def test_calibration_pictures_that_are_not_the_network_input_are_refused(tmp_path: Path):
    save_bundle(tmp_path / "cap.safetensors", INFO, BANK, CALIBRATION, PICTURES[:, :100], SELFTEST)
    with pytest.raises(BundleError, match="a calibration picture is not 224×224 px"):
        calibration_inputs(tmp_path / "cap.safetensors")


def test_a_bundle_in_memory_is_as_large_with_many_calibration_pictures_as_with_few(tmp_path: Path):
    random = np.random.default_rng(4)
    noise = random.integers(0, 256, (200, 224, 224, 3), dtype=np.uint8)
    path = tmp_path / "cap.safetensors"
    info = msgspec.structs.replace(INFO, calibration_names=INFO.calibration_names * 10, folds=INFO.folds * 10)
    many = CalibrationScores(np.resize(SCORES, 200), np.resize(PEAKS, 200), np.ones((200, 28, 28), np.float16))
    save_bundle(path, info, BANK, many, noise, SELFTEST)
    assert path.stat().st_size > noise.nbytes
    tracemalloc.start()
    try:
        load_bundle(path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 * noise[0].nbytes


def test_a_changed_bundle_differs_in_nothing_else(path: Path):
    other = path.with_name("other.safetensors")
    save_bundle(path, INFO, BANK, CALIBRATION, PICTURES, SELFTEST)
    bundle = change_bundle(path, other, seed=8)
    assert bundle.info == msgspec.structs.replace(INFO, seed=8)
    assert change_bundle(other, other, seed=7).sha256 == load_bundle(path).sha256
    assert other.read_bytes() == path.read_bytes()


def test_the_same_bundle_is_the_same_bytes(tmp_path: Path, path: Path):
    save_bundle(tmp_path / "again.safetensors", INFO, BANK, CALIBRATION, PICTURES, SELFTEST)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_the_same_fit_twice_writes_the_same_bytes_and_another_seed_others(
    good_folder: Path, small_bundle: Path, tmp_path: Path
):
    fit(good_folder, tmp_path / "again.safetensors", FitOptions(size_px=96, coreset=0.05))
    fit(good_folder, tmp_path / "other.safetensors", FitOptions(size_px=96, coreset=0.05, seed=1))
    assert (tmp_path / "again.safetensors").read_bytes() == small_bundle.read_bytes()
    assert (tmp_path / "other.safetensors").read_bytes() != small_bundle.read_bytes()


def test_saving_replaces_an_older_bundle_and_leaves_nothing_else(path: Path):
    save_bundle(path, msgspec.structs.replace(INFO, seed=8), BANK, CALIBRATION, PICTURES, SELFTEST)
    assert load_bundle(path).info.seed == 8
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_missing_bundle_is_named_with_the_command_that_makes_it(tmp_path: Path):
    said = refusal(tmp_path / "absent.safetensors")
    assert "no such bundle" in said
    assert "patchline fit" in said


def test_a_folder_is_no_bundle(tmp_path: Path):
    refusal(tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 0.5, -1])
def test_a_truncated_bundle_is_refused(path: Path, kept: float):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept) if isinstance(kept, float) else kept])
    assert "truncated, damaged or not a bundle" in refusal(path)


@pytest.mark.parametrize("content", [b"no bundle at all" * 50, b"\x80\x04\x95pickle", b"\xff" * 300], ids=range(3))
def test_garbage_is_refused(path: Path, content: bytes):
    path.write_bytes(content)
    assert "truncated, damaged or not a bundle" in refusal(path)


def test_the_safetensors_file_of_another_program_is_refused(path: Path):
    save_file({"bank": BANK}, path)
    assert "not a PatchLine bundle" in refusal(path)
    save_file({"bank": BANK}, path, metadata={"format": "pt"})
    assert "not a PatchLine bundle" in refusal(path)


@pytest.mark.parametrize("version", [0, FORMAT - 1, FORMAT + 1, "1", None])
def test_another_version_of_the_format_is_refused_with_both_named(path: Path, version: object):
    rewrite(path, changed(format=version))
    assert f"bundle format {version}, this release reads format {FORMAT}" in refusal(path)


@pytest.mark.parametrize("metadata", ["", "no json", "{", '{"format": 1', '"text"', "[1]", "null"])
def test_metadata_that_is_no_object_is_refused(path: Path, metadata: str):
    rewrite(path, metadata)
    refusal(path)


@pytest.mark.parametrize(
    "damage",
    [
        {"grid": [28]},
        {"spec": {}},
        {"thresholds": {"image": "high"}},
        {"unheard_of": 1},
        {"bank_pictures": None},
    ],
    ids=lambda damage: next(iter(damage)),
)
def test_metadata_with_a_wrong_field_is_refused(path: Path, damage: dict[str, object]):
    rewrite(path, changed(**damage))
    assert "damaged metadata" in refusal(path)


def test_other_preprocessing_is_refused_with_both_named(path: Path):
    spec = msgspec.structs.replace(INFO.spec, preprocessing="letterbox/9")
    rewrite(path, changed(spec=msgspec.to_builtins(spec)))
    said = refusal(path)
    assert "letterbox/9" in said
    assert PREPROCESSING in said


@pytest.mark.parametrize(
    "tensor", ["bank", "calibration_scores", "calibration_peaks", "selftest_input", "selftest_score"]
)
def test_a_missing_tensor_is_named(path: Path, tensor: str):
    rewrite(path, changed(), leave_out=tensor)
    assert f"{tensor} missing" in refusal(path)


@pytest.mark.parametrize("number", [0, 19])
def test_a_missing_calibration_picture_is_noticed(path: Path, number: int):
    rewrite(path, changed(), leave_out=f"kept_picture_{number:06d}")
    assert "19 calibration pictures, 20 scores and 20 names of them" in refusal(path)


@pytest.mark.parametrize(
    "selftest",
    [SelfTest(SELFTEST.network_input[:100], 2.5), SelfTest(SELFTEST.network_input[:, :, :1], 2.5)],
    ids=["too small", "gray"],
)
def test_a_self_test_that_no_worker_could_judge_is_refused(tmp_path: Path, selftest: SelfTest):
    with pytest.raises(BundleError, match="its self-test is no 224×224 picture"):
        save_bundle(tmp_path / "cap.safetensors", INFO, BANK, CALIBRATION, PICTURES, selftest)


def test_a_bundle_that_is_replaced_while_it_is_read_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch):
    other = path.with_name("other.safetensors")
    save_bundle(other, msgspec.structs.replace(INFO, seed=8), BANK, CALIBRATION, PICTURES, SELFTEST)
    opened = stream.model.bundle_file.safe_open

    def replaced_at_once(*arguments: object, **options: object) -> object:
        file = opened(*arguments, **options)
        other.replace(path)
        return file

    monkeypatch.setattr(stream.model.bundle_file, "safe_open", replaced_at_once)
    assert "was replaced while it was being read" in refusal(path)


@pytest.mark.parametrize(
    ("changes", "roi", "said"),
    [
        ({}, None, None),
        ({"seed": 8, "coreset": 0.5}, None, None),
        ({"roi": (0, 0, 300, 400)}, None, "its region is (0, 0, 300, 400), that of the live bundle (1, 2, 300, 400)"),
        ({"roi": None}, None, "its region is whole picture"),
        ({"roi": (0, 0, 300, 400)}, (5, 5, 300, 400), None),
        ({"thresholds": None}, None, "not calibrated"),
        ({"masks": Masks((300, 400), (HOLE,))}, None, "its masks ignore other pixels than those of the live bundle"),
        ({"masks": Masks((300, 400), (msgspec.structs.replace(HOLE, kind="zone", factor=2.0),))}, None, None),
    ],
)
def test_a_shadow_must_see_what_the_live_bundle_sees(
    path: Path, tmp_path: Path, changes: dict[str, object], roi: Roi | None, said: str | None
):
    shadow = tmp_path / "shadow.safetensors"
    save_bundle(shadow, msgspec.structs.replace(INFO, **changes), BANK, CALIBRATION, PICTURES, SELFTEST)
    if said is None:
        assert shadow_bundle(shadow, load_bundle(path), roi).info.roi == (changes.get("roi") or INFO.roi)
        return
    with pytest.raises(BundleError) as error:
        shadow_bundle(shadow, load_bundle(path), roi)
    assert said in str(error.value)


def test_masks_are_stored_as_they_are(tmp_path: Path):
    outline = Mask("rim", "zone", (((0.5, 1.25), (9.0, 1.0), (9.0, 90.0)),), factor=1.5)
    info = msgspec.structs.replace(INFO, masks=Masks((300, 400), (HOLE, outline)))
    saved = save_bundle(tmp_path / "masked.safetensors", info, BANK, CALIBRATION, PICTURES, SELFTEST)
    assert saved.info == info
    assert 0 < saved.info.judged_patches < 28 * 28


def test_masks_that_leave_nothing_to_judge_make_no_bundle(tmp_path: Path):
    everything = Masks((300, 400), (Mask("all", "ignore", rectangle=(0, 0, 300, 400)),))
    info = msgspec.structs.replace(INFO, masks=everything)
    with pytest.raises(BundleError, match="its masks leave nothing to judge"):
        save_bundle(tmp_path / "blind.safetensors", info, BANK, CALIBRATION, PICTURES, SELFTEST)


@pytest.mark.parametrize("tensor", ["bank", "kept_picture_000019"])
@pytest.mark.parametrize("place", [0, 77, -1])
def test_a_flipped_byte_of_bank_or_pictures_is_noticed(path: Path, tensor: str, place: int):
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    first, last = json.loads(data[8:start])[tensor]["data_offsets"]
    data[start + (first + place if place >= 0 else last + place)] ^= 0x01
    path.write_bytes(data)
    assert "its content does not match its checksum" in refusal(path)


def test_a_flipped_byte_anywhere_before_the_tensors_raises_nothing_but_a_bundle_error(path: Path):
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    refused = 0
    for place in range(start):
        path.write_bytes(data[:place] + bytes((data[place] ^ 0x80,)) + data[place + 1 :])
        try:
            load_bundle(path)
        except BundleError:
            refused += 1
    assert refused > start / 2


def test_the_line_refuses_a_bundle_that_is_not_calibrated(path: Path):
    save_bundle(path, msgspec.structs.replace(INFO, thresholds=None), BANK, CALIBRATION, PICTURES, SELFTEST)
    assert load_bundle(path).info.thresholds is None
    with pytest.raises(BundleError, match="not calibrated; run `patchline calibrate") as error:
        live_bundle(path)
    assert str(error.value).startswith(f"{path}: ")


def test_the_line_takes_a_calibrated_bundle(path: Path):
    assert live_bundle(path).info == INFO


@pytest.mark.parametrize("device", ["torch-cpu", "openvino"])
def test_a_bundle_of_other_weights_finds_no_extractor(small_bundle: Path, device: str):
    spec = load_bundle(small_bundle).info.spec
    with pytest.raises(WeightsError, match=rf"hash {spec.weights_sha256[:12]}, .* fitted with abababababab"):
        load_extractor(msgspec.structs.replace(spec, weights_sha256="ab" * 32), device=device)


def test_a_bundle_below_a_file_cannot_be_written_and_leaves_nothing(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DiskError, match="cannot be written") as error:
        save_bundle(tmp_path / "file" / "cap.safetensors", INFO, BANK, CALIBRATION, PICTURES, SELFTEST)
    assert str(tmp_path / "file" / "cap.safetensors") in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_bundle_in_the_place_of_a_folder_cannot_be_written_and_leaves_nothing(tmp_path: Path):
    (tmp_path / "cap.safetensors").mkdir()
    with pytest.raises(DiskError, match="cannot be written"):
        save_bundle(tmp_path / "cap.safetensors", INFO, BANK, CALIBRATION, PICTURES, SELFTEST)
    assert [path.name for path in tmp_path.rglob("*")] == ["cap.safetensors"]


def test_a_fit_that_cannot_write_leaves_an_older_bundle_alone(good_folder: Path, small_bundle: Path, tmp_path: Path):
    target = shutil.copy(small_bundle, tmp_path / "cap.safetensors")
    with pytest.raises(DiskError, match="cannot be written"):
        fit(good_folder, Path(target) / "below.safetensors", FitOptions(size_px=96, coreset=0.05))
    assert Path(target).read_bytes() == small_bundle.read_bytes()


@pytest.mark.parametrize(
    "changed",
    [
        {"grid": (0, 28)},
        {"picture_px": (0, 480)},
        {"picture_px": (10**400, 480)},
        {"projection_dims": -1},
        {"spec": msgspec.structs.replace(INFO.spec, stride=0)},
        {"spec": msgspec.structs.replace(INFO.spec, neighbourhood=-1)},
        {"thresholds": Thresholds(1.0, 1.0, 0.0, 0.01, 0.01)},
        {"thresholds": Thresholds(1.0, 1.0, 0.01, 0.0, 2.0)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_numbers_that_no_fit_writes_are_damage(changed: dict[str, Any]):
    text = msgspec.json.encode(msgspec.structs.replace(INFO, **changed)).decode()
    with pytest.raises(BundleError, match="cap: damaged metadata"):
        read_info(Path("cap"), text)


def test_specs_that_differ_in_anything_have_different_keys():
    other = {
        "backbone": "resnet18",
        "weights_sha256": "cd" * 32,
        "levels": (1, 2),
        "input_px": (256, 192),
        "neighbourhood": 5,
        "stride": 2,
        "preprocessing": "letterbox/9",
        "channels": (64, 128),
        "graph_sha256": "ef" * 32,
        "precision": "bfloat16",
        "tiles": Tiles(2, 1, (128, 224), 32),
    }
    keys = {msgspec.structs.replace(INFO.spec, **{field: value}).key for field, value in other.items()}
    assert set(other) == {field.name for field in msgspec.structs.fields(FeatureSpec)}
    assert len(keys | {INFO.spec.key}) == len(other) + 1


def test_a_changed_threshold_is_noticed(path: Path):
    """A digit flipped on the way would decide about parts; the checksum covers the metadata too."""
    data = path.read_bytes()
    assert data.count(b"3.25") == 1
    path.write_bytes(data.replace(b"3.25", b"9.25"))
    assert "its content does not match its checksum" in refusal(path)


@pytest.mark.parametrize(("dtype", "bytes_each"), [("BF16", 2), ("F8_E4M3", 1), ("F8_E5M2", 1)])
def test_a_tensor_of_a_type_that_numpy_lacks_is_named(tmp_path: Path, dtype: str, bytes_each: int):
    header = {
        "__metadata__": {"patchline": "0 {}"},
        "bank": {"dtype": dtype, "shape": [4], "data_offsets": [0, 4 * bytes_each]},
    }
    write_raw(tmp_path / "odd.safetensors", header, bytes(4 * bytes_each))
    with pytest.raises(BundleError, match=r"odd.safetensors: .*tensor 'bank' has a type that cannot be read"):
        load_bundle(tmp_path / "odd.safetensors")


@pytest.mark.parametrize("depth", [3_000, 100_000])
def test_metadata_nested_too_deeply_is_damaged(tmp_path: Path, depth: int):
    write_raw(tmp_path / "deep.safetensors", {"__metadata__": {"patchline": "0 " + "[" * depth + "]" * depth}}, b"")
    with pytest.raises(BundleError, match=r"deep.safetensors: damaged metadata"):
        load_bundle(tmp_path / "deep.safetensors")


def write_raw(path: Path, header: dict[str, object], data: bytes) -> None:
    """Write a safetensors file by hand: what its library would not write."""
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
