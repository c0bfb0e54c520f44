"""The pictures that the benchmarks share: monocrystalline solar cells of the demo's data set."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import Literal

import elpv_dataset
import numpy as np
from numpy.typing import NDArray

from stream.cli.demo.demo import export_elpv
from stream.core.images import list_images, read_image
from stream.model.patchcore.preprocess import network_input


def solar_cells(kind: Literal["good", "defect"], size_px: int = 224) -> NDArray[np.uint8]:
    """Return all good or all broken cells as (N, S, S, 3) uint8; of the good ones the first 300 are the demo's."""
    with tempfile.TemporaryDirectory() as scratch:
        root = export_elpv(Path(scratch, "elpv"))
        shares = ("train/good", "test/good") if kind == "good" else ("test/defect",)
        paths = [path for share in shares for path in list_images(root / share)]
        return np.stack([network_input(read_image(path), (size_px, size_px)) for path in paths])


def elpv_cells(kind: Literal["mono", "poly"]) -> tuple[list[Path], list[Path]]:
    """Return the files of all good cells (label 0) and of all broken ones (label 1.0) of a kind."""
    data = Path(str(elpv_dataset.__file__)).parent / "data"
    with (data / "labels.csv").open() as file:
        rows = [row for row in csv.reader(file, delimiter=" ", skipinitialspace=True) if row[2] == kind]
    good, broken = ([data / row[0] for row in rows if float(row[1]) == label] for label in (0.0, 1.0))
    return good, broken
