"""How long does the choice of the coreset take, and is it the naive algorithm's?

117,600 patches × 152 (150 good solar cells, EfficientNet-Lite0, 224 px) at 1 %, projected to 128
dimensions as `patchline fit` does; beside it the naive algorithm (one matrix-vector product with cached
norms a pick, float32) on the same projections, and anomalib's KCenterGreedy on the same features, which
projects by its own rule.

    .venv/bin/python benchmarks/coreset.py [--pictures 150] [--ratio 0.01] [--no-peer]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from conditions import conditions, report
from peers import anomalib
from pictures import solar_cells
from rich.progress import track
from rich.table import Table

from stream.model.extractor import load_extractor, spec_for
from stream.model.patchcore.coreset import PROJECTION_DIMS, covering_radius, first_pick, greedy_k_center, projection


def main() -> None:
    """Print one row for each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=150)
    parser.add_argument("--ratio", type=float, default=0.01)
    parser.add_argument("--no-peer", action="store_true", help="leave anomalib out")
    options = parser.parse_args()

    extractor = load_extractor(spec_for("efficientnet_lite0", input_px=(224, 224), neighbourhood=3, stride=1))
    pictures = solar_cells("good")[: options.pictures]
    parts = [extractor(pictures[i : i + 1]) for i in track(range(len(pictures)), description="features")]
    features = np.concatenate(parts).reshape(-1, parts[0].shape[-1])
    count = int(len(features) * options.ratio)
    matrix = projection(features.shape[1], dims=PROJECTION_DIMS, seed=0)
    assert matrix is not None

    begun_s = time.perf_counter()
    projected = (torch.from_numpy(features) @ matrix).numpy()
    picked = greedy_k_center(projected, count, seed=0)
    ours_s = time.perf_counter() - begun_s
    begun_s = time.perf_counter()
    naive = naive_k_center(torch.from_numpy(features) @ matrix, count, start=first_pick(len(features), 0))
    naive_s = time.perf_counter() - begun_s
    same = int((np.array(naive) == picked).sum())

    table = Table("method", "seconds", "of PatchLine's time", "covering radius, projected")
    rows = [
        ("PatchLine", ours_s, covering_radius(projected, projected[picked])),
        ("matrix-vector loop", naive_s, covering_radius(projected, projected[naive])),
    ]
    if not options.no_peer:
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, "features.npy")
            np.save(file, features)
            rows.append(
                ("anomalib 2.7 KCenterGreedy", anomalib("coreset", str(file), str(options.ratio))["seconds"], None)
            )
    for name, seconds, radius in rows:
        table.add_row(name, f"{seconds:.2f}", f"{seconds / ours_s:.1f}×", "" if radius is None else f"{radius:.3f}")
    notes = [
        f"{features.shape[0]:,} × {features.shape[1]} features, {count:,} picks. "
        f"{same:,} of {count:,} picks are those of the float32 loop, in the same order.",
    ]
    machine = conditions("torch", "numpy")
    report("coreset", "Coreset selection", "python benchmarks/coreset.py", machine, table, *notes)


def naive_k_center(features: torch.Tensor, count: int, *, start: int) -> list[int]:
    """Algorithm 1 of the paper, a pass over all features for each pick."""
    norms = (features * features).sum(dim=1)
    nearest = torch.full_like(norms, float("inf"))
    picked = [start]
    while len(picked) < count:
        latest = picked[-1]
        torch.minimum(
            nearest, torch.addmv(norms, features, features[latest], alpha=-2).add_(norms[latest]), out=nearest
        )
        picked.append(int(nearest.argmax()))
    return picked


if __name__ == "__main__":
    main()
