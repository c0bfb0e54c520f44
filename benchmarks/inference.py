"""How long does one picture take on the CPU, from pixels to image score, beside anomalib?

One picture at a time, 224 px, the same solar cells, the same weights and the same memory bank: 150 good
cells, 1 % of their 117,600 patches. PatchLine judges as a worker of the line does (OpenVINO and
the quickest search), in float32 and in what `fit --precision auto` chooses from the remembered cells;
anomalib 2.7 with its own OpenVINO export as it comes (which computes in bfloat16 where the processor
can), with that export held to float32, and with its torch model. Each gets pictures as it takes them in,
decoded and resized: uint8 here, float32 there.

    .venv/bin/python benchmarks/inference.py [--backbones efficientnet_lite0 resnet18] [--seconds 5] [--no-peer]

ResNet-18's published weights need a download; without it random ones take their place, which is said,
and only the times mean something.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conditions import conditions, report
from numpy.typing import NDArray
from peers import anomalib
from pictures import solar_cells
from rich.table import Table
from safetensors.torch import save_file

from stream.core.errors import WeightsError
from stream.model.extractor import load_extractor, spec_for
from stream.model.patchcore.backbones import load_backbone
from stream.model.patchcore.coreset import PROJECTION_DIMS, greedy_k_center, projection
from stream.model.patchcore.inspector import inspect
from stream.model.patchcore.scoring import Scoring
from stream.model.patchcore.spec import FeatureSpec, StoredGraph
from stream.model.search_choice import quickest_bank
from stream.training.fit_options import FitOptions
from stream.training.precision_choice import chosen_precision
from stream.training.progress import silent

#: Backbone → its name in timm and the modules whose features are taken, as anomalib asks for them.
BACKBONES = {
    "efficientnet_lite0": ("tf_efficientnet_lite0", "blocks.2,blocks.4"),
    "resnet18": ("resnet18", "layer2,layer3"),
}
REMEMBERED, SIZE_PX = 150, 224
#: (1, H, W, 3) uint8 RGB → the image score.
Judge = Callable[[NDArray[np.uint8]], float]


def main() -> None:
    """Print one row for each backbone and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    parser.add_argument("--seconds", type=float, default=5.0, help="least duration of each method")
    parser.add_argument("--no-peer", action="store_true", help="leave anomalib out")
    options = parser.parse_args()
    good = solar_cells("good", SIZE_PX)
    tested = np.concatenate([good[300:], solar_cells("defect", SIZE_PX)])

    table = Table("backbone", "method", "p50 ms", "p99 ms", "PatchLine float32 ÷ it", "PatchLine auto ÷ it")
    notes = []
    for name in options.backbones:
        with tempfile.TemporaryDirectory() as scratch:
            rows, real = measure(
                name, good[:REMEMBERED], tested, Path(scratch), options.seconds, peer=not options.no_peer
            )
        if not real:
            notes.append(f"{name}: random weights, its own could not be downloaded; the times do not depend on them.")
        for method, timed in rows.items():
            ratios = [own["p50_ms"] / timed["p50_ms"] for own in list(rows.values())[:2]]
            times = (f"{timed['p50_ms']:.1f}", f"{timed['p99_ms']:.1f}")
            table.add_row(name, method, *times, *(f"{ratio:.2f}" for ratio in ratios))
    machine = conditions("openvino", "torch", "faiss-cpu", "timm")
    report("inference", "Inference on the CPU", "python benchmarks/inference.py", machine, table, *notes)


def measure(
    name: str, remembered: NDArray[np.uint8], tested: NDArray[np.uint8], scratch: Path, seconds: float, *, peer: bool
) -> tuple[dict[str, dict[str, Any]], bool]:
    """Return what each method took and found, and whether the backbone's own weights were to be had."""
    weights, real = scratch / "weights.safetensors", True
    try:
        network = load_backbone(name).network
    except WeightsError:
        _save(_random(name), weights)
        network, real = load_backbone(name, weights=weights).network, False
    _save(network, weights)
    spec = spec_for(name, input_px=(SIZE_PX, SIZE_PX), neighbourhood=3, stride=1, weights=weights)
    wanted = FitOptions(precision="auto", weights=weights)
    choice = chosen_precision(spec, remembered, np.arange(len(remembered)), wanted, None, silent)
    auto = f"PatchLine auto ({choice.spec.precision})"
    judges = {"PatchLine float32": _judge(spec, None, remembered, weights)[0]}
    judges[auto], bank = _judge(choice.spec, choice.graph, remembered, weights)
    rows: dict[str, dict[str, Any]] = {}
    for judge, score in judges.items():  # one after the other: threads of one graph spin for a while beside another
        rows |= _time({judge: score}, tested, seconds)
    if peer:
        np.save(scratch / "bank.npy", bank)
        np.save(scratch / "pictures.npy", tested)
        backbone = load_backbone(name, weights=weights)
        timm_name, layers = BACKBONES[name]
        statistics = (json.dumps(backbone.mean), json.dumps(backbone.std))
        files = (str(scratch / "bank.npy"), str(scratch / "pictures.npy"), str(seconds))
        timings = anomalib("inference", timm_name, layers, str(weights), *statistics, *files)
        # What a user of it gets comes first; the same precision as here is the fairer comparison of the two programs.
        precision = _precision(timings["openvino"])
        rows[f"anomalib OpenVINO export, as it comes ({precision})"] = timings["openvino"]
        if "float32" not in precision:
            rows["anomalib OpenVINO export, held to float32"] = timings["openvino f32"]
        rows["anomalib torch, as it comes"] = timings["torch"]
    return rows, real


def _judge(
    spec: FeatureSpec, graph: StoredGraph | None, remembered: NDArray[np.uint8], weights: Path
) -> tuple[Judge, NDArray[np.float32]]:
    """Return what scores one picture as a worker does, and its memory bank."""
    extractor = load_extractor(spec, weights=weights, graph=graph)
    parts = [extractor(image[None]) for image in remembered]
    patches, features = parts[0][0, ..., 0].size, np.concatenate(parts).reshape(-1, parts[0].shape[-1])
    matrix = projection(features.shape[1], dims=PROJECTION_DIMS, seed=0)
    projected = features if matrix is None else (torch.from_numpy(features) @ matrix).numpy()
    bank = features[greedy_k_center(projected, len(features) // 100, seed=0)]
    memory = quickest_bank(bank, patches, device=extractor.device, lanes=extractor.lanes)

    def score(image: NDArray[np.uint8]) -> float:
        return inspect(extractor, memory, image, Scoring(9))[0].score

    return score, bank


def _save(network: torch.nn.Module, file: Path) -> None:
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, file)


def _precision(timed: dict[str, Any]) -> str:
    return str(timed["precision"]).removeprefix("<Type: '").removesuffix("'>")


def _random(name: str) -> torch.nn.Module:
    """The network with random weights, seeded."""
    from torchvision.models import get_model

    if name != "resnet18":
        sys.exit(f"{name}: its weights are not on this machine and cannot be downloaded")
    torch.manual_seed(0)
    return get_model(name, weights=None)


def _time(judges: dict[str, Judge], pictures: NDArray[np.uint8], seconds: float) -> dict[str, dict[str, Any]]:
    """Inspect image after image for a number of seconds each, in turns; the first ten warm up, as the peer's do."""
    times: dict[str, list[float]] = {name: [] for name in judges}
    begun_s = time.perf_counter()
    for number in itertools.count():
        if time.perf_counter() - begun_s > seconds * len(judges):
            break
        for name, judge in judges.items():
            one_s = time.perf_counter()
            judge(pictures[number % len(pictures)][None])
            times[name].append(time.perf_counter() - one_s)
    rows = {}
    for name, taken in times.items():
        p50, p99 = np.percentile(taken[10:], [50, 99]) * 1000
        rows[name] = {"p50_ms": float(p50), "p99_ms": float(p99)}
    return rows


if __name__ == "__main__":
    main()
