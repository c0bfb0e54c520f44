"""Does the false-reject rate on good pictures never seen keep what calibration promises?

For five seeds: split the good monocrystalline ELPV cells into 300 to fit (200 remembered, 100 to
calibrate at a wanted rate of 5 %) and 288 to test, then measure with `patchline evaluate`. Conformal
theory gives the interval in which 95 % of such measurements lie.

    .venv/bin/python benchmarks/false_rejects.py [--seeds 5] [--rate 0.05]
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from stream.cli.demo.demo import TRAINING_IMAGES, export_elpv
from stream.training.evaluate import evaluate
from stream.training.fit import fit
from stream.training.fit_options import FitOptions
from stream.training.folds import BY_FILE


def main() -> None:
    """Print one row for each seed."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--rate", type=float, default=0.05)
    options = arguments.parse_args()
    table = Table("seed", "false rejects", "rate", "predicted, 95 %", "inside", "image AUROC")
    with tempfile.TemporaryDirectory() as scratch:
        source = export_elpv(Path(scratch, "elpv"))
        good = sorted((source / "train" / "good").iterdir()) + sorted((source / "test" / "good").iterdir())
        for seed in track(range(options.seeds), description="seeds"):
            split = Path(scratch, f"seed{seed}")
            random.Random(seed).shuffle(good)
            for share, files in (
                (split / "train" / "good", good[:TRAINING_IMAGES]),
                (split / "test" / "good", good[TRAINING_IMAGES:]),
                (split / "test" / "defect", sorted((source / "test" / "defect").iterdir())),
            ):
                share.mkdir(parents=True)
                for file in files:
                    (share / file.name).symlink_to(file)
            bundle = split / "cell.safetensors"
            fit(
                split / "train" / "good",
                bundle,
                FitOptions(group_by=BY_FILE, false_reject_rate=options.rate, seed=seed),
            )
            report = evaluate(bundle, split)
            assert report.false_reject_rate is not None
            assert report.false_reject_interval is not None
            low, high = report.false_reject_interval
            count = round(report.false_reject_rate * report.counts.good)
            table.add_row(
                str(seed),
                f"{count} of {report.counts.good}",
                f"{report.false_reject_rate:.2%}",
                f"{low:.2%} to {high:.2%}",
                "yes" if low <= report.false_reject_rate <= high else "NO",
                f"{report.image_auroc:.4f}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
