"""Does less precision pay on the CPU? float32, bfloat16 and int8 (NNCF) features beside each other.

The 300 good monocrystalline cells of the demo are remembered, all others are judged, with EfficientNet-Lite0
at 224 px and a 1 % coreset. Each precision has its own memory bank, as a bundle fitted in it has. PatchLine
computes in float32, or in int8 with `fit --precision int8`.

    .venv/bin/python benchmarks/precision.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import openvino
import torch
from conditions import conditions, report
from numpy.typing import NDArray
from pictures import solar_cells
from rich.table import Table
from sklearn.metrics import roc_auc_score

from stream.model.cpu_lanes import Lanes
from stream.model.extractor import convert, spec_for
from stream.model.patchcore.coreset import PROJECTION_DIMS, greedy_k_center, projection
from stream.model.patchcore.inspector import score_patches
from stream.model.patchcore.scoring import Scoring
from stream.model.patchcore.search import MemoryBank, quickest_search
from stream.training.quantize import quantized

REMEMBERED, SIZE_PX = 300, 224
Features = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def main() -> None:
    """Print a row for each precision."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    good, defective = solar_cells("good", SIZE_PX), solar_cells("defect", SIZE_PX)
    table = Table("precision", "image AUROC", "features, p50 ms", "÷ float32")
    base_ms = 0.0
    for name, features in precisions(good[:REMEMBERED]).items():
        auroc, p50_ms = measure(features, good, defective)
        base_ms = base_ms or p50_ms
        table.add_row(name, f"{auroc:.4f}", f"{p50_ms:.2f}", f"{p50_ms / base_ms:.2f}")
    machine = conditions("openvino", "nncf", "torch")
    report("precision", "Precision of the features on the CPU", "python benchmarks/precision.py", machine, table)


def precisions(remembered: NDArray[np.uint8]) -> dict[str, Features]:
    """Compile the same features in each precision; int8 is calibrated with the remembered pictures."""
    spec = spec_for("efficientnet_lite0", input_px=(SIZE_PX, SIZE_PX), neighbourhood=3, stride=1)
    model, graph = convert(spec, None), quantized(spec, remembered, None)
    return {
        "float32": compiled(model, "f32"),
        "bfloat16": compiled(model, "bf16"),
        "int8": compiled(openvino.Core().read_model(graph.model, graph.weights), "f32"),
    }


def compiled(model: openvino.Model, hint: str) -> Features:
    """Compile a model for one picture at a time on all cores."""
    request = openvino.compile_model(
        model, "CPU", {"INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": 1}
    ).create_infer_request()
    return lambda image: np.array(request.infer({0: image})[0])


def measure(features: Features, good: NDArray[np.uint8], defective: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the image AUROC on the pictures not remembered, and the milliseconds of the features."""
    parts = [features(image[None]) for image in good[:REMEMBERED]]
    rows = np.concatenate(parts).reshape(-1, parts[0].shape[-1])
    matrix = projection(rows.shape[1], dims=PROJECTION_DIMS, seed=0)
    projected = rows if matrix is None else (torch.from_numpy(rows) @ matrix).numpy()
    bank = rows[greedy_k_center(projected, len(rows) // 100, seed=0)]
    patches = parts[0][0, ..., 0].size
    memory = MemoryBank(bank, quickest_search(bank, patches, device="openvino", lanes=Lanes()))
    scores, times = [], []
    for image in [*good[REMEMBERED:], *defective]:
        begun_s = time.perf_counter()
        patches = features(image[None])[0]
        times.append(time.perf_counter() - begun_s)
        nearest = memory.nearest(patches.reshape(-1, patches.shape[-1]))
        scores.append(score_patches(memory, patches, nearest, Scoring(9)).score)
    labels = [0] * (len(good) - REMEMBERED) + [1] * len(defective)
    return float(roc_auc_score(labels, scores)), 1000 * float(np.median(times))


if __name__ == "__main__":
    main()
