"""Finds fixtures as one pattern: a coarse search over places and angles, then sub-pixel refinement. Pure.

By edges, pictures are compared as edge strength, the smoothed magnitude of the gradient: light that changes slowly over
the part, or between parts, leaves it as it is. By brightness, smoothed grey is compared at a coarse scale, for parts
alike in outline only. Normalised correlation takes care of contrast. Several fixtures are one pattern: their
correlations add up, and the distance between them makes the angle exact.

The refinement is the inverse compositional algorithm of Lucas and Kanade with gain and offset (Baker and Matthews,
Lucas-Kanade 20 Years On, 2004): all that depends on the fixtures alone is computed once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.model.patchcore.fixtures import BEYOND, Move, Patch, Search, cells, middle, patch_of, rotation

#: Longest edge of a fixture in the coarse search, px of its level.
_COARSE_PX = 32
#: Pixels of all fixtures in the refinement; half are those with the strongest edges, the others evenly spread.
_POINTS = 6000
#: Smoothing of grey, and again of edges, px of the level.
_SMOOTH_PX = 1.0
#: How far the outermost pixels of a fixture move between two angles of the search, px of the coarse level.
_STEP_PX = 1.5
#: Candidates of the coarse search that are refined.
_CANDIDATES = 3
#: Most steps of a refinement, and the change in px of the level below which it ends.
_STEPS, _SETTLED_PX = 10, 0.005

Smoothing = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class _Level(NamedTuple):
    """Pixels of the fixtures at one scale, for the refinement.

    Attributes:
        scale: px of the frame to one.
        points: (N, 2) float32 x and y from the middle of all fixtures, px of the frame.
        bounds: (begin, end) in `points` of each fixture.
        values: (N,) float32 in the reference.
        normal: (k + 2, k + 2) float64 J'J of the k unknowns of a move, of gain, and of offset.
        solve: (k + 2, N) float32: from values in a frame to the changes times the gain, gain, and offset.
    """

    scale: int
    points: NDArray[np.float32]
    bounds: list[tuple[int, int]]
    values: NDArray[np.float32]
    normal: NDArray[np.float64]
    solve: NDArray[np.float32]


class _Turned(NamedTuple):
    """What the coarse search looks for where the part has turned.

    Attributes:
        patterns: (h, w) float32 of each fixture at the coarse level.
        angles: radians, so close to each other that these patterns serve all of them.
        steps: (fixtures, angles, 2) by how many pixels of the coarse level each pattern has moved by the turn alone.
        rests: (angles, 2) mean px of the frame by which that is too little.
    """

    patterns: list[NDArray[np.float32]]
    angles: list[float]
    steps: NDArray[np.int64]
    rests: NDArray[np.float64]


class PatternFinder:
    """Finds fixtures in frames; any thread may call it."""

    def __init__(self, patches: Sequence[Patch], search: Search, smooth: Smoothing) -> None:
        """Prepare for fixtures with their surroundings in the reference, made comparable by `smooth`."""
        self._search, self._scale, self._smooth = search, patches[0].scale, smooth
        self._boxes = [patch.box for patch in patches]
        self._middle = middle(self._boxes)
        longest = max(max(box[2:]) for box in self._boxes)
        #: Pixels of the fine level to one of the coarse.
        self._coarser = max(1, round(longest / self._scale / _COARSE_PX))
        self._block = self._scale * self._coarser
        fine = [smooth(patch.pixels) for patch in patches]
        self._fine = self._level(fine, patches, 1)
        self._coarse = self._level([_reduced(values, self._coarser) for values in fine], patches, self._coarser)
        self._reach_px = search.limit_px * (1 + BEYOND) + 2 * self._block
        self._turned = [self._turn(fine, patches, *angles) for angles in self._angles()]
        self._margins_px = [
            self._reach_px
            + max(float(np.abs(self._shift(number, angle)).max()) for turned in self._turned for angle in turned.angles)
            for number in range(len(patches))
        ]

    @property
    def information(self) -> NDArray[np.float64]:
        """How much the fixtures tell of x, y and, if they may turn, the angle: (k, k), px of the frame and radians."""
        normal, unknown = self._fine.normal, len(self._fine.normal) - 2
        light = np.linalg.pinv(normal[unknown:, unknown:])
        return np.asarray(normal[:unknown, :unknown] - normal[:unknown, unknown:] @ light @ normal[unknown:, :unknown])

    def __call__(self, frame: NDArray[np.uint8]) -> tuple[Move, float]:
        """Return the most likely move of the fixtures in a frame, and the correlation there of the worst of them."""
        margins = [math.ceil(px / self._block) for px in self._margins_px]
        windows = [
            patch_of(frame, box, self._scale, margin=margin * self._coarser, multiple=self._coarser)
            for box, margin in zip(self._boxes, margins, strict=True)
        ]
        origins = [window.origin for window in windows]
        fine = [self._smooth(window.pixels) for window in windows]
        coarse = fine if self._coarser == 1 else [_reduced(values, self._coarser) for values in fine]
        candidates = self._candidates(coarse, margins)
        if self._coarser > 1:
            refined = [self._refined(self._coarse, coarse, origins, move) for move in candidates]
            candidates = [max(refined, key=lambda found: found[1])[0]]
        return max((self._refined(self._fine, fine, origins, move) for move in candidates), key=lambda found: found[1])

    def _level(self, pictures: list[NDArray[np.float32]], patches: Sequence[Patch], coarser: int) -> _Level:
        scale = self._scale * coarser
        points, values, slopes, bounds = [], [], [], []
        done = 0
        for picture, patch in zip(pictures, patches, strict=True):
            left = top = np.float32(patch.margin / coarser)
            columns, rows = cells(patch.box, scale)
            grid_y, grid_x = np.mgrid[0:rows, 0:columns].astype(np.float32)
            down, right = np.gradient(picture)
            here, slope_x, slope_y = (
                np.asarray(cv2.remap(plane, grid_x + left, grid_y + top, cv2.INTER_LINEAR), np.float32).ravel()
                for plane in (picture, np.asarray(right, np.float32), np.asarray(down, np.float32))
            )
            kept = _chosen(here, np.hypot(slope_x, slope_y), _POINTS // len(patches))
            place = np.stack([grid_x.ravel()[kept], grid_y.ravel()[kept]], axis=1) * scale + (scale - 1) / 2
            points.append(place + np.array(patch.box[:2]) - self._middle)
            values.append(here[kept])
            slopes.append(np.stack([slope_x[kept], slope_y[kept]], axis=1) / scale)
            bounds.append((done, done + len(kept)))
            done += len(kept)
        point, value, slope = np.concatenate(points), np.concatenate(values), np.concatenate(slopes)
        unknown = [slope[:, 0], slope[:, 1]]
        if self._search.rotates:
            unknown.append(slope[:, 1] * point[:, 0] - slope[:, 0] * point[:, 1])
        jacobian = np.stack([*unknown, value, np.ones_like(value)], axis=1).astype(np.float64)
        normal = jacobian.T @ jacobian
        solve = np.ascontiguousarray(np.linalg.pinv(normal, hermitian=True) @ jacobian.T, dtype=np.float32)
        return _Level(scale, point.astype(np.float32), bounds, value.astype(np.float32), normal, solve)

    def _angles(self) -> list[tuple[float, list[float]]]:
        """Return the angles at which patterns are made, each with those that it serves."""
        most, far = self._search.most, [np.abs(middle([box]) - self._middle) for box in self._boxes]
        half = [np.array(box[2:]) / 2 for box in self._boxes]
        own = max(float(np.hypot(*size)) for size in half)
        whole = max(float(np.hypot(*(size + way))) for size, way in zip(half, far, strict=True))
        count, parts = math.ceil(most / (_STEP_PX * self._block / own)), math.ceil(whole / own)
        if not count:
            return [(0.0, [0.0])]
        step = most / count
        offsets = (np.arange(parts) - (parts - 1) / 2) / parts * step
        return [(float(angle), (angle + offsets).tolist()) for angle in np.linspace(-most, most, 2 * count + 1)]

    def _shift(self, number: int, angle: float) -> NDArray[np.float64]:
        """Return how the middle of a fixture's pattern moves, px of the frame, when the part turns."""
        box = self._boxes[number]
        columns, rows = self._compared(number)
        centre = np.array(box[:2]) + (np.array([columns, rows]) * self._scale - 1) / 2 - self._middle
        return rotation(angle) @ centre - centre

    def _compared(self, number: int) -> tuple[int, int]:
        """Return (columns, rows) of a fixture at the fine level that fill whole pixels of the coarse one."""
        columns, rows = (max(self._coarser, n - n % self._coarser) for n in cells(self._boxes[number], self._scale))
        return columns, rows

    def _turn(
        self, pictures: list[NDArray[np.float32]], patches: Sequence[Patch], angle: float, serves: list[float]
    ) -> _Turned:
        """Return the fixtures as they look when the part has turned."""
        patterns, turn = [], rotation(angle)
        for number, (picture, patch) in enumerate(zip(pictures, patches, strict=True)):
            size = self._compared(number)
            centre = (np.array(size) - 1) / 2
            matrix = np.column_stack([turn.T, centre + patch.margin - turn.T @ centre])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            turned = cv2.warpAffine(picture, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
            patterns.append(_reduced(np.asarray(turned, np.float32), self._coarser))
        shifts = np.array([[self._shift(number, one) for one in serves] for number in range(len(patches))])
        steps = np.rint(shifts / self._block).astype(np.int64)
        return _Turned(patterns, serves, steps, (shifts - steps * self._block).mean(axis=0))

    def _candidates(self, windows: list[NDArray[np.float32]], margins: list[int]) -> list[Move]:
        """Return the best places of the best angles of the coarse level."""
        block, reach = self._block, int(self._reach_px / self._block)
        size = 2 * reach + 1
        found: list[tuple[float, Move]] = []
        for turned in self._turned:
            maps = []
            for window, margin, pattern, step in zip(windows, margins, turned.patterns, turned.steps, strict=True):
                (left, top), (right, bottom) = step.min(axis=0) - reach + margin, step.max(axis=0) + reach + margin
                searched = window[top : bottom + pattern.shape[0], left : right + pattern.shape[1]]
                matched = cv2.matchTemplate(searched, pattern, cv2.TM_CCOEFF_NORMED)
                maps.append([matched[y : y + size, x : x + size] for x, y in step - step.min(axis=0)])
            for angle, rest, *parts in zip(turned.angles, turned.rests, *maps, strict=True):
                total = parts[0] if len(parts) == 1 else np.add.reduce(parts)
                _, value, _, (column, row) = cv2.minMaxLoc(total)
                move = Move((column - reach) * block - rest[0], (row - reach) * block - rest[1], angle)
                found.append((value, move))
        return [move for _, move in sorted(found, key=lambda item: -item[0])[:_CANDIDATES]]

    def _refined(
        self, level: _Level, windows: list[NDArray[np.float32]], origins: list[NDArray[np.float64]], move: Move
    ) -> tuple[Move, float]:
        """Return the move to which the refinement leads, and the correlation there of the worst fixture."""
        shift, angle = np.array(move[:2]), move.angle
        reach_px = float(np.abs(level.points).max())
        for _ in range(_STEPS):
            seen = self._sampled(level, windows, origins, shift, angle)
            *changes, gain, _offset = (level.solve * seen).sum(axis=1).tolist()  # no BLAS: see `_sampled`
            if gain <= 0:
                break
            moved, turned = np.array(changes[:2]) / gain, changes[2] / gain if self._search.rotates else 0.0
            if max(float(np.abs(moved).max()), abs(turned) * reach_px) > 4 * level.scale:
                break  # not within reach of a refinement
            angle -= turned
            shift = shift - rotation(angle) @ moved
            if max(float(np.abs(moved).max()), abs(turned) * reach_px) < _SETTLED_PX * level.scale:
                break
        seen = self._sampled(level, windows, origins, shift, angle)
        match = min(_correlation(seen[begin:end], level.values[begin:end]) for begin, end in level.bounds)
        return Move(float(shift[0]), float(shift[1]), angle), match

    def _sampled(
        self,
        level: _Level,
        windows: list[NDArray[np.float32]],
        origins: list[NDArray[np.float64]],
        shift: NDArray[np.float64],
        angle: float,
    ) -> NDArray[np.float32]:
        """Return the values of a frame where the pixels of the fixtures have moved to."""
        # Without BLAS, whose sums depend on its number of threads: a replay finds the same place to the last bit.
        (cosine, back), (sine, _) = (rotation(angle) / level.scale).astype(np.float32)
        x, y = level.points.T
        at_x, at_y = (cosine * x + back * y)[None], (sine * x + cosine * y)[None]
        seen = np.empty(len(level.points), np.float32)
        for (begin, end), window, origin in zip(level.bounds, windows, origins, strict=True):
            dx, dy = ((self._middle + shift - origin + 0.5) / level.scale - 0.5).astype(np.float32)
            here = slice(begin, end)
            seen[here] = cv2.remap(
                window, at_x[:, here] + dx, at_y[:, here] + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )[0]
        return seen


def edge_strength(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the smoothed magnitude of the gradient, (H, W) float32, of a grey picture (H, W) uint8."""
    smooth = smoothed(grey)
    right, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    return np.asarray(cv2.GaussianBlur(cv2.magnitude(right, down), (0, 0), _SMOOTH_PX), np.float32)


def smoothed(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a grey picture (H, W) uint8 without its finest detail, float32."""
    return np.asarray(cv2.GaussianBlur(grey.astype(np.float32), (0, 0), _SMOOTH_PX), np.float32)


def _reduced(picture: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Return the means of blocks; a rest that fills none is left out."""
    height, width = (length // factor for length in picture.shape)
    whole = picture[: height * factor, : width * factor]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _chosen(values: NDArray[np.float32], slopes: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return which of the pixels are compared, in their order."""
    if len(values) <= count:
        return np.arange(len(values))
    steepest = np.argpartition(slopes, -(count // 2))[-(count // 2) :]
    spread = np.linspace(0, len(values) - 1, count - count // 2).astype(np.int64)
    return np.union1d(steepest, spread)


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the correlation coefficient; 0 where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0
