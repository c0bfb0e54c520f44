"""Small defects on large parts: what a part in one network input shows, and what it shows in tiles.

A part is a module of 6 × 4 monocrystalline solar cells of ELPV, 5 megapixels: real textures, real cracks. Its cells are
neighbours in the data set's order, which goes by module, so that they are of one make. A module is defective either
because one of its 24 cells is broken (label 1.0), often all of it; or because one cell has a crack of at most 100 px: a
window of a broken cell around its clearest oblique line, found by morphological filters and cloned into a good cell at
its place. Every good module has a window of another good cell cloned in alike, at such a place, so that the cloning
tells nothing. Modules of the bank and all others are drawn from disjoint cells. E as in quality.py: the expected share
of the defective modules missed at a false-reject rate, over 200 draws of the calibration from the pool. Nothing is
chosen by these figures.

    .venv/bin/python benchmarks/modules.py [--remembered 40] [--pool 200] [--defective 60]
"""

from __future__ import annotations

import argparse
import bisect
import random
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from conditions import conditions, report
from numpy.typing import NDArray
from pictures import elpv_cells
from rich.progress import track
from rich.table import Table

from stream.core.images import read_image
from stream.core.statistics import auroc
from stream.model.bundle import Bundle
from stream.model.extractor import load_extractor
from stream.model.patchcore.tiles import Tiling
from stream.model.station_model import StationModel, build_memory_bank, inspect_batch
from stream.training.calibration_draws import expected_misses
from stream.training.fit import fit
from stream.training.fit_options import FitOptions
from stream.training.folds import BY_FILE

COLUMNS, ROWS, CELL_PX = 6, 4, 456
#: Neighbouring cells of which a module's are drawn.
STRETCH = 30
#: Edge of the window that shows a crack, most thickness of its line and least length, px of a cell in a module.
CRACK_PX, LINE_PX, LENGTH_PX = 100, 13, 61
#: Directions of cracks; busbars and fingers are upright or level. Least darkness of a line, grey levels.
ANGLES_DEG, DARKNESS = (30, 45, 60, 120, 135, 150), 10
VARIANTS = {
    "one input, 224 px": FitOptions(group_by=BY_FILE),
    "4×3 tiles of 224 px": FitOptions(group_by=BY_FILE, tiling=Tiling(4, 3)),
    "6×4 tiles of 224 px": FitOptions(group_by=BY_FILE, tiling=Tiling(6, 4)),
    "6×4 tiles, own banks": FitOptions(group_by=BY_FILE, tiling=Tiling(6, 4, own_banks=True)),
}


def main() -> None:
    """Print one row for each way to look at a module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--remembered", type=int, default=40, help="good modules of the bank")
    parser.add_argument("--pool", type=int, default=200, help="good modules of which calibrations are drawn")
    parser.add_argument("--defective", type=int, default=60, help="defective modules of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the modules that are drawn")
    options = parser.parse_args()
    table = Table(
        "method", "AUROC, cracks", "E at 1 %", "E at 5 %", "AUROC, cells", "E at 1 %", "bank", "ms", "tiles/s"
    )
    with tempfile.TemporaryDirectory() as scratch:
        good, pool, cracked, broken = modules(
            Path(scratch), options.remembered, options.pool, options.defective, options.seed
        )
        for name, fit_options in VARIANTS.items():
            bundle = fit(good, Path(scratch, "b.safetensors"), fit_options).bundle
            add(table, name, bundle, pool, cracked, broken)
    report(
        "modules",
        "Small defects on parts of 5 megapixels, in one network input and in tiles",
        f"python benchmarks/modules.py --remembered {options.remembered} --pool {options.pool} "
        f"--defective {options.defective}",
        conditions("openvino", "torch", "timm"),
        table,
        f"Modules of {COLUMNS} × {ROWS} cells, {COLUMNS * CELL_PX} × {ROWS * CELL_PX} px: {options.remembered} good "
        f"ones remembered, a pool of {options.pool}, {options.defective} with a crack of at most {CRACK_PX} px and "
        f"{options.defective} with a broken cell. E: expected share of these missed at 1 and 5 % false rejects wanted, "
        "over 200 draws of half of the pool. Milliseconds: median of one part, one at a time, resizing to score.",
    )


def modules(
    folder: Path, remembered: int, pool: int, defective: int, seed: int
) -> tuple[Path, list[Path], list[Path], list[Path]]:
    """Write the modules: a folder of good ones for the bank; files of the pool, cracked ones, broken ones."""
    draw = random.Random(seed)  # pictures, not secrets
    good, broken = (sorted(cells) for cells in elpv_cells("mono"))
    found = [(cell, crack_of(enlarged(cell))) for cell in track(broken, description="cracks")]
    cracks = [(cell, place) for cell, place in found if place is not None]
    written: dict[str, list[Path]] = {}
    known, other = good[::2], good[1::2]
    for name, cells, count in (
        ("good", known, remembered),
        ("pool", other, pool),
        ("cracked", other, defective),
        ("broken", other, defective),
    ):
        (folder / name).mkdir()
        written[name] = []
        for number in track(range(count), description=f"modules: {name}"):
            source, place = draw.choice(cracks)
            neighbours = stretch(cells, source)
            chosen = [enlarged(cell) for cell in draw.sample(neighbours, COLUMNS * ROWS)]
            changed = draw.randrange(len(chosen))
            if name == "broken":
                chosen[changed] = enlarged(source)
            else:
                source = source if name == "cracked" else draw.choice(neighbours)
                chosen[changed] = cloned(chosen[changed], enlarged(source), place)
            path = folder / name / f"{number:03d}.png"
            rows = [np.hstack(chosen[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(ROWS)]
            cv2.imwrite(str(path), np.vstack(rows), [cv2.IMWRITE_PNG_COMPRESSION, 1])
            written[name].append(path)
    return folder / "good", written["pool"], written["cracked"], written["broken"]


def stretch(cells: list[Path], source: Path) -> list[Path]:
    """Return the STRETCH cells next to a source in the data set's order, in that order."""
    first = bisect.bisect(cells, source) - STRETCH // 2
    first = max(0, min(first, len(cells) - STRETCH))
    return cells[first : first + STRETCH]


def enlarged(cell: Path) -> NDArray[np.uint8]:
    """Read a cell at the size that it has in a module."""
    return np.asarray(cv2.resize(read_image(cell), (CELL_PX, CELL_PX), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def crack_of(cell: NDArray[np.uint8]) -> tuple[int, int] | None:
    """Return the place (x, y) of the clearest dark oblique line of a cell, None if it has none."""
    smooth = cv2.GaussianBlur(cell[..., 0], (0, 0), 1.5)
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (LINE_PX, LINE_PX))
    dark = cv2.morphologyEx(smooth, cv2.MORPH_BLACKHAT, ellipse)
    clearest = np.zeros_like(dark)
    for angle in np.radians(ANGLES_DEG):
        line = np.zeros((LENGTH_PX, LENGTH_PX), np.uint8)
        middle = LENGTH_PX // 2
        across, up = round(middle * np.cos(angle)), round(middle * np.sin(angle))
        cv2.line(line, (middle - across, middle + up), (middle + across, middle - up), (1,))
        clearest = np.maximum(clearest, cv2.morphologyEx(dark, cv2.MORPH_OPEN, line))
    margin = CRACK_PX // 2 + 1
    inner = clearest[margin:-margin, margin:-margin]
    row, column = np.unravel_index(int(inner.argmax()), inner.shape)
    return (int(column) + margin, int(row) + margin) if inner.max() >= DARKNESS else None


def cloned(cell: NDArray[np.uint8], source: NDArray[np.uint8], place: tuple[int, int]) -> NDArray[np.uint8]:
    """Clone the window of a source around a place into a cell, without seams."""
    x, y = place
    half = CRACK_PX // 2
    disc = np.zeros((CRACK_PX, CRACK_PX), np.uint8)
    cv2.circle(disc, (half, half), half - 2, (255,), -1)
    window = source[y - half : y + half, x - half : x + half]
    return np.asarray(cv2.seamlessClone(window, cell, disc, (x, y), cv2.NORMAL_CLONE), dtype=np.uint8)


def add(table: Table, name: str, bundle: Bundle, pool: list[Path], cracked: list[Path], broken: list[Path]) -> None:
    """Score the modules and add a row."""
    extractor = load_extractor(bundle.info.spec)
    model = StationModel(bundle, extractor, build_memory_bank(bundle, extractor), bundle.info.spec.key, True)
    scores, seconds = [], []
    for path in track([*pool, *cracked, *broken], description=name):
        picture = read_image(path)
        begun_s = time.perf_counter()
        (part,) = inspect_batch([model], bundle.info.geometry.network_input(picture)[None])
        seconds.append(time.perf_counter() - begun_s)
        scores.append(part.inspection.score)
    good, small, large = np.split(np.array(scores), [len(pool), len(pool) + len(cracked)])

    def figures(defective: NDArray[np.float64], rates: tuple[float, ...]) -> list[str]:
        labels = np.repeat([False, True], [len(good), len(defective)])
        draws = expected_misses(good, defective, rates, calibration_count=len(pool) // 2)
        return [
            f"{auroc(labels, np.concatenate([good, defective])):.3f}",
            *(f"{one.misses:.3f} ({one.misses_p10:.2f}-{one.misses_p90:.2f})" for one in draws),
        ]

    took_s = float(np.median(seconds))
    tiles = 1 if bundle.info.spec.tiles is None else bundle.info.spec.tiles.count
    table.add_row(
        name,
        *figures(small, (0.01, 0.05)),
        *figures(large, (0.01,)),
        f"{len(bundle.bank):,}",
        f"{1e3 * took_s:.1f}",
        f"{tiles / took_s:.0f}",
    )


if __name__ == "__main__":
    main()
