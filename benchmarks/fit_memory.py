"""How much memory does a fit take as the pictures grow more, and what does the limit change?

Fits 200 to 5,000 pictures at 224 px, 1 % coreset, with `--max-memory`: what does not fit is spooled to
disk. Where all of it would fit in memory too, it is also fitted without the limit, and the bundles are
compared byte by byte: same patches, hence the same covering radius and the same scores. The data set has
588 good cells; beyond that they are mirrored, turned, brightened and made noisy, seeded.

    .venv/bin/python benchmarks/fit_memory.py [--counts 200 500 1000 2000 5000] [--limit 1GiB]

Needs 5 GiB of disk and, on two cores, a quarter of an hour. Writes results/fit_memory.md and .png.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
from conditions import RESULTS, conditions, report
from pictures import solar_cells
from rich.progress import track
from rich.table import Table

from stream.core.files import cache_folder

#: Largest number of images that is also fitted without a limit.
COMPARED = 1000


def main() -> None:
    """Print one row for each number of pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[200, 500, 1000, 2000, 5000])
    parser.add_argument("--limit", default="1GiB")
    options = parser.parse_args()
    table = Table("pictures", "patches", "picks", "limit", "peak MiB", "seconds", "without limit: peak MiB", "bundle")
    curves: dict[str, list[tuple[int, float]]] = {f"--max-memory {options.limit}": [], "without limit": []}
    with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:
        good = Path(scratch, "good")
        good.mkdir()
        written = 0
        for count in sorted(options.counts):
            write_cells(good, range(written, count))
            written = count
            limited, free = Path(scratch, "limited.safetensors"), Path(scratch, "free.safetensors")
            peak_mib, seconds = fit(good, limited, "--max-memory", options.limit)
            curves[f"--max-memory {options.limit}"].append((count, peak_mib))
            free_mib, same = "", "not compared"
            if count <= COMPARED:
                unlimited_mib, _ = fit(good, free, "--max-memory", "64GiB")
                curves["without limit"].append((count, unlimited_mib))
                free_mib = f"{unlimited_mib:.0f}"
                same = "the same bytes" if limited.read_bytes() == free.read_bytes() else "DIFFERENT"
            patches = round(count * 0.8) * 784
            row = (f"{patches:,}", f"{patches // 100:,}", options.limit, f"{peak_mib:.0f}", f"{seconds:.0f}")
            table.add_row(f"{count:,}", *row, free_mib, same)
    draw(curves)
    machine = conditions("torch", "openvino", "numpy")
    report("fit_memory", "Memory of a fit", "python benchmarks/fit_memory.py", machine, table)


def fit(good: Path, bundle: Path, *options: str) -> tuple[float, float]:
    """Run `patchline fit`; return its peak resident memory in MiB and its seconds."""
    begun_s = time.monotonic()
    line = [sys.executable, "-m", "stream", "fit", str(good), "-o", str(bundle), *options]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit("the fit failed; its message stands above")
    return usage.ru_maxrss / 1024, time.monotonic() - begun_s


def write_cells(folder: Path, numbers: range) -> None:
    """Write the pictures with these numbers, each always the same."""
    cells = solar_cells("good", 300)
    for number in track(numbers, description="pictures"):
        random = np.random.default_rng(number)
        cell = cells[number % len(cells)].astype(np.float32)
        if number >= len(cells):
            cell = np.rot90(cell[:, :: random.choice([1, -1])], random.integers(4))
            cell = cell * random.uniform(0.9, 1.1) + random.normal(scale=3, size=cell.shape)
        cv2.imwrite(str(folder / f"{number:05}.png"), np.clip(cell, 0, 255).astype(np.uint8))


def draw(curves: dict[str, list[tuple[int, float]]]) -> None:
    """Draw peak memory over pictures."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for label, points in curves.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=label)
    axes.set(xlabel="good pictures, 224 px", ylabel="peak resident memory, MiB", ylim=(0, None))
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(RESULTS / "fit_memory.png", dpi=120)


if __name__ == "__main__":
    main()
