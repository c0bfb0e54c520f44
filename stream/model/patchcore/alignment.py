"""Alignment: the part is found in the frame by fixtures marked in a reference picture, and brought to its place. Pure.

A placement states how the part lies: its place at fit, turned clockwise by `angle_deg` about the middle of the
fixtures, then moved by (`dx_px`, `dy_px`). The region is sampled from the whole frame where that puts it, once.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.core.errors import ConfigError, FrameFault
from stream.core.parts import Placement
from stream.core.verdict import Cause
from stream.model.patchcore.feature_alignment import LEAST_KEYPOINTS, FeatureFinder
from stream.model.patchcore.fixtures import (
    Box,
    Finder,
    Patch,
    Search,
    middle,
    patch_of,
    rotation,
    turning_margin,
    working_scale,
)
from stream.model.patchcore.pattern_alignment import PatternFinder, edge_strength, smoothed

AlignBy = Literal["edges", "brightness", "features"]

#: The place that the part had at fit.
AT_FIT = Placement(dx_px=0.0, dy_px=0.0, angle_deg=0.0, match=1.0)
#: Moves below both leave the pixels as they are: the same picture scores the same to the last bit.
STILL_PX, STILL_DEG = 0.05, 0.01
#: Least match of a part whatever its fixtures, and how far above that of noise, which small ones match well by chance.
_LEAST_MATCH: dict[AlignBy, float] = {"edges": 0.4, "brightness": 0.5, "features": 0.05}
_ABOVE_NOISE = 0.05
#: Pictures of noise that are tried, and the edge of what they repeat, px.
_NOISES, _NOISE_PX = 8, 512
#: What remains of the least match among the good pictures as the limit of a bundle.
_OF_LEAST = 0.7
#: Least edge of a fixture, px, and least spread of its grey values.
_LEAST_EDGE_PX, _LEAST_SPREAD = 16, 2.0
#: Least share of the largest information that the direction, or the angle, with the smallest must have.
_LEAST_INFORMATION = 0.02
#: Largest angle that may be searched.
MOST_DEG = 45.0
#: Pixels of all fixtures at their working scale.
_WORKING_PX: dict[AlignBy, int] = {"edges": 16_384, "brightness": 4_096, "features": 65_536}


class Fixture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A marked place: its box (x, y, width, height) in px of the reference, and its pixels there with a margin, PNG."""

    box: Box
    png: bytes


class Alignment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a part is found.

    Attributes:
        fixtures: one or two.
        reference: file name of the picture in which they were marked.
        picture_px: its (width, height), which every frame must have.
        rotates: the part may be turned; else it is only moved.
        by: what is compared.
        limit_px: farthest that the middle of the fixtures may be from its place.
        limit_deg: farthest that the part may be turned, to either side.
        least_match: parts that match less are not found.
    """

    fixtures: tuple[Fixture, ...]
    reference: str
    picture_px: tuple[int, int]
    rotates: bool
    by: AlignBy
    limit_px: float
    limit_deg: float
    least_match: float

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The boxes of the fixtures."""
        return tuple(fixture.box for fixture in self.fixtures)

    def placement(self, frame: NDArray[np.uint8]) -> Placement:
        """Return how the part lies in a frame, (H, W, 3) BGR or (H, W) uint8; any thread may call it.

        Raises:
            FrameFault: WRONG_GEOMETRY, if the frame is not of the reference's size; NOT_FOUND, if nothing in it
                matches, or the part is beyond the limits.
        """
        self.check_size(frame)
        move, match = _finder(self)(frame)
        distance_px, angle_deg = math.hypot(move.x_px, move.y_px), math.degrees(move.angle)
        if not match >= self.least_match:
            raise FrameFault(
                Cause.NOT_FOUND,
                f"the part was not found: the best match is {match:.2f}, the least {self.least_match:.2f}",
            )
        if distance_px > self.limit_px:
            raise FrameFault(
                Cause.NOT_FOUND, f"the part is {distance_px:.1f} px from its place, the limit is {self.limit_px:g} px"
            )
        if abs(angle_deg) > self.limit_deg:
            raise FrameFault(
                Cause.NOT_FOUND, f"the part is turned by {angle_deg:.1f}°, the limit is {self.limit_deg:g}°"
            )
        return Placement(
            dx_px=round(move.x_px, 3), dy_px=round(move.y_px, 3), angle_deg=round(angle_deg, 4), match=round(match, 3)
        )

    def check_size(self, frame: NDArray[np.uint8]) -> None:
        """Raise FrameFault (WRONG_GEOMETRY) unless the frame is of the reference's size."""
        height_px, width_px = frame.shape[:2]
        if (width_px, height_px) != self.picture_px:
            raise FrameFault(
                Cause.WRONG_GEOMETRY,
                f"the picture is {width_px}×{height_px} px, the fixtures were marked in one of "
                f"{self.picture_px[0]}×{self.picture_px[1]}",
            )

    def region(
        self, frame: NDArray[np.uint8], region: Box, placement: Placement, *, nearest: bool = False
    ) -> NDArray[np.uint8]:
        """Return a region of the part as it would be at its place, of the region's size: sampled from the frame once.

        The frame's edge goes on beyond it. A part that has not moved gives a view of the frame. `nearest`: for labels.
        """
        x, y, width, height = region
        if math.hypot(placement.dx_px, placement.dy_px) < STILL_PX and abs(placement.angle_deg) < STILL_DEG:
            return frame[y : y + height, x : x + width]
        turn = rotation(math.radians(placement.angle_deg))
        about = middle(self.boxes)
        offset = about + (placement.dx_px, placement.dy_px) + turn @ (np.array([x, y]) - about)
        flags = cv2.WARP_INVERSE_MAP | (cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR)
        matrix = np.column_stack([turn, offset])
        # OpenCV samples four channels in half the time of three.
        source = cv2.cvtColor(frame, cv2.COLOR_BGR2BGRA) if frame.ndim == 3 else frame
        warped = cv2.warpAffine(source, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(cv2.cvtColor(warped, cv2.COLOR_BGRA2BGR) if frame.ndim == 3 else warped, np.uint8)

    def learned(self, matches: Sequence[float]) -> Alignment:
        """Return it with the least match that goes with those of the good pictures."""
        return msgspec.structs.replace(self, least_match=max(self.least_match, round(_OF_LEAST * min(matches), 3)))


def taught(
    picture: NDArray[np.uint8],
    boxes: Sequence[Box],
    *,
    reference: str,
    rotates: bool = True,
    by: AlignBy = "edges",
    limit_px: float = 40.0,
    limit_deg: float = 10.0,
) -> Alignment:
    """Return the alignment by fixtures in a picture, (H, W, 3) uint8 BGR.

    Raises:
        ConfigError: the fixtures or limits cannot be used; the message names the option of `patchline fit`.
    """
    if not limit_px > 0 or not math.isfinite(limit_px):
        raise ConfigError(f"--align-limit-px: {limit_px:g} px; give how far a part may lie from its place, more than 0")
    if rotates and not 0 < limit_deg <= MOST_DEG:
        raise ConfigError(
            f"--align-limit-deg: {limit_deg:g}°; give how far a part may be turned, above 0 and at most {MOST_DEG:g}"
        )
    height_px, width_px = picture.shape[:2]
    if not 1 <= len(boxes) <= 2:
        raise ConfigError(f"--fixture: {len(boxes)} of them; mark one or two")
    for box in boxes:
        _check_box(picture, box, reference)
    if len(boxes) == 2 and boxes[0] == boxes[1]:
        raise ConfigError(f"--fixture {_words(boxes[0])}: given twice; mark two different places, far apart, or one")
    scale, search = working_scale(boxes, _WORKING_PX[by]), Search(rotates, limit_px, limit_deg)
    patches = [patch_of(picture, box, scale, margin=turning_margin(box, scale, search)) for box in boxes]
    alignment = Alignment(
        tuple(Fixture(patch.box, cv2.imencode(".png", patch.pixels)[1].tobytes()) for patch in patches),
        reference,
        (width_px, height_px),
        rotates,
        by,
        limit_px,
        limit_deg,
        0.0,
    )
    _check_information(alignment)
    least = max(_LEAST_MATCH[by], round(_match_of_noise(alignment, scale) + _ABOVE_NOISE, 3))
    if least > _OF_LEAST:
        raise ConfigError(
            f"{' and '.join(f'--fixture {_words(box)}' for box in boxes)}: too small or too plain: even noise matches "
            f"by {least - _ABOVE_NOISE:.2f}; mark a larger place"
        )
    return msgspec.structs.replace(alignment, least_match=least)


def _check_box(picture: NDArray[np.uint8], box: Box, reference: str) -> None:
    x, y, width, height = box
    if min(width, height) < _LEAST_EDGE_PX:
        raise ConfigError(f"--fixture {_words(box)}: mark at least {_LEAST_EDGE_PX}×{_LEAST_EDGE_PX} px")
    height_px, width_px = picture.shape[:2]
    if min(x, y) < 0 or x + width > width_px or y + height > height_px:
        raise ConfigError(
            f"--fixture {_words(box)}: not within the reference {reference}, which is {width_px}×{height_px} px"
        )
    spread = float(picture[y : y + height, x : x + width].astype(np.float32).mean(axis=2).std())
    if spread < _LEAST_SPREAD:
        raise ConfigError(
            f"--fixture {_words(box)}: shows nothing by which a part could be found in {reference}; mark a place with "
            "edges in several directions"
        )


def _check_information(alignment: Alignment) -> None:
    """Raise ConfigError unless the fixtures fix the place, and the angle where it is wanted."""
    finder, names = _finder(alignment), " and ".join(f"--fixture {_words(box)}" for box in alignment.boxes)
    if isinstance(finder, FeatureFinder):
        if finder.keypoints < 2 * LEAST_KEYPOINTS:
            raise ConfigError(
                f"{names}: {finder.keypoints} keypoints in {alignment.reference}, at least {2 * LEAST_KEYPOINTS} are "
                "needed; mark a place with more detail, or --align-by edges"
            )
        return
    assert isinstance(finder, PatternFinder)
    information = finder.information
    least, most = np.linalg.eigvalsh(information[:2, :2])
    if not least > _LEAST_INFORMATION * most:
        raise ConfigError(
            f"{names}: edges run in one direction only in {alignment.reference}, so that a part moved along them "
            "looks the same; include an end or a corner"
        )
    if alignment.rotates:
        across = information[2, :2]
        angle = float(information[2, 2] - across @ np.linalg.solve(information[:2, :2], across))
        size = max(max(box[2:]) for box in alignment.boxes) / 2
        if not angle > _LEAST_INFORMATION * float(most) * size**2:
            raise ConfigError(
                f"{names}: looks alike from all sides in {alignment.reference}, so that no angle can be measured; "
                "mark a second place, or --align translation"
            )


def _match_of_noise(alignment: Alignment, scale: int) -> float:
    """Return the best match of fixtures in pictures of noise."""
    random, best = np.random.default_rng(0), 0.0
    width_px, height_px = alignment.picture_px
    repeats = -(-height_px // _NOISE_PX), -(-width_px // _NOISE_PX)
    for _ in range(_NOISES):
        grain = cv2.GaussianBlur(random.normal(size=(_NOISE_PX, _NOISE_PX)), (0, 0), float(scale))
        grey = np.clip(128 + 30 * grain / grain.std(), 0, 255).astype(np.uint8)
        best = max(best, _finder(alignment)(np.tile(grey, repeats)[:height_px, :width_px])[1])
    return best


@functools.lru_cache(maxsize=32)
def _finder(alignment: Alignment) -> Finder:
    search = Search(alignment.rotates, alignment.limit_px, alignment.limit_deg)
    scale = working_scale(alignment.boxes, _WORKING_PX[alignment.by])
    patches = [
        Patch(fixture.box, scale, turning_margin(fixture.box, scale, search), _grey(fixture.png))
        for fixture in alignment.fixtures
    ]
    if alignment.by == "features":
        return FeatureFinder(patches, search)
    return PatternFinder(patches, search, edge_strength if alignment.by == "edges" else smoothed)


def _grey(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)


def _words(box: Box) -> str:
    return ",".join(str(value) for value in box)
