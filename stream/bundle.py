"""The bundle: one safetensors file with all that a station needs to judge its parts.

Tensors: `bank` (M, D) float32, `calibration_scores` (n,) float64 and `calibration_peaks` (n,)
float32 (the largest map pixel) of the held-out good pictures, `selftest_input` (S, S, 3) uint8 and
`selftest_score` (1,) float64: one of them and its score, by which a worker proves that it computes what
the fit computed; in an int8 bundle also the OpenVINO graph as bytes. Everything else is one JSON text in
the file's metadata, so that the same fit writes the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from stream.errors import BundleError
from stream.patchcore.health import Reference
from stream.patchcore.preprocess import PREPROCESSING, Roi
from stream.patchcore.spec import FeatureSpec, StoredGraph

#: Raised whenever an older reader would misunderstand the file.
FORMAT = 2
_KEY = "patchline"
_TENSORS = {"bank", "calibration_scores", "calibration_peaks", "selftest_input", "selftest_score"}
_GRAPH = ("graph_model", "graph_weights")


class Thresholds(msgspec.Struct, frozen=True):
    """What calibration decided.

    Attributes:
        image: image scores above it are DEFECT.
        pixel: map pixels above it belong to the mask.
        false_reject_rate: the wanted share of good parts called defective.
        guaranteed_rate: the share that the number of calibration pictures guarantees.
    """

    image: float
    pixel: float
    false_reject_rate: float
    guaranteed_rate: float


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
    thresholds: Thresholds | None
    reference: Reference
    bank_pictures: tuple[str, ...]
    versions: dict[str, str]


class SelfTest(NamedTuple):
    """A held-out good picture, (S, S, 3) uint8 RGB network input, and the image score that the fit gave it."""

    picture: NDArray[np.uint8]
    score: float


class Bundle(NamedTuple):
    """A bundle in memory; `sha256` is that of its file, `graph` that of an int8 bundle."""

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
    selftest: SelfTest,
    graph: StoredGraph | None = None,
) -> Bundle:
    """Write a bundle, whole or not at all, and return it as read back."""
    tensors: dict[str, NDArray[Any]] = {
        "bank": np.ascontiguousarray(bank, dtype=np.float32),
        "calibration_scores": np.ascontiguousarray(calibration_scores, dtype=np.float64),
        "calibration_peaks": np.ascontiguousarray(calibration_peaks, dtype=np.float32),
        "selftest_input": np.ascontiguousarray(selftest.picture, dtype=np.uint8),
        "selftest_score": np.array([selftest.score], dtype=np.float64),
    }
    if graph is not None:
        tensors |= {name: np.frombuffer(part, np.uint8) for name, part in zip(_GRAPH, graph, strict=True)}
    text = msgspec.json.encode(info).decode()
    data = save(tensors, metadata={_KEY: f"{_checksum(text, tensors)} {text}"})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as partial:
            try:
                partial.write(data)
                partial.flush()
                os.fsync(partial.fileno())
                Path(partial.name).chmod(0o644)
                Path(partial.name).replace(path)
            except BaseException:
                Path(partial.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise BundleError(f"{path}: cannot be written: {error.strerror}") from None
    return load_bundle(path)


def load_bundle(path: Path) -> Bundle:
    """Read and verify a bundle.

    Raises:
        BundleError: missing, truncated, damaged, not a bundle, of a version this release cannot use, or
            replaced while it was being read.
    """
    try:
        before = identity(path)
        with safe_open(path, framework="numpy") as file:
            stored = (file.metadata() or {}).get(_KEY)
            if stored is None:
                raise BundleError(
                    f"{path}: a safetensors file, but not a PatchLine bundle; make one with `patchline fit`"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except FileNotFoundError:
        raise BundleError(f"{path}: no such bundle; make it with `patchline fit GOOD_DIR -o {path}`") from None
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path}: truncated, damaged or not a bundle ({error}); copy or fit it anew") from None
    checksum, _, text = stored.partition(" ")
    info = _read_info(path, text)
    absent = (_TENSORS | set(_GRAPH if info.spec.graph_sha256 else ())) - set(tensors)
    if absent:
        raise BundleError(f"{path}: damaged: {', '.join(sorted(absent))} missing; copy or fit it anew")
    if checksum != _checksum(text, tensors):
        raise BundleError(f"{path}: damaged: its content does not match its checksum; copy or fit it anew")
    size_px = info.spec.size_px
    picture, score = tensors["selftest_input"], tensors["selftest_score"]
    if (picture.shape, picture.dtype, score.shape) != ((size_px, size_px, 3), np.uint8, (1,)):
        raise BundleError(f"{path}: damaged: its self-test is no {size_px}×{size_px} picture with a score; fit it anew")
    try:
        sha256 = file_sha256(path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from None
    if identity(path) != before:  # the hash must name the content that was read
        raise BundleError(f"{path}: was replaced while it was being read; try again")
    graph = StoredGraph(*(tensors[name].tobytes() for name in _GRAPH)) if info.spec.graph_sha256 else None
    return Bundle(
        info,
        tensors["bank"],
        tensors["calibration_scores"],
        tensors["calibration_peaks"],
        SelfTest(picture, float(score[0])),
        sha256,
        graph,
    )


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


def file_sha256(path: Path) -> str:
    """Hash a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identity(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is replaced or written to (inode, ns, bytes); None while it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _checksum(text: str, tensors: dict[str, NDArray[Any]]) -> str:
    """Hash all that the bundle says: metadata text, names, shapes and values of the tensors."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tensor.shape}{tensor.dtype}".encode() + tensor.tobytes())
    return digest.hexdigest()


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
