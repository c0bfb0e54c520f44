"""What a bundle says of itself: the JSON text in its file's metadata, and what follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.core.errors import BundleError
from stream.model.patchcore.alignment import Alignment
from stream.model.patchcore.geometry import Geometry
from stream.model.patchcore.health import Reference
from stream.model.patchcore.masks import Masks
from stream.model.patchcore.preprocess import PREPROCESSING, Roi
from stream.model.patchcore.spec import Count, FeatureSpec, Precision
from stream.model.patchcore.spots import NO_ZONES, Zones

#: Version of the file format; raised whenever an older reader would misunderstand the file.
FORMAT = 5
#: A share of parts, of which nobody is promised none.
Rate = Annotated[float, msgspec.Meta(gt=0, le=1)]


class Thresholds(msgspec.Struct, frozen=True):
    """What calibration decided.

    Attributes:
        image: image scores above it are DEFECT.
        pixel: map pixels above it are anomalous.
        false_reject_rate: the wanted share of good parts called defective.
        expected_rate: the share to be expected; larger than wanted with too few calibration images.
        guaranteed_rate: the largest share, on average over fits, whatever the distribution of the scores.
        by_hand: a user chose the image threshold; the rates are then those that it implies.
    """

    image: float
    pixel: float
    false_reject_rate: Rate
    expected_rate: Rate
    guaranteed_rate: Rate
    by_hand: bool = False


class PrecisionTrial(msgspec.Struct, frozen=True):
    """What a precision was measured to do at the fit, on its machine.

    Attributes:
        precision: that the network was computed in.
        milliseconds: median time of the features of one picture.
        spearman: rank correlation of good pictures' scores, each out of fold, with those in float32.
    """

    precision: Precision
    milliseconds: float
    spearman: float


class HeadInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a bundle's head was learned.

    Attributes:
        level_dims: channels of each level of the features.
        folds: of each image that calibrates, the fold without which the head was trained that scores it; empty: the
            head has seen none of them.
        defects: how many marked defects it was learned from.
        false_alarms: how many parts marked so.
    """

    level_dims: tuple[int, ...]
    folds: tuple[int, ...]
    defects: int
    false_alarms: int


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
        reweight_neighbours: b of the plain image score.
        position_aware: the image score judges distances by their place; its statistics are in the bundle.
        shift_patches: median shift of the good images against their mean, which decided that; None: not measured.
        seed: of the split, the projection and the first pick.
        bank_patches: how many the coreset was chosen from.
        coreset_patches: how many the fit chose; those after them in the bank were added later.
        covering_radius: largest distance, Euclidean, of one of these to its nearest patch in the bank, at the fit.
        thresholds: None until calibrated.
        reference: light, focus and colour of the images of bank and calibration.
        calibration_names: file names of the n images that calibrate, relative to the folder of good ones.
        folds: of each of these, the fold that was held out to score it, pictures of one fold being neighbours; empty:
            none of them is in the bank.
        bank_pictures: hash of the network input of each image in the bank, so that none of them calibrates later.
        versions: of the libraries that made it.
        wanted_score, wanted_calibration: as the fit was asked, so that teaching asks the same.
        head: how its head was learned; None: it has none.
        masks: what of a part is not judged, or by another threshold; None: it has none.
        alignment: how the part is found in a frame; None: it is where it is.
        mm_per_px: millimetres of one px of the images; None: not measured.
        precisions: those among which the fit chose; empty: a user chose.
        bank_max: most patches that a fit chooses for the bank; None: no limit beside the coreset's share.
    """

    format: int
    spec: FeatureSpec
    roi: Roi | None
    picture_px: tuple[Count, Count] | None
    grid: tuple[Count, Count]
    coreset: float
    projection_dims: Count
    reweight_neighbours: int
    position_aware: bool
    shift_patches: float | None
    seed: int
    bank_patches: int
    coreset_patches: int
    covering_radius: float
    thresholds: Thresholds | None
    reference: Reference
    calibration_names: tuple[str, ...]
    folds: tuple[int, ...]
    bank_pictures: tuple[str, ...]
    versions: dict[str, str]
    head: HeadInfo | None = None
    wanted_score: Literal["auto", "plain", "position"] = "auto"
    wanted_calibration: Literal["cross", "split"] = "cross"
    masks: Masks | None = None
    alignment: Alignment | None = None
    mm_per_px: float | None = None
    precisions: tuple[PrecisionTrial, ...] = ()
    bank_max: Count | None = None

    @property
    def geometry(self) -> Geometry:
        """From a frame like the training images to the network input."""
        return Geometry(self.roi, self.picture_px, self.spec.input_px, self.masks, self.alignment)

    @property
    def weights(self) -> NDArray[np.float32] | None:
        """What distances are multiplied by, (h, w), 0 where a patch is not judged; None: 1 everywhere."""
        return None if self.masks is None else self.masks.weights(self.spec.input_px, self.grid)

    @property
    def filled(self) -> NDArray[np.bool_] | None:
        """Which pixels of the network input are filled, (H, W), since they are not judged; None: none."""
        return None if self.masks is None else self.masks.filled(self.spec.input_px)

    @property
    def judged_patches(self) -> int:
        """Number of patches of a picture that are judged."""
        return self.grid[0] * self.grid[1] if self.weights is None else int(np.count_nonzero(self.weights))

    @property
    def zones(self) -> Zones:
        """The named zones of the part's region, which rules may be about."""
        return NO_ZONES if self.masks is None else self.masks.zones()

    @property
    def cross(self) -> bool:
        """Whether the images that calibrate are also in the bank, each having been scored without its fold."""
        return bool(self.folds)

    @property
    def out_of_fold(self) -> bool:
        """Whether bank or head have seen the images that calibrate, each of which was scored without its fold."""
        return self.cross or (self.head is not None and bool(self.head.folds))


def read_info(path: Path, text: str) -> BundleInfo:
    """Read the metadata of the bundle at `path`; raises BundleError for other formats and damage."""
    try:
        raw: Any = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BundleError(f"{path}: damaged metadata: {error}; copy or fit it again") from None
    stored_format = raw.get("format") if isinstance(raw, dict) else None
    if stored_format != FORMAT:
        raise BundleError(
            f"{path}: bundle format {stored_format}, this release reads format {FORMAT}; "
            "fit anew: scores of another release's features cannot be compared with these"
        )
    try:
        info = msgspec.json.decode(text, type=BundleInfo)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BundleError(f"{path}: damaged metadata: {error}; copy or fit it again") from None
    if (info.spec.precision == "int8") != bool(info.spec.graph_sha256):
        raise BundleError(
            f"{path}: damaged metadata: precision {info.spec.precision} "
            f"{'with' if info.spec.graph_sha256 else 'without'} an int8 graph; copy or fit it again"
        )
    if info.spec.preprocessing != PREPROCESSING:
        raise BundleError(
            f"{path}: its pictures were preprocessed as '{info.spec.preprocessing}', this release does "
            f"'{PREPROCESSING}'; fit it again"
        )
    return info
