"""The bundle: one safetensors file with all that a station needs to inspect its parts, and to learn more.

Tensors, n being the number of good images that calibrate:

- `bank` (M, D) float32
- `position_mean` and `position_spread`, (h, w) float32, where the image score is position-aware
- `calibration_scores` (n,) float64, and `calibration_peaks` (n,) float32, the largest pixel of each anomaly map; each
  from a bank without that image
- `heads` (1 + f, 6 D + 5) float64, where a head was learned from marked defects: a row of numbers for the head by
  which parts are scored, then one for each of f heads that calibrate, each without one fold of the images
- `selftest_input` (H, W, 3) uint8 and `selftest_score` (1,) float64: a network input and its score, with which a worker
  proves that it computes what the fit computed
- `kept_distances` (n, h, w) float16: the patch distances behind the calibration scores
- `kept_picture_000000` and on, (bytes,) uint8: the network inputs as PNG; they and the distances stay in the file until
  something is learned from them
- in an int8 bundle also the OpenVINO graph, as bytes

Everything else is one JSON text in the file's metadata, so that the same fit writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.core.errors import BundleError
from stream.core.images import pixels_of, png_of
from stream.model.bundle_file import read_file, read_left, write_file
from stream.model.bundle_info import BundleInfo, HeadInfo, read_info
from stream.model.patchcore.alignment import Alignment
from stream.model.patchcore.head import DefectHead
from stream.model.patchcore.preprocess import Roi
from stream.model.patchcore.scoring import PositionStatistics, Scoring
from stream.model.patchcore.spec import StoredGraph

#: Tensors of every bundle: number of dimensions and type.
_TENSORS = {
    "bank": (2, "float32"),
    "calibration_scores": (1, "float64"),
    "calibration_peaks": (1, "float32"),
    "selftest_input": (3, "uint8"),
    "selftest_score": (1, "float64"),
}
_GRAPH = ("graph_model", "graph_weights")
_POSITION = ("position_mean", "position_spread")
_HEADS = "heads"
_KEPT, _DISTANCES, _PICTURE = "kept_", "kept_distances", "kept_picture_"


class SelfTest(NamedTuple):
    """A network input, (H, W, 3) uint8 RGB, and the image score that the fit gave it."""

    network_input: NDArray[np.uint8]
    score: float


class CalibrationScores(NamedTuple):
    """What good pictures scored that the bank had not seen.

    Attributes:
        scores: (n,) float64 image scores.
        peaks: (n,) float32, the largest pixel of each anomaly map.
        distances: (n, h, w) float16 patch distances.
    """

    scores: NDArray[np.float64]
    peaks: NDArray[np.float32]
    distances: NDArray[np.float16]


class Heads(NamedTuple):
    """The head by which parts are scored, and those that calibrate: one for each fold of `HeadInfo.folds`."""

    head: DefectHead
    of_folds: tuple[DefectHead, ...] = ()


class Bundle(NamedTuple):
    """A bundle in memory, without what only learning needs; `sha256` is of its file, `graph` of an int8 bundle."""

    info: BundleInfo
    bank: NDArray[np.float32]
    calibration_scores: NDArray[np.float64]
    calibration_peaks: NDArray[np.float32]
    selftest: SelfTest
    sha256: str
    graph: StoredGraph | None = None
    position: PositionStatistics | None = None
    heads: Heads | None = None

    @property
    def scoring(self) -> Scoring:
        """How patch distances become the image score."""
        head = None if self.heads is None else self.heads.head
        return Scoring(self.info.reweight_neighbours, self.position, head, self.info.weights)


def save_bundle(
    path: Path,
    info: BundleInfo,
    bank: NDArray[np.float32],
    calibration: CalibrationScores,
    network_inputs: Iterable[NDArray[np.uint8]],
    selftest: SelfTest,
    *,
    position: PositionStatistics | None = None,
    graph: StoredGraph | None = None,
    heads: Heads | None = None,
) -> Bundle:
    """Write a bundle, whole or not at all, and return it as read back.

    Args:
        path: the file.
        info: its metadata.
        bank: (M, D).
        calibration: of n images.
        network_inputs: of these, in their order, (H, W, 3) uint8 RGB; iterated once.
        selftest: for the workers.
        position: of a position-aware bundle.
        graph: of an int8 bundle.
        heads: of a bundle with a head.

    Raises:
        DiskError: the file cannot be written.
    """
    kept: dict[str, NDArray[Any]] = {_DISTANCES: np.ascontiguousarray(calibration.distances, dtype=np.float16)}
    for number, pixels in enumerate(network_inputs):
        kept[f"{_PICTURE}{number:06d}"] = np.frombuffer(png_of(pixels), np.uint8)
    bundle = Bundle(info, bank, calibration.scores, calibration.peaks, selftest, "", graph, position, heads)
    return _save(path, bundle, kept)


def change_bundle(source: Path, target: Path, **changes: Any) -> Bundle:
    """Write a bundle that differs from `source` in some fields of its info. Raises BundleError, DiskError."""
    bundle = load_bundle(source)
    kept = read_left(source, bundle.sha256, left=_KEPT)
    return _save(target, bundle._replace(info=msgspec.structs.replace(bundle.info, **changes)), kept)


def _save(path: Path, bundle: Bundle, kept: dict[str, NDArray[Any]]) -> Bundle:
    tensors: dict[str, NDArray[Any]] = {
        "bank": np.ascontiguousarray(bundle.bank, dtype=np.float32),
        "calibration_scores": np.ascontiguousarray(bundle.calibration_scores, dtype=np.float64),
        "calibration_peaks": np.ascontiguousarray(bundle.calibration_peaks, dtype=np.float32),
        "selftest_input": np.ascontiguousarray(bundle.selftest.network_input, dtype=np.uint8),
        "selftest_score": np.array([bundle.selftest.score], dtype=np.float64),
        **kept,
    }
    if bundle.position is not None:
        planes = (np.ascontiguousarray(plane, dtype=np.float32) for plane in bundle.position)
        tensors |= dict(zip(_POSITION, planes, strict=True))
    if bundle.heads is not None:
        tensors[_HEADS] = np.stack([_head_row(head) for head in (bundle.heads.head, *bundle.heads.of_folds)])
    if bundle.graph is not None:
        tensors |= {name: np.frombuffer(part, np.uint8) for name, part in zip(_GRAPH, bundle.graph, strict=True)}
    write_file(path, msgspec.json.encode(bundle.info).decode(), tensors)
    return load_bundle(path)


def load_bundle(path: Path) -> Bundle:
    """Read and verify a bundle; the calibration inputs are verified, but stay in the file.

    Raises:
        BundleError: missing, truncated, damaged, not a bundle, of a version this release cannot use, or
            replaced while it was being read.
    """
    stored = read_file(path, leave=_KEPT)
    info = read_info(path, stored.text)
    tensors = stored.tensors
    wanted = {*_TENSORS, *(_GRAPH if info.spec.graph_sha256 else ()), *(_POSITION if info.position_aware else ())}
    wanted |= {_HEADS} if info.head is not None else set()
    absent = (wanted | {_DISTANCES}) - set(tensors) - set(stored.left)
    if absent:
        raise BundleError(f"{path}: damaged: {', '.join(sorted(absent))} missing; copy or fit it again")
    for name, (dimensions, dtype) in _TENSORS.items():
        if (tensors[name].ndim, tensors[name].dtype.name) != (dimensions, dtype):
            raise BundleError(
                f"{path}: damaged: tensor '{name}' has {tensors[name].ndim} dimensions of {tensors[name].dtype}, not "
                f"{dimensions} of {dtype}; copy or fit it again"
            )
    pictures, scores = len(stored.left) - 1, len(tensors["calibration_scores"])
    if not pictures == scores == len(info.calibration_names):
        raise BundleError(
            f"{path}: damaged: {pictures} calibration pictures, {scores} scores and {len(info.calibration_names)} "
            "names of them; copy or fit it again"
        )
    if not stored.intact:
        raise BundleError(f"{path}: damaged: its content does not match its checksum; copy or fit it again")
    width_px, height_px = info.spec.input_px
    network_input, score = tensors["selftest_input"], tensors["selftest_score"]
    if (network_input.shape, network_input.dtype.name, score.shape) != ((height_px, width_px, 3), "uint8", (1,)):
        raise BundleError(
            f"{path}: damaged: its self-test is no {width_px}×{height_px} picture with a score; fit it again"
        )
    if not info.judged_patches:
        raise BundleError(f"{path}: damaged: its masks leave nothing to judge; fit it again")
    graph = StoredGraph(*(tensors[name].tobytes() for name in _GRAPH)) if info.spec.graph_sha256 else None
    position = PositionStatistics(*(tensors[name] for name in _POSITION)) if info.position_aware else None
    if position is not None and any(plane.shape != info.grid for plane in position):
        raise BundleError(f"{path}: damaged: its statistics by place are not of its {info.grid} patches; fit it again")
    return Bundle(
        info,
        tensors["bank"],
        tensors["calibration_scores"],
        tensors["calibration_peaks"],
        SelfTest(network_input, float(score[0])),
        stored.sha256,
        graph,
        position,
        None if info.head is None else _heads(path, info.head, tensors[_HEADS]),
    )


def calibration_inputs(path: Path, rows: Sequence[int] | None = None) -> NDArray[np.uint8]:
    """Return the network inputs that a bundle was calibrated with, in the order of their scores, or those at `rows`.

    Returns:
        (n, H, W, 3) uint8 RGB.

    Raises:
        BundleError: see `load_bundle`; or one of them is not an image of the network's size.
    """
    bundle = load_bundle(path)
    width_px, height_px = bundle.info.spec.input_px
    names = [f"{_PICTURE}{row:06d}" for row in (range(len(bundle.calibration_scores)) if rows is None else rows)]
    stored = read_left(path, bundle.sha256, left=tuple(names))
    network_inputs = np.empty((len(stored), height_px, width_px, 3), np.uint8)
    for row, name in zip(network_inputs, names, strict=True):
        try:
            pixels = pixels_of(stored[name].tobytes())
        except ValueError:
            pixels = np.empty(0, np.uint8)
        if pixels.shape != row.shape:
            raise BundleError(f"{path}: damaged: a calibration picture is not {width_px}×{height_px} px; fit it again")
        row[:] = pixels
    return network_inputs


def calibration_distances(path: Path) -> NDArray[np.float16]:
    """Return the patch distances (n, h, w) of the images that calibrated a bundle. Raises BundleError."""
    bundle = load_bundle(path)
    (distances,) = read_left(path, bundle.sha256, left=_DISTANCES).values()
    return np.asarray(distances, dtype=np.float16)


def live_bundle(path: Path) -> Bundle:
    """Read a bundle for the line: also raises BundleError if it is not calibrated."""
    bundle = load_bundle(path)
    if bundle.info.thresholds is None:
        raise BundleError(f"{path}: not calibrated; run `patchline calibrate {path} GOOD_DIR` first")
    return bundle


def shadow_bundle(path: Path, live: Bundle, roi: Roi | None) -> Bundle:
    """Read a bundle to be tried on the parts cropped for the `live` one; `roi` is the station's own region, if any.

    Raises BundleError if that is impossible: another network input, region, alignment or masked pixels.
    """
    bundle = live_bundle(path)
    expects, gets = bundle.info, live.info
    regions = (roi or expects.roi, roi or gets.roi)
    for what, wanted, given in (
        ("network input", *("{}×{} px".format(*info.spec.input_px) for info in (expects, gets))),
        ("region", *("whole picture" if region is None else region for region in regions)),
    ):
        if wanted != given:
            raise BundleError(
                f"{path}: cannot be the shadow: its {what} is {wanted}, that of the live bundle {given}; "
                "fit both alike, or remove `shadow`"
            )
    none = np.zeros(expects.spec.input_px[::-1], np.bool_)
    theirs, ours = (none if info.filled is None else info.filled for info in (expects, gets))
    if not np.array_equal(theirs, ours):
        raise BundleError(
            f"{path}: cannot be the shadow: its masks ignore other pixels than those of the live bundle; fit both with "
            "the same masks, or remove `shadow`"
        )
    if _without_limit(expects.alignment) != _without_limit(gets.alignment):
        raise BundleError(
            f"{path}: cannot be the shadow: it aligns parts in another way than the live bundle; fit both with the "
            "same --fixture, --reference and --align options, or remove `shadow`"
        )
    return bundle


def _without_limit(alignment: Alignment | None) -> Alignment | None:
    """Return it without the limit that was learned from the good images: it changes no part that is found."""
    return None if alignment is None else msgspec.structs.replace(alignment, least_match=0.0)


def _head_row(head: DefectHead) -> NDArray[np.float64]:
    scalars = (head.bias, head.logit_mean, head.logit_spread, head.score_mean, head.score_spread)
    return np.concatenate([head.weights, head.mean, head.spread, scalars])


def _heads(path: Path, info: HeadInfo, rows: NDArray[np.float64]) -> Heads:
    """Return the heads of their rows of numbers; raises BundleError."""
    features = 2 * sum(info.level_dims)
    folds = 1 + max(info.folds, default=-1)
    # A fold whose last picture no longer calibrates leaves its head behind.
    if len(rows) < 1 + folds or rows.shape[1:] != (3 * features + 5,) or not np.isfinite(rows).all():
        raise BundleError(
            f"{path}: damaged: its head is not one of {features} features and {folds} folds; fit it again"
        )

    def head(row: NDArray[np.float64]) -> DefectHead:
        weights, mean, spread, scalars = np.split(row, [features, 2 * features, 3 * features])
        bias, logit_mean, logit_spread, score_mean, score_spread = (float(value) for value in scalars)
        return DefectHead(
            weights, bias, mean, spread, logit_mean, logit_spread, score_mean, score_spread, info.level_dims
        )

    return Heads(head(rows[0]), tuple(head(row) for row in rows[1:]))
