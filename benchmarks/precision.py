"""Does less precision pay on the CPU? float32, bfloat16 and int8 (NNCF) features beside each other.

The 300 good monocrystalline cells of the demo are remembered, all others are judged, with EfficientNet-Lite0
at 224 px and a 1 % coreset. Each precision has its own memory bank, as a bundle fitted in it has. The precisions take
turns while they are timed. Spearman's rank correlation is that of the good cells' scores with those in float32.

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
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from stream.model.cpu_lanes import Lanes
from stream.model.extractor import convert, spec_for
from stream.model.patchcore.coreset import PROJECTION_DIMS, greedy_k_center, projection
from stream.model.patchcore.inspector import score_patches
from stream.model.patchcore.scoring import Scoring
from stream.model.search_choice import quickest_bank
from stream.training.quantize import quantized

REMEMBERED, SIZE_PX = 300, 224
Features = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def main() -> None:
    """Print a row for each precision."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    good, defective = solar_cells("good", SIZE_PX), solar_cells("defect", SIZE_PX)
    tested = np.concatenate([good[REMEMBERED:], defective])
    labels = np.arange(len(tested)) >= len(good) - REMEMBERED
    table = Table("precision", "image AUROC", "Spearman", "features, p50 ms", "÷ float32")
    each = precisions(good[:REMEMBERED])
    times_ms = milliseconds(each, tested)
    found = {name: scores(features, good[:REMEMBERED], tested) for name, features in each.items()}
    for name in each:
        rank = spearmanr(found["float32"][~labels], found[name][~labels]).statistic
        took = (f"{times_ms[name]:.2f}", f"{times_ms[name] / times_ms['float32']:.2f}")
        table.add_row(name, f"{roc_auc_score(labels, found[name]):.4f}", f"{rank:.4f}", *took)
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


def milliseconds(each: dict[str, Features], images: NDArray[np.uint8]) -> dict[str, float]:
    """Return the median milliseconds of the features of one picture, in each precision in turn."""
    times: dict[str, list[float]] = {name: [] for name in each}
    for image in images:
        for name, features in each.items():
            begun_s = time.perf_counter()
            features(image[None])
            times[name].append(time.perf_counter() - begun_s)
    return {name: 1000 * float(np.median(taken)) for name, taken in times.items()}


def scores(features: Features, remembered: NDArray[np.uint8], tested: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the plain image scores of the tested pictures."""
    parts = [features(image[None]) for image in remembered]
    rows = np.concatenate(parts).reshape(-1, parts[0].shape[-1])
    matrix = projection(rows.shape[1], dims=PROJECTION_DIMS, seed=0)
    projected = rows if matrix is None else (torch.from_numpy(rows) @ matrix).numpy()
    bank = rows[greedy_k_center(projected, len(rows) // 100, seed=0)]
    memory = quickest_bank(bank, parts[0][0, ..., 0].size, device="openvino", lanes=Lanes())
    found = []
    for image in tested:
        patches = features(image[None])[0]
        nearest = memory.nearest(patches.reshape(-1, patches.shape[-1]))
        found.append(score_patches(memory, patches, nearest, Scoring(9)).score)
    return np.array(found)


if __name__ == "__main__":
    main()
