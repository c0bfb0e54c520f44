"""The options of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stream.model.extractor import Device
from stream.model.mask_files import MaskFile
from stream.model.patchcore.alignment import Alignment
from stream.model.patchcore.geometry import Geometry
from stream.model.patchcore.preprocess import Roi, Size
from stream.model.patchcore.tiles import Tiling
from stream.training.folds import FOLDS


@dataclass(frozen=True)
class FitOptions:
    """The options of a fit; the defaults are those of `patchline fit`."""

    backbone: str = "efficientnet_lite0"
    #: Names of its levels; empty: the backbone's default.
    levels: tuple[str, ...] = ()
    size_px: Size = 224
    #: None: the network takes the region whole.
    tiling: Tiling | None = None
    roi: Roi | None = None
    masks: tuple[MaskFile, ...] = ()
    coreset: float = 0.01
    neighbourhood: int = 3
    stride: int = 1
    score: Literal["auto", "plain", "position"] = "auto"
    calibration: Literal["cross", "split"] = "cross"
    folds: int = FOLDS
    holdout: float = 0.2
    group_by: str | None = None
    leave_out: tuple[str, ...] = ()
    false_reject_rate: float = 0.01
    seed: int = 0
    device: Device = "auto"
    weights: Path | None = None
    max_memory_bytes: int | None = None
    #: Of the network; auto: the fastest here that ranks good pictures as float32 does.
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "float32"
    #: Most patches that the bank remembers; None: no limit beside the coreset's share.
    bank_max: int | None = None
    #: None: the part is where it is.
    alignment: Alignment | None = None
    #: Millimetres of one px of the images; None: not measured.
    mm_per_px: float | None = None

    def geometry(self, input_px: tuple[int, int]) -> Geometry:
        """Return how pictures of any size become network inputs of (width, height)."""
        return Geometry(self.roi, None, input_px, alignment=self.alignment)
