"""The bundle: one safetensors file with all that a station needs to inspect its parts, and to learn more.

Tensors, n being the number of held-out good images:

- `bank` (M, D) float32
- `calibration_scores` (n,) float64, and `calibration_peaks` (n,) float32, the largest pixel of each anomaly map
- `selftest_input` (S, S, 3) uint8 and `selftest_score` (1,) float64: a held-out network input and its score, with
  which a worker proves that it computes what the fit computed
- `calibration_picture_000000` and on, (bytes,) uint8: the held-out network inputs as PNG; they stay in the file until
  an extended bank is calibrated
- in an int8 bundle also the OpenVINO graph, as bytes

Everything else is one JSON text in the file's metadata, so that the same fit writes the same bytes.
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

#: Version of the file format; raised whenever an older reader would misunderstand the file.
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
        guaranteed_rate: the share that the number of calibration images guarantees.
        by_hand: a user chose the image threshold; both rates are then those that it implies.
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
        roi: region that the images were cropped to, (x, y, width, height) in px, or None for whole images.
        picture_px: (width, height) of the training images, or None when they differed.
        grid: (h, w) of the patches.
        coreset: requested share of the patches.
        projection_dims: dimensions of the random projection during selection.
        reweight_neighbours: b of the image score.
        seed: of the split, the projection and the first pick.
        bank_patches: how many the coreset was chosen from.
        covering_radius: largest distance, Euclidean, of one of these to its nearest patch in the bank, at the fit.
        thresholds: None until calibrated.
        reference: light, focus and colour of the images of bank and calibration.
        bank_pictures: hash of the network input of each image in the bank, so that none of them calibrates.
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
    """The network input of a held-out good image, (S, S, 3) uint8 RGB, and the image score that the fit gave it."""

    network_input: NDArray[np.uint8]
    score: float


class Bundle(NamedTuple):
    """A bundle in memory, without its calibration inputs; `sha256` is of its file, `graph` of an int8 bundle."""

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
    network_inputs: Iterable[NDArray[np.uint8]],
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
        network_inputs: the n calibration inputs in the order of these, (S, S, 3) uint8 RGB; iterated once.
        selftest: for the workers.
        graph: of an int8 bundle.

    Raises:
        DiskError: the file cannot be written.
    """
    pngs = [np.frombuffer(png_of(pixels), np.uint8) for pixels in network_inputs]
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
        "selftest_input": np.ascontiguousarray(selftest.network_input, dtype=np.uint8),
        "selftest_score": np.array([selftest.score], dtype=np.float64),
    }
    tensors |= {f"{_PICTURE}{number:06d}": png for number, png in enumerate(pngs)}
    if graph is not None:
        tensors |= {name: np.frombuffer(part, np.uint8) for name, part in zip(_GRAPH, graph, strict=True)}
    write_file(path, msgspec.json.encode(info).decode(), tensors)
    return load_bundle(path)


def load_bundle(path: Path) -> Bundle:
    """Read and verify a bundle; the calibration inputs are verified, but stay in the file.

    Raises:
        BundleError: missing, truncated, damaged, not a bundle, of a version this release cannot use, or
            replaced while it was being read.
    """
    stored = read_file(path, leave=_PICTURE)
    info = _read_info(path, stored.text)
    tensors = stored.tensors
    absent = (_TENSORS | set(_GRAPH if info.spec.graph_sha256 else ())) - set(tensors)
    if absent:
        raise BundleError(f"{path}: damaged: {', '.join(sorted(absent))} missing; copy or fit it again")
    if len(stored.left) != len(tensors["calibration_scores"]):
        raise BundleError(
            f"{path}: damaged: {len(stored.left)} calibration pictures, "
            f"{len(tensors['calibration_scores'])} scores of them; copy or fit it again"
        )
    if not stored.intact:
        raise BundleError(f"{path}: damaged: its content does not match its checksum; copy or fit it again")
    size_px = info.spec.size_px
    network_input, score = tensors["selftest_input"], tensors["selftest_score"]
    if (network_input.shape, network_input.dtype.name, score.shape) != ((size_px, size_px, 3), "uint8", (1,)):
        raise BundleError(
            f"{path}: damaged: its self-test is no {size_px}×{size_px} picture with a score; fit it again"
        )
    graph = StoredGraph(*(tensors[name].tobytes() for name in _GRAPH)) if info.spec.graph_sha256 else None
    return Bundle(
        info,
        tensors["bank"],
        tensors["calibration_scores"],
        tensors["calibration_peaks"],
        SelfTest(network_input, float(score[0])),
        stored.sha256,
        graph,
    )


def calibration_inputs(path: Path) -> NDArray[np.uint8]:
    """Return the network inputs that a bundle was calibrated with, in the order of their scores.

    Returns:
        (n, S, S, 3) uint8 RGB.

    Raises:
        BundleError: see `load_bundle`; or one of them is not an image of the network's size.
    """
    bundle = load_bundle(path)
    size_px = bundle.info.spec.size_px
    stored = read_left(path, bundle.sha256, left=_PICTURE)
    network_inputs = np.empty((len(stored), size_px, size_px, 3), np.uint8)
    for row, png in zip(network_inputs, stored, strict=True):
        try:
            pixels = pixels_of(png.tobytes())
        except ValueError:
            pixels = np.empty(0, np.uint8)
        if pixels.shape != row.shape:
            raise BundleError(f"{path}: damaged: a calibration picture is not {size_px}×{size_px} px; fit it again")
        row[:] = pixels
    return network_inputs


def live_bundle(path: Path) -> Bundle:
    """Read a bundle for the line: also raises BundleError if it is not calibrated."""
    bundle = load_bundle(path)
    if bundle.info.thresholds is None:
        raise BundleError(f"{path}: not calibrated; run `patchline calibrate {path} GOOD_DIR` first")
    return bundle


def shadow_bundle(path: Path, live: Bundle, roi: Roi | None) -> Bundle:
    """Read a bundle to be tried on the parts cropped for the `live` one; `roi` is the station's own region, if any.

    Raises BundleError if that is impossible: another network input, or another region.
    """
    bundle = live_bundle(path)
    expects, gets = bundle.info, live.info
    regions = (roi or expects.roi, roi or gets.roi)
    for what, wanted, given in (
        ("network input", f"{expects.spec.size_px} px", f"{gets.spec.size_px} px"),
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
        raise BundleError(f"{path}: damaged metadata: {error}; copy or fit it again") from None
    stored_format = raw.get("format") if isinstance(raw, dict) else None
    if stored_format != FORMAT:
        raise BundleError(
            f"{path}: bundle format {stored_format}, this release reads format {FORMAT}; "
            "use the release that made it, or fit it again"
        )
    try:
        info = msgspec.json.decode(text, type=BundleInfo)
    except msgspec.MsgspecError as error:
        raise BundleError(f"{path}: damaged metadata: {error}; copy or fit it again") from None
    if info.spec.preprocessing != PREPROCESSING:
        raise BundleError(
            f"{path}: its pictures were preprocessed as '{info.spec.preprocessing}', this release does "
            f"'{PREPROCESSING}'; fit it again"
        )
    return info
