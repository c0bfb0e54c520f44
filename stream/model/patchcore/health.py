"""Frame checks: light, focus and colour of a network input against those of the good images.

A frame that was taken in the dark, against the light or out of focus may hide a defect, so it must not
become GOOD. The limits are wide: a new good part passes, and so does a real defect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.model.patchcore.spec import Count

#: Levels (of 255) up to which a pixel counts as black, and from which on as saturated.
_BLACK, _SATURATED = 8, 250
#: Share of such pixels that is allowed beyond the highest share in a good image.
_SHARE_MARGIN = 0.4
#: Distance of the limits from the median in robust standard deviations, and how much it grows with few images.
_DEVIATIONS = 5.6
_FEW = 4.0
#: Least distance: brightness as a share of the median and in levels, focus and structure in octaves.
_BRIGHTNESS_SHARE, _BRIGHTNESS_LEVELS = 0.25, 10.0
_FOCUS_OCTAVES = 0.4
_STRUCTURE_OCTAVES = 1.5
#: Levels by which the channels of a gray image differ at most, and those of a coloured one at least.
_GRAY, _COLOUR = 0.5, 3.0
#: Band energies below this many levels are rounding.
_ROUNDING = 0.05
#: Images whose single values of brightness and focus are stored.
MAX_VALUES = 512


class Measures(NamedTuple):
    """Measures of one network input.

    Attributes:
        brightness: mean luma in levels.
        black: share of pixels that are black.
        saturated: share of pixels that are saturated.
        focus: octaves by which details of 2 to 4 px are stronger than those of 4 to 8 px; blur lowers it, contrast
            and noise of single pixels leave it as it is.
        structure: strength of the details of 4 to 8 px, in octaves of levels.
        chroma: levels by which red and blue differ from green on average; 0 for gray.
    """

    brightness: float
    black: float
    saturated: float
    focus: float
    structure: float
    chroma: float


class Spread(msgspec.Struct, frozen=True):
    """How one measure is distributed over good images; `deviation` is 1.4826 times the median absolute deviation."""

    median: float
    deviation: float
    low: float
    high: float


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The measures of the good images that a bundle was made from.

    Attributes:
        pictures: how many were measured.
        brightness, black, saturated, focus, structure, chroma: see `Measures`.
        brightness_values, focus_values: of the single images, at most `MAX_VALUES`.
    """

    pictures: Count
    brightness: Spread
    black: Spread
    saturated: Spread
    focus: Spread
    structure: Spread
    chroma: Spread
    brightness_values: tuple[float, ...]
    focus_values: tuple[float, ...]

    @property
    def is_gray(self) -> bool:
        """Whether no good image has any colour."""
        return self.chroma.high <= _GRAY


def measure(image: NDArray[np.uint8]) -> Measures:
    """Measure one (H, W, 3) uint8 RGB network input."""
    luma = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    pixels = luma.size
    levels = np.asarray(cv2.calcHist([luma], [0], None, [256], [0, 256])).ravel()
    half: NDArray[np.floating[Any]] = np.asarray(cv2.pyrDown(luma), np.float32)
    quarter: NDArray[np.floating[Any]] = np.asarray(cv2.pyrDown(half), np.float32)
    eighth: NDArray[np.floating[Any]] = np.asarray(cv2.pyrDown(quarter), np.float32)
    fine, coarse = _octaves(half, quarter), _octaves(quarter, eighth)
    red, green, blue = cv2.split(image)
    chroma = (cv2.norm(red, green, cv2.NORM_L1) + cv2.norm(blue, green, cv2.NORM_L1)) / (2 * red.size)
    return Measures(
        brightness=float(levels @ np.arange(256)) / pixels,
        black=float(levels[: _BLACK + 1].sum()) / pixels,
        saturated=float(levels[_SATURATED:].sum()) / pixels,
        focus=fine - coarse,
        structure=coarse,
        chroma=chroma,
    )


def _octaves(finer: NDArray[np.floating[Any]], coarser: NDArray[np.floating[Any]]) -> float:
    """Return the strength of the details that `finer` has and `coarser`, half as large, has not, in octaves."""
    enlarged = cv2.pyrUp(coarser, dstsize=(finer.shape[1], finer.shape[0]))
    return math.log2(cv2.norm(finer, enlarged) / math.sqrt(finer.size) + _ROUNDING)


def reference_of(measured: Sequence[Measures]) -> Reference:
    """Summarise the measures of good images, at least one."""
    table = np.array(measured, dtype=np.float64)
    chosen = np.linspace(0, len(table) - 1, min(len(table), MAX_VALUES)).astype(int)
    # Rounded to keep the bundle's text short.
    values = np.round(table[chosen], 5)
    brightness, focus = (tuple(float(value) for value in values[:, column]) for column in (0, 3))
    return Reference(
        pictures=len(table),
        brightness=_spread(table[:, 0]),
        black=_spread(table[:, 1]),
        saturated=_spread(table[:, 2]),
        focus=_spread(table[:, 3]),
        structure=_spread(table[:, 4]),
        chroma=_spread(table[:, 5]),
        brightness_values=brightness,
        focus_values=focus,
    )


def _spread(values: NDArray[np.float64]) -> Spread:
    median = float(np.median(values))
    deviation = 1.4826 * float(np.median(np.abs(values - median)))
    return Spread(median, deviation, low=float(values.min()), high=float(values.max()))


def refreshed(before: Reference, now: Reference) -> Reference:
    """Return the reference after a calibration: the new measures, widened so that no image is refused that was good."""
    widened = {
        name: Spread(
            new.median, max(old.deviation, new.deviation), low=min(old.low, new.low), high=max(old.high, new.high)
        )
        for name in Measures._fields
        for old, new in [(getattr(before, name), getattr(now, name))]
    }
    return msgspec.structs.replace(now, **widened)


def check(measures: Measures, reference: Reference) -> str | None:
    """Return why a network input cannot be inspected, as text for the user; None: it can."""
    return _light_fault(measures, reference) or format_fault(measures, reference) or _focus_fault(measures, reference)


def _light_fault(measures: Measures, reference: Reference) -> str | None:
    if measures.black > _share_limit(reference.black):
        return f"black: {measures.black:.0%} of the pixels are, in good pictures at most {reference.black.high:.0%}"
    if measures.saturated > _share_limit(reference.saturated):
        return (
            f"over-exposed: {measures.saturated:.0%} of the pixels are saturated, "
            f"in good pictures at most {reference.saturated.high:.0%}"
        )
    darkest, brightest = brightness_limits(reference)
    if darkest <= measures.brightness <= brightest:
        return None
    extreme = "dark" if measures.brightness < darkest else "bright"
    return f"too {extreme}: mean brightness {measures.brightness:.0f}, good pictures {_range(reference.brightness, 0)}"


def format_fault(measures: Measures, reference: Reference) -> str | None:
    """Return why a network input is of another colour format than the good pictures; None: it is not."""
    if reference.is_gray and measures.chroma > _COLOUR:
        return "in colour, but the bundle learned gray pictures; check the camera's pixel format"
    if reference.chroma.low > _COLOUR and measures.chroma <= _GRAY:
        return "gray, but the bundle learned coloured pictures; check the camera's pixel format"
    return None


def _focus_fault(measures: Measures, reference: Reference) -> str | None:
    if measures.focus < focus_limit(reference):
        return f"out of focus: {measures.focus:.2f}, good pictures {_range(reference.focus, 2)}"
    if measures.structure < _low_limit(reference.structure, reference.pictures, _STRUCTURE_OCTAVES):
        return f"blurred or covered: structure {measures.structure:.1f}, good pictures {_range(reference.structure, 1)}"
    return None


def brightness_limits(reference: Reference) -> tuple[float, float]:
    """Return the mean luma in levels below which an image is too dark, and above which it is too bright."""
    spread = reference.brightness
    least = max(_BRIGHTNESS_LEVELS, _BRIGHTNESS_SHARE * spread.median)
    mirrored = Spread(-spread.median, spread.deviation, low=-spread.high, high=-spread.low)
    return _low_limit(spread, reference.pictures, least), -_low_limit(mirrored, reference.pictures, least)


def focus_limit(reference: Reference) -> float:
    """Return the focus, in octaves, below which an image is blurred."""
    return _low_limit(reference.focus, reference.pictures, _FOCUS_OCTAVES)


def _low_limit(spread: Spread, pictures: int, least: float) -> float:
    deviations = _DEVIATIONS * (1 + _FEW / pictures)
    return min(spread.low, spread.median - max(least, deviations * spread.deviation))


def _share_limit(spread: Spread) -> float:
    """Leave room above the highest share in a good image, but never so much that an image full of it passes."""
    return min(spread.high + _SHARE_MARGIN, max(spread.high, 0.99))


def _range(spread: Spread, digits: int) -> str:
    return f"{spread.low:.{digits}f} to {spread.high:.{digits}f}"
