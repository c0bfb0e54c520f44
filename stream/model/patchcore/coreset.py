"""Greedy k-center coreset: which patches the memory bank holds (paper section 3.2, algorithm 1).

The naive algorithm measures every feature against every pick as it is made: one pass over all
features for each pick. But distances to the nearest pick only shrink, so an old one is an upper
bound, and the next pick is among the features whose bounds are largest. Hence rounds: bring the
largest bounds up to date, with one matrix product for all picks that they have missed; follow the
few thousand farthest features and pick among them for as long as the best beats the bound of all
others. A feature near an early pick is never measured again. The indices are those of the naive
algorithm, and features are read a block at a time, from memory or disk.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Dimensions of the random projection; the official implementation's number.
PROJECTION_DIMS = 128
#: Least and largest number of features followed in one round: enough for many picks, few enough for the cache.
_FRONT = (1024, 8192)
#: Features of one block, and distances of one block (4 MiB).
_BLOCK_FEATURES, _BLOCK_DISTANCES = 16_384, 1_000_000
#: Picks that a block of features is measured against at once.
_BLOCK_PICKS = 512
#: About so many features, spread over all, are always up to date.
_SAMPLE = 16_384
#: Features that are sorted by what they have missed at once: bounds the memory that this takes.
_SORTED_FEATURES = 262_144
#: Features and centers measured against each other at once for the covering radius.
_RADIUS_FEATURES, _RADIUS_CENTERS = 2_048, 256


class Features(Protocol):
    """(N, D) float32 features: an array, or anything that returns rows by slice or by indices."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""
        ...

    def __getitem__(self, rows: Any, /) -> NDArray[np.float32]:
        """Return the rows of a slice or of an array of indices."""
        ...


def projection(dims_in: int, *, dims: int, seed: int) -> Tensor | None:
    """Return a random matrix (dims_in, dims) that keeps distances within a few per cent (Johnson-Lindenstrauss).

    None when dims_in ≤ dims: there is nothing to gain.
    """
    if dims_in <= dims:
        return None
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(dims_in, dims, generator=generator).div_(dims**0.5)


def first_pick(total: int, seed: int) -> int:
    """Return the random index that begins a coreset of `total` features."""
    return int(torch.randint(total, (1,), generator=torch.Generator().manual_seed(seed)))


def greedy_k_center(
    features: Features, count: int, *, seed: int, progress: Callable[[int], None] = lambda _picked: None
) -> NDArray[np.int64]:
    """Choose `count` features, each time the one farthest from all chosen so far.

    The answer is that of the naive algorithm in float64, ties going to the lowest index: float32
    distances, with a bound on their rounding, only decide which features cannot be next.

    Args:
        features: (N, D) float32.
        count: how many; fewer are returned when fewer distinct features exist.
        seed: of the first, random pick.
        progress: called after every round with the number picked.

    Returns:
        (≤ count,) indices in the order of picking.
    """
    total = features.shape[0]
    count = min(count, total)
    picked = [first_pick(total, seed)]
    bounds = _Bounds(features, count)
    progress(1)
    while len(picked) < count:
        new = _next_picks(features, bounds, picked, count - len(picked))
        if not new:
            break  # no distinct feature is left
        picked += new
        progress(len(picked))
    return np.array(picked, dtype=np.int64)


class _Bounds:
    """What no feature's squared distance to its nearest pick exceeds, float32, right within `slack`."""

    def __init__(self, features: Features, count: int) -> None:
        """Make room for `count` picks."""
        total, dims = features.shape
        self._features = features
        # Centred features have short norms, hence little cancellation in ‖a‖² + ‖b‖² − 2ab.
        self.center = torch.from_numpy(features[:_BLOCK_FEATURES]).mean(dim=0)
        # Filled in place: small results kept between large blocks would keep the heap from shrinking.
        self._norms = torch.empty(total)
        for begin in range(0, total, _BLOCK_FEATURES):
            block = slice(begin, min(begin + _BLOCK_FEATURES, total))
            self._norms[block] = _squared_norms(self._centred(block))
        self.squared = torch.full((total,), float("inf"))
        #: How many picks each feature has been measured against.
        self._measured = torch.zeros(total, dtype=torch.int32)
        self._centers, self._center_norms = torch.empty(count, dims), torch.empty(count)
        self._picks = 0
        self._sample = torch.arange(0, total, max(1, total // _SAMPLE))
        # D products and sums of terms up to (‖a‖ + ‖b‖)², each rounded.
        largest = 4 * float(self._norms.max()) * (dims + 4)
        self.slack = largest * float(torch.finfo(torch.float32).eps)
        self.slack64 = largest * float(torch.finfo(torch.float64).eps)

    def _centred(self, rows: slice | NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self._features[rows]) - self.center

    def farthest(self, picked: list[int]) -> tuple[float, NDArray[np.int64]]:
        """Return a distance, and the rows (ascending) of about all features that are farther; their bounds are exact.

        All other features are nearer, within a rounding.
        """
        new = np.array(picked[self._picks :], dtype=np.int64)
        if len(new):
            self._centers[self._picks : len(picked)] = self._centred(new)
            self._center_norms[self._picks : len(picked)] = self._norms[new]
            self._picks = len(picked)
        total = len(self.squared)
        followed = min(total, max(_FRONT[0], min(_FRONT[1], total // 64)))
        # A sample tells about how far down the bounds must be exact.
        self._measure(self._sample[self._measured[self._sample] < self._picks])
        share = max(1, len(self._sample) * followed // total)
        least = float(torch.topk(self.squared[self._sample], share, sorted=False).values.min())
        while True:
            for begin in range(0, total, _SORTED_FEATURES):
                high = torch.nonzero(self.squared[begin : begin + _SORTED_FEATURES] >= least).flatten() + begin
                self._measure(high[self._measured[high] < self._picks])
            least = float(torch.topk(self.squared, followed, sorted=False).values.min()) - 3 * self.slack
            if float(self.squared.max()) >= 7 * self.slack:
                least = max(least, 4 * self.slack)  # leaves out the copies of what is picked, which may be most of all
            rows = torch.nonzero(self.squared >= least).flatten()
            if not bool((self._measured[rows] < self._picks).any()):
                return least, rows.numpy()

    def _measure(self, rows: Tensor) -> None:
        """Bring the bounds of rows up to date: those that have missed the same picks at once."""
        measured = self._measured[rows]
        order = measured.argsort(stable=True)
        rows, measured = rows[order], measured[order]
        begin = 0
        while begin < len(rows):
            first = int(measured[begin])
            step = min(_BLOCK_FEATURES, max(1024, _BLOCK_DISTANCES // (self._picks - first)))
            block, begin = rows[begin : begin + step], begin + step
            centred, nearest = self._centred(block.numpy()), torch.full((len(block),), float("inf"))
            for part in range(first, self._picks, _BLOCK_PICKS):
                centers = slice(part, min(part + _BLOCK_PICKS, self._picks))
                norms, turned = self._center_norms[centers], self._centers[centers].T
                torch.minimum(nearest, torch.addmm(norms, centred, turned, alpha=-2.0).amin(dim=1), out=nearest)
            self.squared[block] = torch.minimum(self.squared[block], nearest + self._norms[block])
        self._measured[rows] = self._picks


def _next_picks(features: Features, bounds: _Bounds, picked: list[int], wanted: int) -> list[int]:
    """Pick for as long as the next pick must be one of the farthest features; at least one, if one is distinct."""
    least, rows = bounds.farthest(picked)
    if len(rows) > 4 * _FRONT[1]:
        # That many are equally far, perhaps copies of one image: take the farthest of each part, then of all.
        parts = np.array_split(rows, len(rows) // _FRONT[1])
        rows = np.array([_Front(features, bounds, part, picked).farthest() for part in parts])
        row = _Front(features, bounds, rows, picked).pick()
        return [] if row is None else [row]
    front = _Front(features, bounds, rows, picked)
    new: list[int] = []
    # The others are nearer than `least` and a rounding.
    while len(new) < wanted and front.distance >= least + 2 * bounds.slack:
        row = front.pick()
        if row is None:
            break
        new.append(row)
    return new


class _Front:
    """A few features whose distances are followed pick by pick, in float64."""

    def __init__(self, features: Features, bounds: _Bounds, rows: NDArray[np.int64], picked: list[int]) -> None:
        """Measure the features at `rows` (ascending) against all picks."""
        self._rows = rows
        self._slack = bounds.slack64
        center = bounds.center.double()
        self._features = torch.from_numpy(features[rows]).double()
        self._picked = torch.from_numpy(features[np.array(picked)]).double()
        centred = self._features - center
        self._centred: NDArray[np.float64] = centred.numpy()
        self._norms: NDArray[np.float64] = _squared_norms(centred).numpy()
        self._squared: NDArray[np.float64] = np.full(len(rows), np.inf)
        for centers in torch.split(self._picked - center, max(256, _BLOCK_DISTANCES // len(rows))):
            nearest = torch.addmm(_squared_norms(centers), centred, centers.T, alpha=-2.0).amin(dim=1)
            np.minimum(self._squared, nearest.numpy() + self._norms, out=self._squared)
        self._new: list[int] = []
        self._known: dict[int, tuple[int, float]] = {}

    @property
    def distance(self) -> float:
        """The largest squared distance."""
        return float(self._squared.max())

    def farthest(self) -> int:
        """Return which of all features is the farthest of these."""
        return int(self._rows[self._farthest()[0]])

    def pick(self) -> int | None:
        """Take the farthest and return which of all features it is; None when it is a copy of a pick."""
        place, distance = self._farthest()
        if distance == 0.0:
            return None
        update = self._centred @ self._centred[place]
        update *= -2
        update += self._norms
        update += self._norms[place]
        np.minimum(self._squared, update, out=self._squared)
        self._new.append(place)
        return int(self._rows[place])

    def _farthest(self) -> tuple[int, float]:
        """Return place and squared distance; of copies the distance is exactly 0."""
        place = int(self._squared.argmax())
        # Where rounding could decide, differences are squared and summed.
        contenders = np.flatnonzero(self._squared >= self._squared[place] - 2 * self._slack)
        if len(contenders) == 1 and self._squared[place] > 2 * self._slack:
            return place, float(self._squared[place])
        if len(contenders) > 1:  # of copies the first will do
            contenders = contenders[np.sort(np.unique(self._centred[contenders], axis=0, return_index=True)[1])]
        exact = [self._to_nearest_pick(int(contender)) for contender in contenders]
        return int(contenders[int(np.argmax(exact))]), max(exact)

    def _to_nearest_pick(self, place: int) -> float:
        """Squared distance from differences; an earlier result is only brought up to date."""
        seen, nearest = self._known.get(place, (-1, float("inf")))
        centers = self._features[self._new[max(seen, 0) :]]
        if seen < 0:
            centers = torch.cat([self._picked, centers])
        if len(centers):
            nearest = min(nearest, float(_squared_norms(centers - self._features[place]).min()))
        self._known[place] = (len(self._new), nearest)
        return nearest


def _squared_norms(features: Tensor) -> Tensor:
    return (features * features).sum(dim=1)


def covering_radius(features: Features, centers: NDArray[np.float32]) -> float:
    """Return the largest distance of a feature to its nearest center: what the greedy choice keeps small.

    Only a feature that no center has come near yet is measured against further ones: few, when the centers
    come in the order of picking, since the first of them are spread the widest.

    Args:
        features: (N, D) float32.
        centers: (M, D) float32.
    """
    center = torch.from_numpy(centers).mean(dim=0)
    to = torch.from_numpy(centers) - center
    to_norms = _squared_norms(to)
    largest = 0.0
    for begin in range(0, features.shape[0], _RADIUS_FEATURES):
        block = torch.from_numpy(features[begin : begin + _RADIUS_FEATURES])
        rows = block - center
        norms = _squared_norms(rows)
        # As in `_Bounds`.
        slack = 4 * float(max(norms.max(), to_norms.max())) * (len(center) + 4) * float(torch.finfo(torch.float32).eps)
        nearest = torch.full_like(norms, float("inf"))
        for first in range(0, len(centers), _RADIUS_CENTERS):
            part = slice(first, first + _RADIUS_CENTERS)
            distances = torch.addmm(to_norms[part], rows, to[part].T, alpha=-2.0).amin(dim=1) + norms
            nearest = torch.minimum(nearest, distances)
            far = nearest > largest - slack
            block, rows, norms, nearest = block[far], rows[far], norms[far], nearest[far]
            if not len(rows):
                break
        else:
            largest = max(largest, _largest_squared(block[nearest >= nearest.max() - 2 * slack], centers))
    return math.sqrt(largest)


def _largest_squared(features: Tensor, centers: NDArray[np.float32]) -> float:
    """In float64 the matrix product loses nothing that matters, and is a hundred times as fast as differences."""
    center = features[0].double()
    rows = features.double() - center
    nearest = torch.full((len(rows),), float("inf"), dtype=torch.float64)
    for first in range(0, len(centers), _RADIUS_CENTERS):
        to = torch.from_numpy(centers[first : first + _RADIUS_CENTERS]).double() - center
        nearest = torch.minimum(nearest, torch.addmm(_squared_norms(to), rows, to.T, alpha=-2.0).amin(dim=1))
    return max(0.0, float((nearest + _squared_norms(rows)).max()))
