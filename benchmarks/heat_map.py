"""Where do the peaks of the anomaly maps lie, in multiples of the pixel threshold, and what do overlays show of them?

Fits on a data set's `train/good` as the demo does and inspects its `test`: by default the demo's solar cells. The heat
map's scale (`stream/model/visualization.py`) is chosen by this table.

    .venv/bin/python benchmarks/heat_map.py [DATASET]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from conditions import conditions, report
from rich.progress import track
from rich.table import Table

from stream.cli.demo.demo import export_elpv
from stream.core.images import list_images, read_image
from stream.core.verdict import Verdict, verdict_of
from stream.model.bundle import load_bundle
from stream.model.extractor import load_extractor
from stream.model.patchcore.inspector import inspect
from stream.model.patchcore.spots import map_in_picture
from stream.model.visualization import HEAT_FROM, HEAT_FULL, draw_map
from stream.training.fit import fit
from stream.training.fit_options import FitOptions
from stream.training.folds import BY_FILE
from stream.training.learning import search_of

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class Shown(NamedTuple):
    """A test image: what it is, its verdict, its map's peak in multiples of the pixel threshold, if it is outlined."""

    good: bool
    verdict: Verdict
    peak: float
    outlined: bool


def shown(bundle_path: Path, dataset: Path) -> list[Shown]:
    """Inspect the test images and draw their heat maps on grey."""
    bundle = load_bundle(bundle_path)
    thresholds = bundle.info.thresholds
    assert thresholds is not None
    extractor = load_extractor(bundle.info.spec)
    search = search_of(bundle.bank, extractor)
    files = [file for folder in sorted((dataset / "test").iterdir()) for file in list_images(folder)]
    parts = []
    for file in track(files, description="inspect"):
        geometry = bundle.info.geometry.of_any_size
        image = geometry.region(read_image(file))
        pixels = geometry.network_input(image)
        ((score, distances),) = inspect(extractor, search, pixels[None], bundle.scoring)
        verdict = verdict_of(score, thresholds.image)
        grey = np.full(image.shape, 128, np.uint8)
        drawn = draw_map(grey, distances, thresholds.pixel, outline_spot=verdict is Verdict.DEFECT)
        rings = [bool((drawn == level).all(axis=2).any()) for level in (0, 255)]
        peak = float(map_in_picture(distances, image.shape[:2]).max()) / thresholds.pixel
        parts.append(Shown(file.parent.name == "good", verdict, peak, all(rings)))
    return parts


def main() -> None:
    """Print one row for each kind of part and verdict."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("dataset", nargs="?", type=Path, help="in MVTec AD's layout; default: the demo's cells")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        dataset = options.dataset or export_elpv(Path(scratch, "elpv"))
        bundle = Path(scratch, "bundle.safetensors")
        fit(dataset / "train" / "good", bundle, FitOptions(group_by=BY_FILE))
        parts = shown(bundle, dataset)
    quantiles = [f"{quantile:.0%}" for quantile in QUANTILES]
    table = Table("parts", "verdict", "number", *quantiles, "painted", "above the pixel threshold", "outlined")
    for good in (True, False):
        for verdict in (Verdict.GOOD, Verdict.DEFECT):
            group = [part for part in parts if (part.good, part.verdict) == (good, verdict)]
            if not group:
                continue
            peaks = np.array([part.peak for part in group])
            counts = (peaks > HEAT_FROM).sum(), (peaks > 1).sum(), sum(part.outlined for part in group)
            cells = [f"{value:.2f}" for value in np.quantile(peaks, QUANTILES)]
            table.add_row("good" if good else "defective", verdict, str(len(group)), *cells, *map(str, counts))
    report(
        "heat_map" if options.dataset is None else f"heat_map_{options.dataset.name}",
        "Peaks of anomaly maps, and what overlays show of them",
        ".venv/bin/python benchmarks/heat_map.py",
        conditions("openvino", "opencv-python-headless"),
        table,
        f"Quantiles of the map's peak in multiples of the pixel threshold. Heat is painted from {HEAT_FROM} times it "
        f"and has full strength from {HEAT_FULL} times it on.",
    )


if __name__ == "__main__":
    main()
