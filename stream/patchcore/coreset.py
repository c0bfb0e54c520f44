"""Greedy k-center coreset: which patches the memory bank remembers (paper section 3.2, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Dimensions of the random projection; the official implementation's number.
PROJECTION_DIMS = 128


def random_projection(features: Tensor, *, dims: int, seed: int) -> Tensor:
    """Project features at random, keeping distances within a few per cent (Johnson-Lindenstrauss).

    Args:
        features: (N, D) float32.
        dims: target dimensions; with D ≤ dims the features are returned as they are.
        seed: of the projection matrix.

    Returns:
        (N, min(D, dims)) float32.
    """
    if features.shape[1] <= dims:
        return features
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(features.shape[1], dims, generator=generator) / dims**0.5
    projected: Tensor = features @ matrix.to(features.device)
    return projected


def greedy_k_center(
    features: Tensor, count: int, *, seed: int, progress: Callable[[int], None] = lambda _picked: None
) -> Tensor:
    """Choose `count` features, each time the one farthest from all chosen so far.

    The distances are kept in float32 through norms and one matrix-vector product a pick. Wherever
    rounding could decide which feature is farthest, the contenders are compared in float64, ties
    going to the lowest index: the answer is that of the naive algorithm in float64.

    Args:
        features: (N, D) float32.
        count: how many; fewer are returned when fewer distinct features exist.
        seed: of the first, random pick.
        progress: called after every pick with the number picked.

    Returns:
        (≤ count,) int64 indices in the order of picking.
    """
    total = len(features)
    start = int(torch.randint(total, (1,), generator=torch.Generator().manual_seed(seed)))
    # Centred features have short norms, hence little cancellation in ‖a‖² + ‖b‖² − 2ab.
    centred = features - features.mean(dim=0)
    norms = (centred * centred).sum(dim=1)
    # Bound on the rounding of one squared distance: D products and sums of terms up to (‖a‖ + ‖b‖)².
    slack = float(4 * norms.max()) * (features.shape[1] + 4) * torch.finfo(torch.float32).eps
    exact = _ExactDistances(features)
    squared = torch.full_like(norms, float("inf"))
    picked = [start]
    progress(1)
    while len(picked) < min(count, total):
        latest = picked[-1]
        update = torch.addmv(norms, centred, centred[latest], alpha=-2.0).add_(norms[latest])
        torch.minimum(squared, update, out=squared)
        contenders = torch.nonzero(squared >= squared.max() - 2 * slack).flatten().tolist()
        # The float64 distances also tell the end: when the farthest is at 0, no distinct feature is left.
        if len(contenders) == 1 and float(squared[contenders[0]]) > 2 * slack:
            picked.append(contenders[0])
        else:
            distances = [exact.to_nearest(index, picked) for index in contenders]
            farthest = max(distances)
            if farthest == 0.0:
                break
            picked.append(contenders[distances.index(farthest)])
        progress(len(picked))
    return torch.tensor(picked, dtype=torch.int64)


class _ExactDistances:
    """Squared distances to the picked features in float64, computed only for contenders and only once."""

    def __init__(self, features: Tensor) -> None:
        self._features = features
        self._known: dict[int, tuple[int, float]] = {}

    def to_nearest(self, index: int, picked: list[int]) -> float:
        seen, nearest = self._known.get(index, (0, float("inf")))
        if seen < len(picked):
            new = self._features[picked[seen:]].double() - self._features[index].double()
            nearest = min(nearest, float((new * new).sum(dim=1).min()))
            self._known[index] = (len(picked), nearest)
        return nearest


def covering_radius(features: Tensor, centers: Tensor) -> float:
    """Return the largest distance of a feature to its nearest center: what the greedy choice keeps small.

    Args:
        features: (N, D) float32.
        centers: (M, D) float32.
    """
    # The quick mode subtracts large squares and loses the small distances.
    exact = "donot_use_mm_for_euclid_dist"
    blocks = torch.split(features, 8192)
    return max(float(torch.cdist(block, centers, compute_mode=exact).amin(dim=1).max()) for block in blocks)
