"""The bundle: one safetensors file with all that a station needs to judge its parts, and to learn more.

Tensors: `bank` (M, D) float32, `calibration_scores` (n,) float64 and `calibration_peaks` (n,)
float32 (the largest map pixel) of the held-out good pictures, `selftest_input` (S, S, 3) uint8 and
`selftest_score` (1,) float64: one of them and its score, by which a worker proves that it computes what
the fit computed; `calibration_picture_000000` and on, (bytes,) uint8: the network inputs of the held-out
pictures as PNG, which stay in the file until a bank that has learned more is calibrated; in an int8 bundle
also the OpenVINO graph as bytes. Everything else is one JSON text in the file's metadata, so that the same
fit writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.core.errors import BundleError
from stream.core.images import pixels_of, png_of
from stream.model.bundle_file import read_file, read_left, write_file
from stream.model.patchcore.health import Reference
from stream.model.patchcore.preprocess import PREPROCESSING, Roi
from stream.model.patchcore.spec import FeatureSpec, StoredGraph

#: Raised whenever an older reader would misunderstand the file.
FORMAT = 3
_TENSORS = {"bank", "calibration_scores", "calibration_peaks", "selftest_input", "selftest_score"}
_GRAPH = ("graph_model", "graph_weights")
_PICTURE = "calibration_picture_"


class Thresholds(msgspec.Struct, frozen=True):
    """What calibration decided.

    Attributes:
        image: image scores above it are DEFECT.
        pixel: map pixels above it belong to the mask.
        false_reject_rate: the wanted share of good parts called defective.
        guaranteed_rate: the share that the number of calibration pictures guarantees.
        by_hand: a person chose the image threshold; both rates are then those that go with it.
    """

    image: float
    pixel: float
    false_reject_rate: float
    guaranteed_rate: float
    by_hand: bool = False


class BundleInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The metadata of a bundle.

    Attributes:
        format: version of the file format.
        spec: what decides the features.
        roi: region the pictures were cut to, (x, y, width, height), or None for whole pictures.
        picture_px: (width, height) of the training pictures, or None when they differed.
        grid: (h, w) of the patches.
        coreset: wanted share of the patches.
        projection_dims: dimensions of the random projection during selection.
        reweight_neighbours: b of the image score.
        seed: of the split, the projection and the first pick.
        bank_patches: how many the coreset was chosen from.
        covering_radius: largest distance, Euclidean, of one of these to its nearest patch in the bank, at the fit.
        thresholds: None until calibrated.
        reference: light, focus and colour of the pictures of bank and calibration.
        bank_pictures: hash of each bank picture's network input, so that none of them calibrates.
        versions: of the libraries that made it.
    """

    format: int
    spec: FeatureSpec
    roi: Roi | None
    picture_px: tuple[int, int] | None
    grid: tuple[int, int]
    coreset: float
    projection_dims: int
    reweight_neighbours: int
    seed: int
    bank_patches: int
    covering_radius: float
    thresholds: Thresholds | None
    reference: Reference
    bank_pictures: tuple[str, ...]
    versions: dict[str, str]


class SelfTest(NamedTuple):
    """A held-out good picture, (S, S, 3) uint8 RGB network input, and the image score that the fit gave it."""

    picture: NDArray[np.uint8]
    score: float


class Bundle(NamedTuple):
    """A bundle in memory, but for the calibration pictures; `sha256` is of its file, `graph` of an int8 bundle."""

    info: BundleInfo
    bank: NDArray[np.float32]
    calibration_scores: NDArray[np.float64]
    calibration_peaks: NDArray[np.float32]
    selftest: SelfTest
    sha256: str
    graph: StoredGraph | None = None


def save_bundle(
    path: Path,
    info: BundleInfo,
    bank: NDArray[np.float32],
    calibration_scores: NDArray[np.float64],
    calibration_peaks: NDArray[np.float32],
    pictures: Iterable[NDArray[np.uint8]],
    selftest: SelfTest,
    graph: StoredGraph | None = None,
) -> Bundle:
    """Write a bundle, whole or not at all, and return it as read back.

    Args:
        path: the file.
        info: its metadata.
        bank: (M, D).
        calibration_scores: (n,).
        calibration_peaks: (n,).
        pictures: the n network inputs that have these, (S, S, 3) uint8 RGB, each asked for once.
        selftest: for the workers.
        graph: of an int8 bundle.

    Raises:
        DiskError: the file cannot be written.
    """
    pngs = [np.frombuffer(png_of(picture), np.uint8) for picture in pictures]
    return _save(path, info, bank, calibration_scores, calibration_peaks, pngs, selftest, graph)


def change_bundle(source: Path, target: Path, **changes: Any) -> Bundle:
    """Write a bundle that differs from `source` in some fields of its info. Raises BundleError, DiskError."""
    info, bank, scores, peaks, selftest, sha256, graph = load_bundle(source)
    pngs = read_left(source, sha256, left=_PICTURE)
    return _save(target, msgspec.structs.replace(info, **changes), bank, scores, peaks, pngs, selftest, graph)


def _save(
    path: Path,
    info: BundleInfo,
    bank: NDArray[np.float32],
    calibration_scores: NDArray[np.float64],
    calibration_peaks: NDArray[np.float32],
    pngs: list[NDArray[np.uint8]],
    selftest: SelfTest,
    graph: StoredGraph | None,
) -> Bundle:
    tensors: dict[str, NDArray[Any]] = {
        "bank": np.ascontiguousarray(bank, dtype=np.float32),
        "calibration_scores": np.ascontiguousarray(calibration_scores, dtype=np.float64),
        "calibration_peaks": np.ascontiguousarray(calibration_peaks, dtype=np.float32),
        "selftest_input": np.ascontiguousarray(selftest.picture, dtype=np.uint8),
        "selftest_score": np.array([selftest.score], dtype=np.float64),
    }
    tensors |= {f"{_PICTURE}{number:06d}": png for number, png in enumerate(pngs)}
    if graph is not None:
        tensors |= {name: np.frombuffer(part, np.uint8) for name, part in zip(_GRAPH, graph, strict=True)}
    write_file(path, msgspec.json.encode(info).decode(), tensors)
    return load_bundle(path)


def load_bundle(path: Path) -> Bundle:
    """Read and verify a bundle; the calibration pictures are verified, but stay in the file.

    Raises:
        BundleError: missing, truncated, damaged, not a bundle, of a version this release cannot use, or
            replaced while it was being read.
    """
    stored = read_file(path, leave=_PICTURE)
    info = _read_info(path, stored.text)
    tensors = stored.tensors
    absent = (_TENSORS | set(_GRAPH if info.spec.graph_sha256 else ())) - set(tensors)
    if absent:
        raise BundleError(f"{path}: damaged: {', '.join(sorted(absent))} missing; copy or fit it anew")
    if len(stored.left) != len(tensors["calibration_scores"]):
        raise BundleError(
            f"{path}: damaged: {len(stored.left)} calibration pictures, "
            f"{len(tensors['calibration_scores'])} scores of them; copy or fit it anew"
        )
    if not stored.intact:
        raise BundleError(f"{path}: damaged: its content does not match its checksum; copy or fit it anew")
    size_px = info.spec.size_px
    picture, score = tensors["selftest_input"], tensors["selftest_score"]
    if (picture.shape, picture.dtype.name, score.shape) != ((size_px, size_px, 3), "uint8", (1,)):
        raise BundleError(f"{path}: damaged: its self-test is no {size_px}×{size_px} picture with a score; fit it anew")
    graph = StoredGraph(*(tensors[name].tobytes() for name in _GRAPH)) if info.spec.graph_sha256 else None
    return Bundle(
        info,
        tensors["bank"],
        tensors["calibration_scores"],
        tensors["calibration_peaks"],
        SelfTest(picture, float(score[0])),
        stored.sha256,
        graph,
    )


def calibration_pictures(path: Path) -> NDArray[np.uint8]:
    """Return the network inputs of a bundle's calibration pictures, in the order of their scores.

    Returns:
        (n, S, S, 3) uint8 RGB.

    Raises:
        BundleError: as `load_bundle`, or one of them is no picture of the network's size.
    """
    bundle = load_bundle(path)
    size_px = bundle.info.spec.size_px
    stored = read_left(path, bundle.sha256, left=_PICTURE)
    pictures = np.empty((len(stored), size_px, size_px, 3), np.uint8)
    for picture, png in zip(pictures, stored, strict=True):
        try:
            pixels = pixels_of(png.tobytes())
        except ValueError:
            pixels = np.empty(0, np.uint8)
        if pixels.shape != picture.shape:
            raise BundleError(f"{path}: damaged: a calibration picture is not {size_px}×{size_px} px; fit it anew")
        picture[:] = pixels
    return pictures


def live_bundle(path: Path) -> Bundle:
    """Read a bundle for the line, which also demands that it is calibrated. Raises BundleError."""
    bundle = load_bundle(path)
    if bundle.info.thresholds is None:
        raise BundleError(f"{path}: not calibrated; run `patchline calibrate {path} GOOD_DIR` first")
    return bundle


def shadow_bundle(path: Path, live: Bundle, roi: Roi | None) -> Bundle:
    """Read a bundle to be tried on the parts cut for the `live` one, from region `roi` if the station has its own.

    Raises BundleError when it cannot be: another network input, or another region.
    """
    bundle = live_bundle(path)
    wants, gets = bundle.info, live.info
    regions = (roi or wants.roi, roi or gets.roi)
    for what, wanted, given in (
        ("network input", f"{wants.spec.size_px} px", f"{gets.spec.size_px} px"),
        ("region", *("whole picture" if region is None else region for region in regions)),
    ):
        if wanted != given:
            raise BundleError(
                f"{path}: cannot be the shadow: its {what} is {wanted}, that of the live bundle {given}; "
                "fit both alike, or remove `shadow`"
            )
    return bundle


def _read_info(path: Path, text: str) -> BundleInfo:
    try:
        raw: Any = msgspec.json.decode(text)
    except msgspec.MsgspecError as error:
        raise BundleError(f"{path}: damaged metadata: {error}; copy or fit it anew") from None
    found = raw.get("format") if isinstance(raw, dict) else None
    if found != FORMAT:
        raise BundleError(
            f"{path}: bundle format {found}, this release reads format {FORMAT}; "
            "use the release that made it, or fit it anew"
        )
    try:
        info = msgspec.json.decode(text, type=BundleInfo)
    except msgspec.MsgspecError as error:
        raise BundleError(f"{path}: damaged metadata: {error}; copy or fit it anew") from None
    if info.spec.preprocessing != PREPROCESSING:
        raise BundleError(
            f"{path}: its pictures were preprocessed as '{info.spec.preprocessing}', this release does "
            f"'{PREPROCESSING}'; fit it anew"
        )
    return info
