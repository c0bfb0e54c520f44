"""How large do spots come out, beside the defects under them? Discs and scratches of known size, drawn into good parts.

The contour of a spot (`stream/model/patchcore/spots.py`) was chosen with the drawings of `--choosing`: other cells of
other kinds, other places, other seeds than those that are reported.

    .venv/bin/python benchmarks/spots.py [--choosing]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
from conditions import conditions, report
from numpy.typing import NDArray
from pictures import elpv_cells
from rich.progress import track
from rich.table import Table

from stream.core.images import read_image
from stream.model.bundle import Bundle, load_bundle
from stream.model.extractor import load_extractor
from stream.model.patchcore.inspector import inspect
from stream.model.patchcore.score import anomaly_map, sigma_px
from stream.model.patchcore.spots import spots_of
from stream.training.fit import fit
from stream.training.fit_options import FitOptions
from stream.training.folds import BY_FILE
from stream.training.learning import search_of

#: Good cells that are learned, and those after them that are drawn on.
_LEARNED, _DRAWN_ON = 100, 40
#: Diameters of discs and lengths of scratches, px of the picture; widths of scratches; changes of grey value.
_SIZES_PX, _WIDTHS_PX, _CONTRASTS = (10, 15, 20, 30, 40, 60), (3, 6), (30, 60, 110)
#: Drawings of each kind, size and contrast.
_REPEATS = 6
#: Subpixels of a drawing, along each side.
_FINER = 8


class Parts(NamedTuple):
    """What is drawn on: every second solar cell of a kind, from the first or the second, and the network's input."""

    kind: Literal["mono", "poly"]
    input_px: int
    first: Literal[0, 1]
    seed: int

    @property
    def name(self) -> str:
        """Cells and input in words."""
        return f"{self.kind}, {self.input_px} px"


CHOSEN_ON = (Parts("mono", 224, 0, 1), Parts("poly", 224, 0, 2))
REPORTED = (Parts("mono", 224, 1, 3), Parts("poly", 224, 1, 4), Parts("mono", 320, 1, 5))


class Drawing(NamedTuple):
    """A defect as it is drawn, px of the picture: a disc of length = width, or a scratch."""

    kind: Literal["disc", "scratch"]
    length_px: float
    width_px: float
    contrast: float

    def opacity(self, size_px: tuple[int, int], random: np.random.Generator) -> NDArray[np.float32]:
        """Return the share of each pixel of a picture (height, width) that it covers, at a random place and angle."""
        height_px, width_px = size_px
        reach_px = self.length_px / 2 + 20
        x, y = random.uniform(reach_px, width_px - reach_px), random.uniform(reach_px, height_px - reach_px)
        fine = np.zeros((_FINER * height_px, _FINER * width_px), np.uint8)
        box = ((_FINER * x, _FINER * y), (_FINER * self.length_px, _FINER * self.width_px), random.uniform(0, 180))
        if self.kind == "disc":
            cv2.ellipse(fine, box, 255, -1)
        else:
            cv2.fillPoly(fine, [np.round(cv2.boxPoints(box)).astype(np.int32)], 255)
        return np.asarray(cv2.resize(fine, (width_px, height_px), interpolation=cv2.INTER_AREA), np.float32) / 255


class Drawn(NamedTuple):
    """A drawing, the patch distances (h, w) of its picture, and where it is, (H, W) bool of the picture."""

    drawing: Drawing
    distances: NDArray[np.float32]
    truth: NDArray[np.bool_]


def drawings() -> list[Drawing]:
    """Return all kinds, sizes and contrasts, each once."""
    discs = [Drawing("disc", size, size, contrast) for size in _SIZES_PX for contrast in _CONTRASTS]
    scratches = [
        Drawing("scratch", size, width, contrast)
        for size in _SIZES_PX
        for width in _WIDTHS_PX
        for contrast in _CONTRASTS
        if size > 2 * width
    ]
    return discs + scratches


def drawn(parts: Parts, scratch: Path) -> tuple[Bundle, list[Drawn]]:
    """Fit good cells and inspect others with defects drawn into them."""
    good = elpv_cells(parts.kind)[0][parts.first :: 2]
    order = np.random.default_rng(parts.seed).permutation(len(good))
    folder = scratch / parts.name
    folder.mkdir()
    for row in order[:_LEARNED]:
        (folder / good[row].name).symlink_to(good[row])
    path = scratch / f"{parts.name}.safetensors"
    fit(folder, path, FitOptions(size_px=parts.input_px, group_by=BY_FILE))
    bundle = load_bundle(path)
    extractor = load_extractor(bundle.info.spec)
    search = search_of(bundle.bank, extractor)
    pictures = [read_image(good[row]) for row in order[_LEARNED : _LEARNED + _DRAWN_ON]]
    random, found = np.random.default_rng(parts.seed), []
    for drawing in track(drawings() * _REPEATS, description=parts.name):
        picture = pictures[int(random.integers(len(pictures)))]
        opacity = drawing.opacity((picture.shape[0], picture.shape[1]), random)
        sign = 1 if float(picture[opacity > 0].mean()) < 128 else -1
        changed = np.clip(np.rint(picture + sign * drawing.contrast * opacity[..., None]), 0, 255).astype(np.uint8)
        pixels = bundle.info.geometry.network_input(changed)
        ((_, distances),) = inspect(extractor, search, pixels[None], bundle.scoring)
        found.append(Drawn(drawing, distances, opacity > 0.5))
    return bundle, found


class Sizes(NamedTuple):
    """Area, length and width of what was found of a drawing, as multiples of its own."""

    area: float
    length: float
    width: float


def measured(found: Drawn, bundle: Bundle) -> tuple[Sizes, Sizes] | None:
    """Return the sizes at the contour of the pixel threshold, and those of the spot; None: no spot lies on it."""
    thresholds, input_px = bundle.info.thresholds, bundle.info.spec.input_px
    assert thresholds is not None
    region_px = found.truth.shape[1], found.truth.shape[0]
    spots = spots_of(found.distances, thresholds.pixel, input_px, region_px, with_strongest=False)
    pixels = anomaly_map(found.distances, input_px[::-1], sigma_px(input_px[::-1], found.distances.shape))
    _, labels = cv2.connectedComponents((pixels > thresholds.pixel).astype(np.uint8), connectivity=8)
    at_truth = labels[cv2.resize(found.truth.astype(np.uint8), input_px, interpolation=cv2.INTER_NEAREST) > 0]
    if not at_truth.any():
        return None
    own = np.asarray(labels == np.bincount(at_truth[at_truth > 0]).argmax())
    scale = region_px[0] / input_px[0], region_px[1] / input_px[1]
    (rows, columns), drawing = np.nonzero(own), found.drawing
    spot = min(spots, key=lambda one: np.hypot(one.x_px - scale[0] * columns.mean(), one.y_px - scale[1] * rows.mean()))
    corners = np.stack([np.repeat(columns, 4) + np.tile([0, 1, 0, 1], len(columns)),
                        np.repeat(rows, 4) + np.tile([0, 0, 1, 1], len(rows))], axis=1)  # fmt: skip
    _, sides, _ = cv2.minAreaRect((corners * scale).astype(np.float32))
    area_px = drawing.length_px * drawing.width_px * (np.pi / 4 if drawing.kind == "disc" else 1)
    at_threshold = np.count_nonzero(own) * scale[0] * scale[1], max(sides), min(sides)
    true = area_px, drawing.length_px, drawing.width_px
    now = spot.area_px, spot.length_px, spot.width_px
    return Sizes(*(a / b for a, b in zip(at_threshold, true, strict=True))), Sizes(
        *(a / b for a, b in zip(now, true, strict=True))
    )


def rows_of(parts: Parts, bundle: Bundle, found: list[Drawn]) -> Iterator[list[str]]:
    """Yield a row for each kind and range of sizes: medians, and in brackets the ranges of the middle 80 %."""
    for kind in ("disc", "scratch"):
        for low, high in ((10, 20), (30, 60)):
            own = [each for each in found if each.drawing.kind == kind and low <= each.drawing.length_px <= high]
            pairs = [pair for each in own if (pair := measured(each, bundle)) is not None]
            cells = [parts.name, f"{kind}, {low} to {high} px", f"{len(pairs)} of {len(own)}"]
            for measure in Sizes._fields:
                for which in (0, 1):
                    ratios = [getattr(pair[which], measure) for pair in pairs]
                    cells.append("{1:.2f} ({0:.2f} to {2:.2f})".format(*np.quantile(ratios, (0.1, 0.5, 0.9))))
            yield cells


def main() -> None:
    """Print one row for each part, kind and range of sizes."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--choosing", action="store_true", help="the drawings by which the contour was chosen")
    choosing = arguments.parse_args().choosing
    columns = [f"{measure}, {how}" for measure in Sizes._fields for how in ("at the threshold", "of the spot")]
    table = Table("cells, network input", "drawn", "found", *columns)
    with tempfile.TemporaryDirectory() as scratch:
        for parts in CHOSEN_ON if choosing else REPORTED:
            for row in rows_of(parts, *drawn(parts, Path(scratch))):
                table.add_row(*row)
    report(
        "spots_choosing" if choosing else "spots",
        "Sizes of spots, beside those of drawn defects",
        f".venv/bin/python benchmarks/spots.py{' --choosing' if choosing else ''}",
        conditions("openvino", "opencv-python-headless"),
        table,
        "Median of measured / true, and its range from the 10 % to the 90 % quantile, of what exceeds the pixel "
        f"threshold. Discs and scratches ({', '.join(map(str, _WIDTHS_PX))} px wide) of "
        f"{', '.join(map(str, _SIZES_PX))} px, {', '.join(map(str, _CONTRASTS))} grey levels beside good cells of "
        f"300×300 px, each {_REPEATS} times, by a bundle of {_LEARNED} other cells. A patch is 8 px of the network "
        "input: at 224 px, 10.7 px of the picture.",
    )


if __name__ == "__main__":
    main()
