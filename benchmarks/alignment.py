"""What does alignment bring back of parts that lie elsewhere, and what does it cost?

Every good test picture is scored as it lies, and again moved by up to 20 px and turned by up to 5°: through the bundle
that aligns, and through one fitted alike without alignment. The canvas around a moved picture is its own edge, which
goes on; so is the margin of `--pad` px that is put around every picture first, for parts that fill their picture.

    .venv/bin/python benchmarks/alignment.py DATASET --fixture 40,40,300,300 --pad 40 [--save NAME]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from conditions import conditions, report
from numpy.typing import NDArray
from rich.progress import track
from rich.table import Table

from stream.core.errors import FrameFault
from stream.core.images import list_images, read_image
from stream.core.parts import Placement
from stream.model.bundle import Bundle
from stream.model.extractor import load_extractor
from stream.model.patchcore.alignment import Alignment, taught
from stream.model.patchcore.fixtures import Box, middle, rotation
from stream.model.patchcore.inspector import inspect
from stream.training.fit import fit
from stream.training.fit_options import FitOptions
from stream.training.folds import BY_FILE
from stream.training.learning import search_of

#: Largest move of a picture, and how large one is for the time.
SHIFT_PX, TURN_DEG, ONE_MP = 20.0, 5.0, (1000, 1000)


class Move(NamedTuple):
    """How a picture was moved: px to the right and down, degrees clockwise."""

    x_px: float
    y_px: float
    angle_deg: float


def moved(image: NDArray[np.uint8], about: NDArray[np.float64], move: Move) -> NDArray[np.uint8]:
    """Return a picture moved and turned about a point; its edge goes on beyond it."""
    turn = rotation(np.radians(move.angle_deg))
    matrix = np.column_stack([turn, about + move[:2] - turn @ about])
    size = image.shape[1], image.shape[0]
    return np.asarray(
        cv2.warpAffine(image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def errors(found: Placement, still: Placement, move: Move) -> tuple[float, float]:
    """Return by how many px and degrees a placement differs from that of the unmoved picture, moved."""
    expected = rotation(np.radians(move.angle_deg)) @ (still.dx_px, still.dy_px) + move[:2]
    away = np.hypot(found.dx_px - expected[0], found.dy_px - expected[1])
    return float(away), abs(found.angle_deg - still.angle_deg - move.angle_deg)


def milliseconds(alignment: Alignment, images: list[NDArray[np.uint8]]) -> tuple[float, float]:
    """Return the median ms to find the part in an image of one megapixel, and to sample its region, one thread."""
    cv2.setNumThreads(1)
    size = images[0].shape[1], images[0].shape[0]
    factors = ONE_MP[0] / size[0], ONE_MP[1] / size[1]
    large = [np.asarray(cv2.resize(image, ONE_MP), np.uint8) for image in images]
    boxes: list[Box] = [
        (round(x * factors[0]), round(y * factors[1]), round(w * factors[0]), round(h * factors[1]))
        for x, y, w, h in alignment.boxes
    ]
    same = taught(
        large[0], boxes, reference="large", rotates=alignment.rotates, by=alignment.by, limit_px=alignment.limit_px
    )
    random, find, sample = np.random.default_rng(0), [], []
    for image in large:
        move = Move(*random.uniform(-SHIFT_PX, SHIFT_PX, 2), random.uniform(-TURN_DEG, TURN_DEG))
        frame = moved(image, middle(boxes), move)
        begun_s = time.perf_counter()
        try:
            placement = same.placement(frame)
        except FrameFault:
            continue
        finally:
            find.append(time.perf_counter() - begun_s)
        begun_s = time.perf_counter()
        same.region(frame, (0, 0, *ONE_MP), placement)
        sample.append(time.perf_counter() - begun_s)
    return 1e3 * float(np.median(find)), 1e3 * float(np.median(sample))


def scored(bundle: Bundle, image: NDArray[np.uint8], extractor: object, search: object) -> float | None:
    """Return the image score; None: the part was not found."""
    geometry = bundle.info.geometry
    try:
        pixels = geometry.network_input(geometry.region(image))
    except FrameFault:
        return None
    return float(inspect(extractor, search, pixels[None], bundle.scoring)[0].score)  # type: ignore[arg-type]


def main() -> None:  # noqa: PLR0915 - one table, read from top to bottom
    """Fit, move, score, and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("dataset", type=Path, help="in MVTec AD's layout")
    arguments.add_argument("--fixture", action="append", required=True, help="X,Y,W,H in the padded picture")
    arguments.add_argument("--pad", type=int, default=0)
    arguments.add_argument("--by", choices=("edges", "brightness", "features"), default="edges")
    arguments.add_argument("--align", choices=("translation", "rotation"), default="rotation")
    arguments.add_argument("--limit-px", type=float, default=40.0)
    arguments.add_argument("--limit-deg", type=float, default=10.0)
    arguments.add_argument("--roi", help="X,Y,W,H in the padded picture; default: the picture without its padding")
    arguments.add_argument("--reference", type=int, default=0, help="number of the good picture")
    arguments.add_argument("--images", type=int, default=300, help="most of each folder")
    arguments.add_argument("--save", metavar="NAME", default="alignment")
    options = arguments.parse_args()
    pad = options.pad
    boxes: list[Box] = [tuple(int(n) for n in text.split(",")) for text in options.fixture]  # type: ignore[misc]

    def padded(folder: str) -> list[NDArray[np.uint8]]:
        paths = list_images(options.dataset / folder)[: options.images]
        return [
            np.asarray(cv2.copyMakeBorder(read_image(path), *(pad,) * 4, cv2.BORDER_REPLICATE), np.uint8)
            for path in paths
        ]

    good, test = padded("train/good"), padded("test/good")
    height_px, width_px = good[0].shape[:2]
    roi = (
        tuple(int(n) for n in options.roi.split(","))
        if options.roi
        else (pad, pad, width_px - 2 * pad, height_px - 2 * pad)
    )
    alignment = taught(
        good[options.reference], boxes, reference=str(options.reference), rotates=options.align == "rotation",
        by=options.by, limit_px=options.limit_px, limit_deg=options.limit_deg,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "good")
        folder.mkdir()
        skipped = 0
        for number, image in enumerate(good):
            try:
                alignment.placement(image)
            except FrameFault:
                skipped += 1
                continue
            cv2.imwrite(str(folder / f"{number:04d}.png"), image)
        fits = {
            name: fit(folder, Path(scratch, f"{name}.safetensors"), FitOptions(
                group_by=BY_FILE, roi=roi, alignment=alignment if name == "aligned" else None,  # type: ignore[arg-type]
            )).bundle
            for name in ("aligned", "as they lie")
        }  # fmt: skip
    random, about = np.random.default_rng(0), middle(boxes)
    moves = [Move(*random.uniform(-SHIFT_PX, SHIFT_PX, 2), random.uniform(-TURN_DEG, TURN_DEG)) for _ in test]
    found = fits["aligned"].info.alignment
    assert found is not None
    off: list[tuple[float, float]] = []
    lost = [0, 0]
    for image, move in zip(test, moves, strict=True):
        try:
            still = found.placement(image)
        except FrameFault:
            lost[0] += 1
            continue
        try:
            off.append(errors(found.placement(moved(image, about, move)), still, move))
        except FrameFault:
            lost[1] += 1
    table = Table(
        "bundle", "good parts", "not found", "score, moved / unmoved: median", "10 to 90 %", "false rejects, 1 % wanted"
    )
    for name, bundle in fits.items():
        extractor = load_extractor(bundle.info.spec)
        search = search_of(bundle.bank, extractor)
        assert bundle.info.thresholds is not None
        limit = bundle.info.thresholds.image
        still = [scored(bundle, image, extractor, search) for image in track(test, description=f"{name}, unmoved")]
        ways = [
            scored(bundle, moved(image, about, move), extractor, search)
            for image, move in zip(track(test, description=f"{name}, moved"), moves, strict=True)
        ]
        for where, scores in (("unmoved", still), ("moved", ways)):
            inspected = [value for value in scores if value is not None]
            ratio = np.array([w / s for s, w in zip(still, scores, strict=True) if s is not None and w is not None])
            rejected = sum(value > limit for value in inspected)
            table.add_row(
                name, where, f"{len(scores) - len(inspected)} of {len(scores)}", f"{np.median(ratio):.3f}",
                f"{np.quantile(ratio, 0.1):.3f} to {np.quantile(ratio, 0.9):.3f}",
                f"{rejected / len(inspected):.1%} of those found",
            )  # fmt: skip
    away = np.array(off)
    times = milliseconds(alignment, test[:60])
    text = [
        f"by {options.by}, {options.align}, fixtures {' and '.join(options.fixture)}, padding {pad} px, region {roi}; "
        f"of {len(good)} good pictures {skipped} were not found and left out",
        f"error of {len(away)} moves of up to {SHIFT_PX:g} px and {TURN_DEG:g}°: median {np.median(away[:, 0]):.3f} px "
        f"and {np.median(away[:, 1]):.3f}°, 95 % within {np.quantile(away[:, 0], 0.95):.3f} px and "
        f"{np.quantile(away[:, 1], 0.95):.3f}°; not found: {lost[0]} unmoved, {lost[1]} moved",
        f"one thread, picture of 1 MP: {times[0]:.1f} ms to find the part, {times[1]:.1f} ms to sample 1 MP of it",
    ]
    report(
        options.save,
        "Alignment: parts that lie elsewhere",
        f".venv/bin/python benchmarks/alignment.py {options.dataset.name} {' '.join(sys.argv[2:])}",
        conditions("opencv-python-headless", "openvino"),
        table,
        *text,
    )


if __name__ == "__main__":
    main()
