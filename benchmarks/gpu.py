"""What does a CUDA GPU need for a picture, and how far is that from what its hardware allows?

For each backbone, input size, memory bank (1 % and 10 % of the patches of 200 pictures) and batch size:
latency of a batch, pictures per second, the time that its arithmetic alone would take at the rate of a
large half-precision matrix product, the time that moving its bytes once would take at the rate of a large
copy, both measured in the same run, and the ratio to the larger of the two. Beside it, where anomalib is
installed, its torch model in half precision. Last, float16 against float32: how many patches find the
same neighbour, by how much scores differ, and the AUROC of both on drawn defects.

Runs anywhere with torch, torchvision, timm and numpy; nothing of PatchLine has to be installed:

    python benchmarks/gpu.py [--backbones resnet18 wide_resnet50_2] [--sizes 224 512] [--batches 1 8 64]
    python benchmarks/gpu.py --device cpu --smoke     # only to see that the script itself works
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stream.model.cuda import DeviceBackbone, inspect_on_device
from stream.model.patchcore import torchvision_ops
from stream.model.patchcore.device_search import DeviceBank
from stream.model.patchcore.features import PatchFeatures

assert torchvision_ops, "imported before torchvision, see there"
import torchvision  # noqa: E402

PICTURES = 200
STATISTICS = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


class Cut(nn.Module):
    """A torchvision ResNet up to layer 3."""

    def __init__(self, name: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        whole, self.real = torchvision.models.get_model(name, weights=None), False
        try:
            published = torchvision.models.get_model_weights(name).IMAGENET1K_V1
            whole.load_state_dict(published.get_state_dict(progress=False))
            self.real = True
        except (OSError, RuntimeError):
            pass
        self.stem = nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool, whole.layer1)
        self.layer2, self.layer3 = whole.layer2, whole.layer3

    def forward(self, images: Tensor) -> list[Tensor]:
        fine = self.layer2(self.stem(images))
        return [fine, self.layer3(fine)]


def main() -> None:
    """Print the table of speeds, then that of parity."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=["wide_resnet50_2", "resnet18"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[224, 512])
    parser.add_argument("--banks", nargs="+", type=float, default=[0.01, 0.1])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--out", type=Path, help="write the tables as Markdown")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--smoke", action="store_true", help="one small case")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: no CUDA device is visible to torch; run this on a machine with one")
    if options.smoke:
        options.backbones, options.sizes, options.banks = ["resnet18"], [64], [0.01]
        options.batches, options.seconds = [1, 2], 0.2
    device = torch.device(options.device)
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU, a trial of the script"
    flops, bytes_s = peaks(device, dtype, 512 if options.smoke else 8192)
    today = datetime.datetime.now(tz=datetime.UTC).date()
    lines = [
        "# Inference on a GPU", f"{today}, {name}, torch {torch.__version__}; measured peaks: "
        f"{flops / 1e12:.2f} TFLOPS in {dtype}, {bytes_s / 1e9:.0f} GB/s",
        "",
        "| backbone | px | bank | batch | p50 ms | p99 ms | pictures/s | arithmetic ms | memory ms | ÷ floor | "
        "anomalib ms |",
        "| --- " * 11 + "|",
    ]  # fmt: skip
    print("\n".join(lines), flush=True)
    for backbone in options.backbones:
        network = Cut(backbone).eval().requires_grad_(requires_grad=False)
        for size_px in options.sizes:
            for row in speeds(backbone, network, size_px, options, device, dtype, flops, bytes_s):
                lines.append(row)
                print(row, flush=True)
        if not network.real:
            lines.append(
                f"\n{backbone}: random weights, its own could not be downloaded; speed does not depend on them."
            )
            print(lines[-1])
    lines += parity(options.backbones[-1], options.sizes[0], device, dtype, small=options.smoke)
    print("\n".join(lines[-2:]))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


def speeds(
    name: str, network: Cut, size_px: int, options: argparse.Namespace, device: torch.device, dtype: torch.dtype,
    flops: float, bytes_s: float,
) -> list[str]:  # fmt: skip
    """Return a row of the table for each bank and batch."""
    module = features_module(network, dtype)
    backbone = DeviceBackbone(module, (size_px, size_px), device=device)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, size=(max(options.batches), size_px, size_px, 3), dtype=np.uint8)
    features = backbone(images[:1])
    patches, dims = features[0, ..., 0].size, features.shape[-1]
    with FlopCounterMode(display=False) as counter:
        module(torch.from_numpy(images[:1]).to(device))
    weights_bytes = sum(value.numel() * value.element_size() for value in module.parameters())
    rows = []
    for share in options.banks:
        count = max(10, round(PICTURES * patches * share))
        bank = random.normal(size=(count, dims)).astype(np.float32)
        memory = DeviceBank(bank, device, reweight_neighbours=9)
        for batch in options.batches:
            times_s = timed(lambda n=batch, m=memory: inspect_on_device(backbone, images[:n], [m] * n), options.seconds)
            p50_s, p99_s = np.percentile(times_s, [50, 99])
            search_flops = 2 * patches * count * dims
            # The search computes in float32, whose rate without TF32 is lower; the floor is that of half precision.
            arithmetic_s = batch * (counter.get_total_flops() + search_flops) / flops
            moved = weights_bytes + bank.nbytes + batch * (images[0].nbytes + 2 * features[0].nbytes)
            memory_s = moved / bytes_s
            peer = anomalib_s(name, bank, images[:batch], device, options.seconds)
            ratio = p50_s / max(arithmetic_s, memory_s)
            rows.append(
                f"| {name} | {size_px} | {count:,} | {batch} | {1e3 * p50_s:.2f} | {1e3 * p99_s:.2f} "
                f"| {batch / p50_s:.0f} | {1e3 * arithmetic_s:.3f} | {1e3 * memory_s:.3f} | {ratio:.1f} "
                f"| {'not installed' if peer is None else f'{1e3 * peer:.2f}'} |"
            )
    return rows


def features_module(network: Cut, dtype: torch.dtype) -> PatchFeatures:
    """Return the patch features of a network of their own in `dtype`."""
    import copy

    described = SimpleNamespace(network=copy.deepcopy(network), **STATISTICS)
    return PatchFeatures(described, neighbourhood=3, stride=1, dtype=dtype).eval()


def parity(name: str, size_px: int, device: torch.device, dtype: torch.dtype, *, small: bool) -> list[str]:
    """Return what half precision changes, on drawn parts with and without a drawn defect."""
    network = Cut(name).eval().requires_grad_(requires_grad=False)
    remembered, tested = (4, 12) if small else (50, 200)
    random = np.random.default_rng(1)
    pictures = np.stack([part(random, size_px, broken=n >= remembered and n % 2) for n in range(remembered + tested)])
    plain = DeviceBackbone(features_module(network, torch.float32), (size_px, size_px), device=device)
    half = DeviceBackbone(features_module(network, dtype), (size_px, size_px), device=device)
    reference = plain(pictures)
    known = reference[:remembered].reshape(-1, reference.shape[-1])
    bank = known[random.permutation(len(known))[: max(20, len(known) // 100)]]
    memory = DeviceBank(bank, device, reweight_neighbours=9)
    scores, rows = [], []
    for extracted in (reference, half(pictures)):
        held_out = [torch.from_numpy(features).flatten(0, 1).to(device) for features in extracted[remembered:]]
        scores.append(np.array([float(memory.inspect(patches[None])[0, 0]) for patches in held_out]))
        rows.append(
            np.concatenate([torch.cdist(patches, memory.features).argmin(1).cpu().numpy() for patches in held_out])
        )
    broken = np.arange(remembered, remembered + tested) % 2 == 1
    areas = [float((score[broken][:, None] > score[~broken][None]).mean()) for score in scores]
    agree, apart = float((rows[0] == rows[1]).mean()), float(np.abs(scores[1] / scores[0] - 1).max())
    return [
        "",
        f"{dtype} against float32, {name} at {size_px} px: {agree:.2%} of patches find the same neighbour, scores "
        f"differ by {apart:.2%} at most, AUROC on drawn defects {areas[1]:.4f} against {areas[0]:.4f}.",
    ]


def part(random: np.random.Generator, size_px: int, *, broken: bool) -> np.ndarray:
    """Draw a textured part, (S, S, 3) uint8, with a faint scratch when it is broken."""
    across = np.linspace(0, 20, size_px)
    texture = 128 + 40 * np.sin(across)[:, None] * np.cos(across + random.normal(scale=0.1))[None]
    picture = texture[..., None] + random.normal(scale=6, size=(size_px, size_px, 3))
    if broken:
        row, column = random.integers(size_px // 4, 3 * size_px // 4, size=2)
        picture[row : row + 3, column : column + size_px // 6] += 25
    return np.clip(picture, 0, 255).astype(np.uint8)


def peaks(device: torch.device, dtype: torch.dtype, size: int) -> tuple[float, float]:
    """Measure the device: operations per second of a matrix product, bytes per second read and written by a copy."""
    left = torch.randn(size, size, device=device).to(dtype)
    product_s = min(timed(lambda: finish(left @ left), 0.5))
    there = torch.empty_like(left)
    copy_s = min(timed(lambda: finish(there.copy_(left)), 0.5))
    return 2 * size**3 / product_s, 2 * left.numel() * left.element_size() / copy_s


def finish(tensor: Tensor) -> None:
    """Wait for the device."""
    if tensor.is_cuda:
        torch.cuda.synchronize()


def anomalib_s(name: str, bank: np.ndarray, images: np.ndarray, device: torch.device, seconds: float) -> float | None:
    """Return the median seconds of a batch in anomalib's torch model in half precision; None: not installed."""
    try:
        from anomalib.models.image.patchcore.torch_model import PatchcoreModel
    except ImportError:
        return None
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    model = PatchcoreModel(["layer2", "layer3"], backbone=name, pre_trained=False).to(device, dtype).eval()
    model.memory_bank = torch.from_numpy(bank).to(device, dtype)
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255

    def judge() -> None:
        with torch.inference_mode():
            model(inputs.to(device, dtype)).pred_score.cpu()

    return float(np.median(timed(judge, seconds)))


def timed(work: Callable[[], object], seconds: float) -> list[float]:
    """Return the seconds of each call; the first five warm up."""
    for _ in range(5):
        work()
    times, begun_s = [], time.perf_counter()
    while not times or time.perf_counter() - begun_s < seconds:
        one_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - one_s)
    return times


if __name__ == "__main__":
    main()
