"""What do twenty marked defects teach, and what do they cost on defects that look like none of them?

The mono- and polycrystalline solar cells of ELPV: 200 good ones fit a bundle; then, several times over, a head is
learned from some of the broken ones, drawn at random, and all cells that were neither remembered nor marked are scored
before and after. ELPV does not say of what kind a defect is, so k-means divides the broken cells by their pooled
features into three kinds that look different: the marks come from two of them, and the third is scored.

    .venv/bin/python benchmarks/marks.py [--marks 20] [--draws 5]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from conditions import conditions, report
from numpy.typing import NDArray
from quality import RATES, figures, linked, scores, splits_of
from rich.progress import track
from rich.table import Table

from stream.core.images import read_image
from stream.model.bundle import load_bundle
from stream.model.extractor import load_extractor
from stream.model.patchcore.preprocess import network_input
from stream.training.fit import fit
from stream.training.fit_options import FitOptions
from stream.training.folds import BY_FILE
from stream.training.head import pooled_of
from stream.training.marks import learn_from_marks

SETS = ("mono", "poly")
KINDS = 3


class Row(NamedTuple):
    """AUROC and E at both rates, before and after."""

    before: tuple[float, float, float]
    after: tuple[float, float, float]


def main() -> None:
    """Print one row for each set and sort of mark, and write the table to results/marks.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--marks", type=int, default=20, help="marked defects; default 20")
    parser.add_argument("--draws", type=int, default=5, help="times that marks are drawn; default 5")
    options = parser.parse_args()
    table = Table("set", "tested on", "image AUROC", *(f"E at {rate:.0%}" for rate in RATES))
    for name in options.sets:
        same, unseen = measured(name, options.marks, options.draws)
        add(table, name, "all that are not marked", same)
        add(table, name, "the kind of which none is marked", unseen)
    report(
        "marks",
        f"Learning from {options.marks} marked defects",
        f"python benchmarks/marks.py --sets {' '.join(options.sets)} --marks {options.marks} --draws {options.draws}",
        conditions("openvino", "torch", "scikit-learn"),
        table,
        f"Before → after, means over {options.draws} draws of the marks for each row (or for each of {KINDS} kinds); "
        "200 good images remembered; E: expected share of defective images missed over 200 draws of the calibration "
        "among the other good ones. Marked images are in no figure. Kinds are k-means clusters of pooled features.",
    )


def measured(name: str, marks: int, draws: int) -> tuple[list[Row], list[Row]]:
    """Learn from marks of all kinds, then without each kind in turn; return the rows of both."""
    (split,) = splits_of(name, 1)
    with tempfile.TemporaryDirectory() as folder:
        live, learned = Path(folder, "live.safetensors"), Path(folder, "learned.safetensors")
        bundle = fit(linked(split.remembered, Path(folder, "good")), live, FitOptions(group_by=BY_FILE)).bundle
        spec = bundle.info.spec
        inputs = np.stack([network_input(read_image(path), spec.input_px) for path in split.defective])
        extractor = load_extractor(spec, graph=bundle.graph)
        levels = spec.level_dims
        kinds = kinds_of(pooled_of(extractor, inputs, np.arange(len(inputs)), levels))
        before_good, before = scores(bundle, split.pool), scores(bundle, split.defective)
        numbers = np.arange(len(inputs))
        none = np.empty((0, *inputs.shape[1:]), np.uint8)

        def row(marked: NDArray[np.int64], tested: NDArray[np.int64]) -> Row:
            learn_from_marks(live, learned, inputs[marked], none)
            after = load_bundle(learned)
            paths = [split.defective[number] for number in tested]
            return Row(summary(before_good, before[tested]), summary(scores(after, split.pool), scores(after, paths)))

        same, unseen = [], []
        for draw in track(range(draws), description=name):
            random = np.random.default_rng(draw)
            marked = random.choice(numbers, marks, replace=False)
            same.append(row(marked, np.setdiff1d(numbers, marked)))
            for kind in range(KINDS):
                marked = random.choice(numbers[kinds != kind], marks, replace=False)
                unseen.append(row(marked, numbers[kinds == kind]))
    return same, unseen


def kinds_of(features: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return a kind for each defective cell, by what its features have in common."""
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import StandardScaler

    labels: NDArray[np.int32] = KMeans(KINDS, n_init=10, random_state=0).fit_predict(
        StandardScaler().fit_transform(features)
    )
    return labels


def summary(good: NDArray[np.float64], defective: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return AUROC and E at both rates."""
    found = figures(good, defective, None, None)
    return found.auroc, found.misses[0][0], found.misses[1][0]


def add(table: Table, name: str, tested: str, rows: list[Row]) -> None:
    """Add the mean of rows."""
    before, after = (np.mean([getattr(row, when) for row in rows], axis=0) for when in Row._fields)
    table.add_row(
        name,
        tested,
        *(f"{old:.3f} → {new:.3f} ({new - old:+.3f})" for old, new in zip(before, after, strict=True)),
    )


if __name__ == "__main__":
    main()
