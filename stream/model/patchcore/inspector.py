"""From a batch of network inputs to scores and maps: backbone pass, search, score."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from stream.model.cpu_lanes import Lanes
from stream.model.patchcore.scoring import Scoring, plain_score, position_score
from stream.model.patchcore.search import MemoryBank, Nearest


class Extractor(Protocol):
    """The compiled backbone on some device."""

    @property
    def device(self) -> str:
        """Where it runs: `cuda`, `openvino` or `torch-cpu`."""
        ...

    @property
    def useful_batch(self) -> int | None:
        """Batch size beyond which there is only more delay; None: the larger the better."""
        ...

    @property
    def lanes(self) -> Lanes | None:
        """Threads that compute several network inputs side by side; None: the device takes a batch at once."""
        ...

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, 3) uint8 RGB → (N, h, w, D) float32 patch features."""
        ...


class Inspection(NamedTuple):
    """PatchCore's result for one network input.

    Attributes:
        score: the image score, plain or position-aware, with or without a head.
        distances: (h, w) float32 patch distances, from which the anomaly map is up-sampled; times their weights
            where the part has masks.
    """

    score: float
    distances: NDArray[np.float32]


def nearest_patches(bank: MemoryBank, features: NDArray[np.float32]) -> Nearest:
    """Search the patch features of one network input, (h, w, D) float32, in the bank."""
    return bank.nearest(features.reshape(-1, features.shape[-1]))


def score_patches(bank: MemoryBank, features: NDArray[np.float32], nearest: Nearest, scoring: Scoring) -> Inspection:
    """Score one network input from its patch features (h, w, D) and their nearest bank features."""
    queries = features.reshape(-1, features.shape[-1])
    distances = scoring.weighted(nearest.distance.reshape(features.shape[:2]))
    if scoring.position is not None:
        score = position_score(scoring.position, bank, queries, nearest, scoring.weights)
    else:
        patch = int(distances.argmax())
        score = plain_score(bank, queries[patch].astype(np.float64), reweight_neighbours=scoring.reweight_neighbours)
        if scoring.weights is not None:
            score *= float(scoring.weights.flat[patch])
    return Inspection(scoring.fused(score, features), distances)


def inspect(extractor: Extractor, bank: MemoryBank, images: NDArray[np.uint8], scoring: Scoring) -> list[Inspection]:
    """Inspect a batch of (N, H, W, 3) uint8 network inputs against one bank."""
    return [score_patches(bank, features, nearest_patches(bank, features), scoring) for features in extractor(images)]
