"""Inference on an NVIDIA GPU: one upload for each batch, one download of its results.

The network computes in float16, channels last, recorded as a CUDA graph for each batch size; pixels are
normalised and patches searched and scored on the device. Written for any torch device, so that everything
but graphs and pinned memory is tested on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stream.model.patchcore.device_search import DeviceBank
from stream.model.patchcore.features import PatchFeatures

#: Network inputs of one pass; a larger batch is split.
MAX_BATCH = 64
_WARM_UPS = 3


class DeviceBackbone:
    """The compiled patch features on a device: an `Extractor` that can also leave its features there."""

    useful_batch = MAX_BATCH
    lanes = None

    def __init__(self, module: PatchFeatures, input_px: tuple[int, int], *, device: torch.device) -> None:
        """Move the module to the device, for inputs of (width, height); a batch size is compiled at its first use."""
        # Equal scores on all devices are worth more than the last per cent of speed.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        self.place = device
        self.device = device.type
        self._module = module.to(device)
        self._module.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        width_px, height_px = input_px
        self._shape = (height_px, width_px, 3)
        self._compiled: dict[int, tuple[Tensor, Callable[[], Tensor]]] = {}
        self._pinned = torch.empty((MAX_BATCH, *self._shape), dtype=torch.uint8, pin_memory=device.type == "cuda")

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, 3) uint8 RGB → (N, h, w, D) float32."""
        parts = [self.on_device(images[i : i + MAX_BATCH]).cpu() for i in range(0, len(images), MAX_BATCH)]
        return np.ascontiguousarray(torch.cat(parts).numpy())

    def on_device(self, images: NDArray[np.uint8]) -> Tensor:
        """Return (N, h, w, D) float32 on the device for N ≤ 64 inputs, in memory that the next call overwrites."""
        count = len(images)
        padded = min(MAX_BATCH, 1 << (count - 1).bit_length())
        if padded not in self._compiled:
            self._compiled[padded] = self._compile(padded)
        inputs, run = self._compiled[padded]
        # The previous upload has ended: its results have been read.
        self._pinned[:count].numpy()[:] = images
        with torch.inference_mode():
            inputs[:count].copy_(self._pinned[:count], non_blocking=True)
            return run()[:count]

    def prepare(self, largest: int) -> None:
        """Compile all batch sizes up to `largest`, so that no part waits for it later."""
        for exponent in range((min(largest, MAX_BATCH) - 1).bit_length() + 1):
            self.on_device(np.zeros((1 << exponent, *self._shape), np.uint8))

    def _compile(self, count: int) -> tuple[Tensor, Callable[[], Tensor]]:
        """Return the input buffer and a function that computes from it; on CUDA that replays a graph."""
        inputs = torch.zeros((count, *self._shape), dtype=torch.uint8, device=self.place)
        if self.place.type != "cuda":

            def compute() -> Tensor:
                features: Tensor = self._module(inputs)
                return features

            return inputs, compute
        with torch.inference_mode():
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UPS):  # libraries choose their kernels outside the graph
                    self._module(inputs)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # thread_local: another thread may be inspecting meanwhile, while this bundle is loaded beside the live one.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                outputs: Tensor = self._module(inputs)

        def replay() -> Tensor:
            graph.replay()
            return outputs

        return inputs, replay


def inspect_on_device(
    backbone: DeviceBackbone, images: NDArray[np.uint8], banks: Sequence[DeviceBank]
) -> list[NDArray[np.float64]]:
    """Inspect N ≤ 64 network inputs (N, H, W, 3) uint8, each against its own bank: one upload, one download.

    All inputs that share a bank are searched and scored at once.

    Returns:
        for each of them (1 + P + 2 D,) float64: its image score, its patch distances, row by row, then mean and
        standard deviation of its patch features.
    """
    with torch.inference_mode():
        features = backbone.on_device(images).flatten(1, 2)
        wide = features.double()
        moments = torch.cat([wide.mean(dim=1), wide.std(dim=1, correction=0)], dim=1)
        found = torch.empty((len(features), 1 + features.shape[1]), dtype=torch.float64, device=features.device)
        for bank in dict.fromkeys(banks):
            places = [place for place, its in enumerate(banks) if its is bank]
            found[places] = bank.inspect(features if len(places) == len(banks) else features[places])
        return list(torch.cat([found, moments], dim=1).cpu().numpy())
