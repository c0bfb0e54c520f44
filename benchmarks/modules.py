"""Small defects on large parts: what a part in one network input shows, and what it shows in tiles.

A part is a module of 6 × 4 monocrystalline solar cells of ELPV, 5 megapixels: real textures, real cracks. A defective
module has one broken cell (label 1.0) among 23 good ones. Modules of the bank, of the pool and defective ones are drawn
from disjoint cells. E as in quality.py: the expected share of the defective modules missed at a false-reject rate, over
200 draws of the calibration from the pool. Nothing is chosen by these figures.

    .venv/bin/python benchmarks/modules.py [--remembered 40] [--pool 60] [--defective 60]
"""

from __future__ import annotations

import argparse
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
from stream.model.patchcore.preprocess import network_input
from stream.model.patchcore.tiles import Tiling
from stream.model.station_model import StationModel, build_memory_bank, inspect_batch
from stream.training.calibration_draws import expected_misses
from stream.training.fit import fit
from stream.training.fit_options import FitOptions
from stream.training.folds import BY_FILE

COLUMNS, ROWS, CELL_PX = 6, 4, 456
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
    parser.add_argument("--pool", type=int, default=60, help="good modules of which calibrations are drawn")
    parser.add_argument("--defective", type=int, default=60)
    options = parser.parse_args()
    table = Table("method", "image AUROC", "E at 1 %", "E at 5 %", "bank", "ms", "parts/s", "tiles/s")
    with tempfile.TemporaryDirectory() as scratch:
        good, pool, defective = modules(Path(scratch), options.remembered, options.pool, options.defective)
        for name, fit_options in VARIANTS.items():
            bundle = fit(good, Path(scratch, "b.safetensors"), fit_options).bundle
            add(table, name, bundle, pool, defective)
    report(
        "modules",
        "Small defects on parts of 5 megapixels, in one network input and in tiles",
        f"python benchmarks/modules.py --remembered {options.remembered} --pool {options.pool} "
        f"--defective {options.defective}",
        conditions("openvino", "torch", "timm"),
        table,
        f"Modules of {COLUMNS} × {ROWS} cells, {COLUMNS * CELL_PX} × {ROWS * CELL_PX} px: {options.remembered} good "
        f"ones remembered, a pool of {options.pool}, {options.defective} with one broken cell. E: expected share of "
        "these missed at 1 and 5 % false rejects wanted, over 200 draws of half of the pool. Milliseconds: median of "
        "one part, one at a time, resizing to score.",
    )


def modules(folder: Path, remembered: int, pool: int, defective: int) -> tuple[Path, list[Path], list[Path]]:
    """Write the modules: a folder of good ones for the bank, files of the pool, files of the defective ones."""
    draw = random.Random(0)  # pictures, not secrets
    good, broken = elpv_cells("mono")
    draw.shuffle(good)
    known, other = good[: len(good) // 2], good[len(good) // 2 :]
    written: dict[str, list[Path]] = {}
    for name, cells, count in (("good", known, remembered), ("pool", other, pool), ("defective", other, defective)):
        (folder / name).mkdir()
        written[name] = []
        for number in track(range(count), description=f"modules: {name}"):
            chosen = draw.sample(cells, COLUMNS * ROWS)
            if name == "defective":
                chosen[draw.randrange(len(chosen))] = draw.choice(broken)
            path = folder / name / f"{number:03d}.png"
            cv2.imwrite(str(path), module(chosen), [cv2.IMWRITE_PNG_COMPRESSION, 1])
            written[name].append(path)
    return folder / "good", written["pool"], written["defective"]


def module(cells: list[Path]) -> NDArray[np.uint8]:
    """Compose cells, row by row."""
    large = [cv2.resize(read_image(cell), (CELL_PX, CELL_PX), interpolation=cv2.INTER_CUBIC) for cell in cells]
    rows = [np.hstack(large[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(ROWS)]
    return np.asarray(np.vstack(rows), dtype=np.uint8)


def add(table: Table, name: str, bundle: Bundle, pool: list[Path], defective: list[Path]) -> None:
    """Score the modules and add a row."""
    extractor = load_extractor(bundle.info.spec)
    model = StationModel(bundle, extractor, build_memory_bank(bundle, extractor), bundle.info.spec.key, True)
    scores, seconds = [], []
    for path in track([*pool, *defective], description=name):
        picture = read_image(path)
        begun_s = time.perf_counter()
        (part,) = inspect_batch([model], network_input(picture, bundle.info.spec.input_px)[None])
        seconds.append(time.perf_counter() - begun_s)
        scores.append(part.inspection.score)
    good, bad = np.array(scores[: len(pool)]), np.array(scores[len(pool) :])
    draws = expected_misses(good, bad, (0.01, 0.05), calibration_count=len(pool) // 2)
    took_s = float(np.median(seconds))
    tiles = 1 if bundle.info.spec.tiles is None else bundle.info.spec.tiles.count
    table.add_row(
        name,
        f"{auroc(np.arange(len(scores)) >= len(pool), np.array(scores)):.3f}",
        *(f"{one.misses:.3f} ({one.misses_p10:.2f}-{one.misses_p90:.2f})" for one in draws),
        f"{len(bundle.bank):,}",
        f"{1e3 * took_s:.1f}",
        f"{1 / took_s:.1f}",
        f"{tiles / took_s:.0f}",
    )


if __name__ == "__main__":
    main()
