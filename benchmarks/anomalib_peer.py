"""Runs in anomalib's own environment, see peers.py; imports nothing of PatchLine.

    python anomalib_peer.py coreset FEATURES.npy RATIO
    python anomalib_peer.py scores BACKBONE LAYERS WEIGHTS.safetensors MEAN STD RATIO GOOD.npy TESTED.npy SCORES.npy
    python anomalib_peer.py inference BACKBONE LAYERS WEIGHTS.safetensors MEAN STD BANK.npy PICTURES.npy SECONDS

The last line on standard output is a JSON object. Arrays: features and bank (N, D) float32, pictures
(N, S, S, 3) uint8 RGB.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

# torchvision's compiled operators do not load beside a CPU build of torch; these two it asks for on import.
_operators = torch.library.Library("torchvision", "DEF")
with contextlib.suppress(RuntimeError):
    for _operator in ("nms", "qnms"):
        _operators.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def coreset(features_file: str, ratio: str) -> dict:
    """Time KCenterGreedy as `Patchcore.fit` uses it."""
    from anomalib.models.components import KCenterGreedy

    features = torch.from_numpy(np.load(features_file))
    torch.manual_seed(0)
    begun_s = time.perf_counter()
    picks = KCenterGreedy(features, float(ratio)).select_coreset_idxs()
    return {"seconds": time.perf_counter() - begun_s, "picks": len(picks)}


def scores(
    backbone: str, layers: str, weights: str, mean: str, std: str, ratio: str, good: str, tested: str, target: str
) -> dict:
    """Fill a memory bank with good pictures as `Patchcore.fit` does, and write the scores of the tested ones."""
    model = _patchcore(backbone, layers, weights, mean, std, np.load(good).shape[1:3], float(ratio))
    model.train()
    torch.manual_seed(0)
    with torch.inference_mode():
        for batch in _batches(np.load(good)):
            model.model(model.pre_processor.transform(batch))
        model.model.subsample_embedding(float(ratio))
    model.eval()
    with torch.inference_mode():
        found = [model(batch).pred_score.reshape(-1).numpy() for batch in _batches(np.load(tested))]
    np.save(target, np.concatenate(found))
    return {"patches": len(model.model.memory_bank)}


def _batches(pictures, size: int = 8):
    for begin in range(0, len(pictures), size):
        yield torch.from_numpy(pictures[begin : begin + size]).permute(0, 3, 1, 2).contiguous().float() / 255


def _patchcore(backbone: str, layers: str, weights: str, mean: str, std: str, shape, ratio: float):
    """Return anomalib's PatchCore with given weights, its own defaults otherwise."""
    from anomalib.models import Patchcore
    from anomalib.pre_processing import PreProcessor
    from safetensors.torch import load_file
    from torchvision.transforms.v2 import Compose, Normalize, Resize

    transform = Compose([Resize(tuple(shape), antialias=True), Normalize(json.loads(mean), json.loads(std))])
    model = Patchcore(
        backbone,
        layers.split(","),
        pre_trained=False,
        coreset_sampling_ratio=ratio,
        pre_processor=PreProcessor(transform),
        post_processor=False,
    )
    state = {key.removeprefix("model."): value for key, value in load_file(weights).items()}
    # PatchLine's network ends with its last level; anomalib builds the stages after that, and does not use them.
    unexpected = model.model.feature_extractor.feature_extractor.load_state_dict(state, strict=False).unexpected_keys
    if unexpected:
        sys.exit(f"these weights are of another network: {unexpected[0]}")
    return model


def inference(
    backbone: str, layers: str, weights: str, mean: str, std: str, bank: str, pictures: str, seconds: str
) -> dict:
    """Time one picture at a time: the torch model, its OpenVINO export as it is, and the export held to float32."""
    from anomalib.deploy import OpenVINOInferencer

    images = np.load(pictures)
    size_px = images.shape[1]
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 255
    model = _patchcore(backbone, layers, weights, mean, std, images.shape[1:3], 0.1)
    model.model.memory_bank = torch.from_numpy(np.load(bank))
    model.eval()
    timings = {}
    with torch.inference_mode():
        timings["torch"] = _time(lambda one: model(one).pred_score.item(), inputs, float(seconds))
    with tempfile.TemporaryDirectory() as folder:
        # Left to itself the export is made for batches of two.
        static = {"dynamic_axes": None, "dynamic_shapes": None}
        with contextlib.redirect_stdout(sys.stderr):
            path = model.to_openvino(folder, input_size=(size_px, size_px), onnx_kwargs=static)
        arrays = inputs.numpy()
        with contextlib.chdir(folder):
            for name, config in (("openvino", None), ("openvino f32", {"INFERENCE_PRECISION_HINT": "f32"})):
                inferencer = OpenVINOInferencer(Path(path), device="CPU", config=config)
                key, request = inferencer.input_blob.any_name, inferencer.model
                timings[name] = _time(lambda one: float(request({key: one})["pred_score"][0]), arrays, float(seconds))  # noqa: B023
                timings[name]["precision"] = str(request.get_property("INFERENCE_PRECISION_HINT"))
    return timings


def _time(judge, inputs, seconds: float) -> dict:
    """Inspect image after image for a number of seconds; the first ten warm up."""
    times = []
    begun_s = time.perf_counter()
    while time.perf_counter() - begun_s < seconds:
        place = len(times) % len(inputs)
        image = inputs[place : place + 1]
        one_s = time.perf_counter()
        judge(image)
        times.append(time.perf_counter() - one_s)
    return {
        "p50_ms": 1000 * float(np.percentile(times[10:], 50)),
        "p99_ms": 1000 * float(np.percentile(times[10:], 99)),
    }


if __name__ == "__main__":
    result = {"coreset": coreset, "scores": scores, "inference": inference}[sys.argv[1]](*sys.argv[2:])
    result["versions"] = {name: version(name) for name in ("anomalib", "torch", "openvino", "timm")}
    print(json.dumps(result))
