"""Greedy k-center on a GPU: one step for each pick, which never waits for the host.

A GPU reads all features in microseconds, so here the naive algorithm is the fast one. Distances are
squared differences summed in float64, as in the definition; nothing has to be checked again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stream.model.patchcore.coreset import first_pick

#: Picks between two progress reports; the GPU's queue does not run empty in between.
_PICKS_A_REPORT = 256


def bytes_needed(total: int, dims: int) -> int:
    """Return the memory on the device that `greedy_k_center_on_device` takes for (total, dims) features."""
    return total * (dims + 4) * 8


def greedy_k_center_on_device(
    features: Tensor, count: int, *, seed: int, progress: Callable[[int], None] = lambda _picked: None
) -> NDArray[np.int64]:
    """Choose what `coreset.greedy_k_center` chooses, on the device of the features.

    Args:
        features: (N, D) float64 on a GPU (elsewhere it works too, slowly).
        count: how many; fewer are returned when fewer distinct features exist.
        seed: of the first, random pick.
        progress: called with the number picked, every few hundred picks.

    Returns:
        (≤ count,) indices in the order of picking, on the host.
    """
    total = len(features)
    count = min(count, total)
    step = _Step(features, count, first_pick(total, seed))
    replay = step.captured() if features.is_cuda else step
    reports = []
    for done in range(1, count):
        replay()
        if done % _PICKS_A_REPORT == 0 and features.is_cuda:
            reports.append(torch.cuda.Event())  # type: ignore[no-untyped-call]
            reports[-1].record()
            if len(reports) > 1:  # waiting for the last but one leaves the GPU a full queue
                reports[-2].synchronize()
                progress(done - _PICKS_A_REPORT)
    picks, distances = step.picks[:count].cpu(), step.distances[:count].cpu()
    distinct = int((distances > 0).sum())  # they only shrink: from 0 on every feature is a copy of a pick
    progress(distinct)
    return picks[:distinct].numpy()


class _Step:
    """Measure against the latest pick, keep the nearest, take the farthest: all on the device."""

    def __init__(self, features: Tensor, count: int, start: int) -> None:
        self._features = features
        device = features.device
        self._rows = torch.arange(len(features), device=device)
        self._none = torch.tensor(len(features), device=device)
        self._nearest = torch.full((len(features),), float("inf"), dtype=torch.float64, device=device)
        self._place = torch.zeros(1, dtype=torch.int64, device=device)
        # One place more, for the first run outside the graph with a coreset of one.
        self.picks = torch.full((count + 1,), start, dtype=torch.int64, device=device)
        self.distances = torch.full((count + 1,), float("inf"), dtype=torch.float64, device=device)

    def __call__(self) -> None:
        latest = self._features.index_select(0, self.picks.index_select(0, self._place))
        # One kernel: no (N, D) array of differences is made.
        distances = torch.cdist(self._features, latest, compute_mode="donot_use_mm_for_euclid_dist")
        torch.minimum(self._nearest, distances[:, 0], out=self._nearest)
        farthest = self._nearest.max()
        # The lowest index among equals; argmax does not promise it.
        row = torch.where(self._nearest == farthest, self._rows, self._none).amin()
        self._place += 1
        self.picks.index_copy_(0, self._place, row.view(1))
        self.distances.index_copy_(0, self._place, farthest.view(1))

    def captured(self) -> Callable[[], None]:
        """Record the step as a CUDA graph; a replay is one launch instead of ten."""
        state = (self._nearest, self._place, self.picks, self.distances)
        before = [tensor.clone() for tensor in state]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self()  # a first run outside the graph lets the libraries allocate
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self()
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)
        return graph.replay
