"""Synthetic local defects, drawn into good pictures before they are resized: evidence for the choice of an input.

Three kinds, after the self-supervised training of other methods, in given sizes:

- **scar**: a thin strip cut from elsewhere in the picture, its brightness changed, pasted at any angle (CutPaste,
  Li et al., CVPR 2021, arXiv 2104.04015);
- **blob**: an irregular stain, where Perlin noise (Perlin, SIGGRAPH 1985) exceeds its median in a disc, filled with
  another place of the picture, its brightness changed (after DRAEM, Zavrtanik et al., ICCV 2021, arXiv 2108.07610);
- **spot**: a soft disc, brighter or darker than what it covers.

They show which inputs can show a defect of some size at all. They are no real defects: shares of them that are found
rank the options of a fit, and say nothing of its accuracy.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

Kind = Literal["scar", "blob", "spot"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: Change of brightness of a defect, in levels of 255; of a scar and a blob it adds to the foreign texture.
CONTRAST = 64
#: Width of a scar as a share of its length.
_SCAR_WIDTH = 1 / 5
#: Cells of the Perlin noise across a blob.
_CELLS = 4


class Defect(NamedTuple):
    """One synthetic defect: its kind, its diameter or length in px of the picture, and the seed of everything else."""

    kind: Kind
    size_px: float
    seed: int


def defects_of(sizes_px: list[float], repeats: int, seed: int) -> list[Defect]:
    """Return `repeats` defects of each kind and size, in an order that mixes them."""
    kinds = [(kind, size_px) for _ in range(repeats) for size_px in sizes_px for kind in KINDS]
    order = np.random.default_rng(seed).permutation(len(kinds))
    return [Defect(kinds[place][0], kinds[place][1], seed + number) for number, place in enumerate(order)]


def with_defect(
    picture: NDArray[np.uint8], defect: Defect, unjudged: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """Return a copy of a picture (H, W, 3) uint8 with a defect at a random place, all of it inside.

    None of it lies where the picture is `unjudged`, (H, W) bool, or if it is too large for that, as little as can be.
    """
    random = np.random.default_rng(defect.seed)
    edge = 2 * math.ceil(defect.size_px / 2 + 1) + 1
    edge = min(edge, *picture.shape[:2])
    if unjudged is None:
        y, x = (int(random.integers(0, side - edge + 1)) for side in picture.shape[:2])
    else:
        y, x = _judged_place(unjudged, edge, random)
    target = picture[y : y + edge, x : x + edge].astype(np.float32)
    if defect.kind == "spot":
        opacity, content = _disc(edge, defect.size_px), target
    else:
        opacity = _scar(edge, defect.size_px, random) if defect.kind == "scar" else _blob(edge, defect.size_px, random)
        content = _elsewhere(picture, edge, random)
    covered = (target.mean(axis=2) * opacity).sum() / opacity.sum()
    content = content + CONTRAST * _direction(float(covered), random)
    drawn = target + opacity[..., None] * (content - target)
    result = picture.copy()
    result[y : y + edge, x : x + edge] = np.clip(np.rint(drawn), 0, 255).astype(np.uint8)
    return result


def _judged_place(unjudged: NDArray[np.bool_], edge: int, random: np.random.Generator) -> tuple[int, int]:
    """Return the upper left corner (y, x) of a random square with the fewest pixels that are not judged."""
    sums = cv2.integral(unjudged.view(np.uint8))
    covered = sums[edge:, edge:] - sums[:-edge, edge:] - sums[edge:, :-edge] + sums[:-edge, :-edge]
    places = np.flatnonzero(covered == covered.min())
    y, x = divmod(int(places[random.integers(len(places))]), covered.shape[1])
    return y, x


def _direction(brightness: float, random: np.random.Generator) -> float:
    """Return 1 for brighter or -1 for darker: at random, but for what is too dark or bright already."""
    if brightness < CONTRAST:
        return 1.0
    if brightness > 255 - CONTRAST:
        return -1.0
    return float(random.choice((-1.0, 1.0)))


def _disc(edge: int, diameter_px: float) -> NDArray[np.float32]:
    """Return the share of each pixel (edge, edge) that a disc in the middle covers; its rim is one pixel soft."""
    steps = np.arange(edge, dtype=np.float32) - (edge - 1) / 2
    distance = np.hypot(steps[:, None], steps[None, :])
    return np.asarray(np.clip(diameter_px / 2 - distance + 0.5, 0, 1), dtype=np.float32)


def _scar(edge: int, length_px: float, random: np.random.Generator) -> NDArray[np.float32]:
    steps = np.arange(edge, dtype=np.float32) - (edge - 1) / 2
    angle = random.uniform(0, math.pi)
    along = steps[None, :] * math.cos(angle) + steps[:, None] * math.sin(angle)
    across = steps[:, None] * math.cos(angle) - steps[None, :] * math.sin(angle)
    width_px = max(1.0, length_px * _SCAR_WIDTH)
    inside = np.minimum(length_px / 2 - np.abs(along), width_px / 2 - np.abs(across))
    return np.asarray(np.clip(inside + 0.5, 0, 1), dtype=np.float32)


def _blob(edge: int, diameter_px: float, random: np.random.Generator) -> NDArray[np.float32]:
    disc = _disc(edge, diameter_px)
    noise = perlin(edge, _CELLS, random)
    stain = disc * (noise > np.median(noise[disc > 0.5] if (disc > 0.5).any() else noise))
    # A defect of a few pixels may be drawn between the noise's cells.
    return np.asarray(stain, dtype=np.float32) if stain.sum() > 0.2 * disc.sum() else disc


def perlin(edge: int, cells: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Return Perlin noise (edge, edge) with so many cells along each side."""
    angles = random.uniform(0, 2 * math.pi, (cells + 1, cells + 1))
    gradients = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    place = np.arange(edge) * cells / edge
    cell, inside = place.astype(np.int64), place % 1
    fade = inside**3 * (inside * (inside * 6 - 15) + 10)
    corners = []
    for down in (0, 1):
        for right in (0, 1):
            gradient = gradients[cell[:, None] + down, cell[None, :] + right]
            corners.append(gradient[..., 0] * (inside[None, :] - right) + gradient[..., 1] * (inside[:, None] - down))
    top = corners[0] + fade[None, :] * (corners[1] - corners[0])
    bottom = corners[2] + fade[None, :] * (corners[3] - corners[2])
    return np.asarray(top + fade[:, None] * (bottom - top), dtype=np.float32)


def _elsewhere(picture: NDArray[np.uint8], edge: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Return another place of the picture (edge, edge, 3), turned by a random angle."""
    y, x = (int(random.integers(0, side - edge + 1)) for side in picture.shape[:2])
    piece = picture[y : y + edge, x : x + edge]
    turn = cv2.getRotationMatrix2D(((edge - 1) / 2, (edge - 1) / 2), float(random.uniform(0, 360)), 1)
    turned = cv2.warpAffine(piece, turn, (edge, edge), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(turned, dtype=np.float32)
