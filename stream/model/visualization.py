"""The overlay of one verdict: the part, its heat map and outlines, and a header with score, threshold and place."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.core.verdict import Cause, Verdict
from stream.model.patchcore.score import anomalous
from stream.model.patchcore.spots import map_in_picture, spot_in_picture, strongest_region

_COLOURS_BGR = {
    Verdict.GOOD: (96, 208, 80),
    Verdict.DEFECT: (84, 84, 255),
    Verdict.UNINSPECTED: (32, 176, 255),
}
_BAND_BGR = (28, 28, 28)
_TEXT_BGR = (235, 235, 235)
_FONT = cv2.FONT_HERSHEY_SIMPLEX

#: Where the heat begins and where it is strongest, in multiples of the pixel threshold: between the peaks of good parts
#: and those of defects, by benchmarks/results/heat_map.md. The page's `lib/heatmap.js` has them and the colours too.
HEAT_FROM, HEAT_FULL = 0.9, 1.3
_HEAT_ALPHA = 0.65
#: Distance of the lines of a hatching, px, and their opacity.
_HATCH_PX, _HATCH_ALPHA = 10, 0.5
#: Ends of the colour map `plasma` that are painted: violet, not the dark end, which looks like shadow; then yellow.
_COLOURS_FROM, _COLOURS_TO = 70, 250


def draw(
    view: NDArray[np.uint8],
    patch_distances: NDArray[np.floating] | None,
    *,
    verdict: Verdict,
    score: float | None,
    threshold: float | None,
    pixel_threshold: float | None,
    title: str,
    cause: Cause | None,
    filled: NDArray[np.bool_] | None = None,
    within_spec: str | None = None,
) -> NDArray[np.uint8]:
    """Draw heat map and outlines, and a header band above the view.

    Outlined is the anomalous area; of a DEFECT, and of a part within the specification, always the strongest spot,
    whose place the header has.

    Args:
        view: (H, W, 3) uint8 BGR, left as it is.
        patch_distances: (h, w) patch distances; None or empty: no heat map.
        verdict: of the part.
        score, threshold: of the part, if it has them.
        pixel_threshold: distance above which a pixel is anomalous; None: no heat map.
        title: the part, for example station and seq; what is not ASCII appears as '?'.
        cause: of an UNINSPECTED part.
        filled: (H, W) bool, of the network input, what is not judged and will be hatched; None: nothing.
        within_spec: the rule that lets a GOOD part pass whose score exceeds the threshold.

    Returns:
        (H', W, 3) uint8 BGR; its last H rows are the view.
    """
    view = hatched(view, filled)
    picture, place, found = view, "", verdict is Verdict.DEFECT or within_spec is not None
    if patch_distances is not None and patch_distances.size and pixel_threshold is not None:
        picture = draw_map(view, patch_distances, pixel_threshold, outline_spot=found)
        spot = spot_in_picture(patch_distances, pixel_threshold, view.shape[:2]) if found else None
        place = "" if spot is None else spot.describe()
    why = "" if within_spec is None else f"within spec: {within_spec}"
    headline = [str(verdict), why if cause is None else str(cause)]
    numbers = "" if score is None else f"score {score:.4g}"
    if score is not None and threshold is not None:
        numbers += f" / {threshold:.4g}"
    band = _band(view.shape[1], headline, _COLOURS_BGR[verdict], [title, numbers, place])
    return np.concatenate([band, picture])


def draw_map(
    view: NDArray[np.uint8], patch_distances: NDArray[np.floating], pixel_threshold: float, *, outline_spot: bool
) -> NDArray[np.uint8]:
    """Draw heat map and outlines: those of the anomalous area, and of the strongest spot if wanted.

    Args:
        view: (H, W, 3) uint8 BGR, left as it is.
        patch_distances: (h, w) patch distances.
        pixel_threshold: distance above which a pixel is anomalous.
        outline_spot: outline the strongest spot, also below the pixel threshold.

    Returns:
        (H, W, 3) uint8 BGR; the view itself where there is nothing to draw.
    """
    map_px = map_in_picture(patch_distances, (view.shape[0], view.shape[1]))
    outlined = anomalous(map_px, pixel_threshold)
    if outline_spot:
        outlined |= strongest_region(map_px, pixel_threshold)
    return _outlined(_heat(view, map_px, pixel_threshold), outlined)


def hatched(view: NDArray[np.uint8], filled: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    """Return a view, (H, W, 3) uint8 BGR, hatched where the network input of its region is filled, (h, w).

    Lines are light beside dark, so that they stand out on any part. The view itself where there is nothing to hatch.
    """
    if filled is None or not filled.any():
        return view
    height_px, width_px = view.shape[:2]
    area = cv2.resize(filled.view(np.uint8), (width_px, height_px), interpolation=cv2.INTER_NEAREST)
    rows, columns = np.ogrid[:height_px, :width_px]
    within, place = np.asarray(area) > 0, (rows + columns) % _HATCH_PX
    drawn = view.copy()
    for at, level in ((0, 255), (1, 0)):
        lines = within & (place == at)
        drawn[lines] = (drawn[lines] * (1 - _HATCH_ALPHA) + level * _HATCH_ALPHA).astype(np.uint8)
    return drawn


def _heat(view: NDArray[np.uint8], map_px: NDArray[np.float32], pixel_threshold: float) -> NDArray[np.uint8]:
    excess = map_px / max(pixel_threshold, float(np.finfo(np.float32).tiny))
    share = np.clip((excess - HEAT_FROM) / (HEAT_FULL - HEAT_FROM), 0.0, 1.0)
    if not share.any():
        return view
    levels = (_COLOURS_FROM + share * (_COLOURS_TO - _COLOURS_FROM)).astype(np.uint8)
    heat = cv2.applyColorMap(levels, cv2.COLORMAP_PLASMA)
    alpha = np.float32(_HEAT_ALPHA) * np.sqrt(share)
    return np.asarray(cv2.blendLinear(view, heat, 1 - alpha, alpha), dtype=np.uint8)


def _outlined(picture: NDArray[np.uint8], outlined: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Draw two rings outside the outlined pixels, light within dark: one of them stands out on any part."""
    if not outlined.any():
        return picture
    stroke_px = max(1, round(min(outlined.shape) / 200))
    # The rings have room also where a region reaches the picture's edge.
    within = np.zeros(outlined.shape, np.uint8)
    rim_px = 2 * stroke_px
    within[rim_px:-rim_px, rim_px:-rim_px] = outlined[rim_px:-rim_px, rim_px:-rim_px]
    if not within.any():
        within = outlined.astype(np.uint8)
    light, dark = _grown(within, stroke_px), _grown(within, rim_px)
    picture = picture.copy()
    picture[dark > light] = 0
    picture[light > within] = 255
    return picture


def _grown(within: NDArray[np.uint8], by_px: int) -> NDArray[np.uint8]:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by_px + 1, 2 * by_px + 1))
    return np.asarray(cv2.dilate(within, disc), dtype=np.uint8)


def _band(
    width_px: int, headline: list[str], colour_bgr: tuple[int, int, int], details: list[str]
) -> NDArray[np.uint8]:
    """Return the header (height, width, 3): the texts side by side if they fit, else one below the other."""
    letter_px = float(np.clip(width_px / 24, 10, 26))
    small_px = 0.8 * letter_px
    pad_px = round(0.5 * letter_px)
    room_px = width_px - 2 * pad_px
    rows = [(text, letter_px, colour_bgr) for text in _rows(headline, letter_px, room_px)]
    rows += [(text, small_px, _TEXT_BGR) for text in _rows(details, small_px, room_px)]

    band = np.full((round(letter_px * (0.6 + 1.5 * len(rows))), width_px, 3), _BAND_BGR, np.uint8)
    for index, (text, size_px, colour) in enumerate(rows):
        _put(band, text, (pad_px, round(letter_px * (1.5 + 1.5 * index))), size_px, colour)
    return band


def _rows(texts: list[str], size_px: float, room_px: int) -> list[str]:
    texts = [text for text in texts if text]
    beside = "   ".join(texts)
    return [beside] if beside and _width_px(beside, size_px) <= room_px else texts


def _put(
    band: NDArray[np.uint8], text: str, at_px: tuple[int, int], size_px: float, colour: tuple[int, int, int]
) -> None:
    """Write one line from `at_px`, smaller where it would not fit: a number cut short is another number."""
    room_px = band.shape[1] - 2 * at_px[0]
    while _width_px(text, size_px) > room_px and size_px > 1:
        size_px *= 0.95
    cv2.putText(band, _ascii(text), at_px, _FONT, _scale(size_px), colour, _stroke_px(size_px), cv2.LINE_AA)


def _width_px(text: str, size_px: float) -> int:
    (width_px, _), _ = cv2.getTextSize(_ascii(text), _FONT, _scale(size_px), _stroke_px(size_px))
    return width_px


def _scale(size_px: float) -> float:
    return size_px / 22  # a capital of Hershey Simplex is 22 px high at scale 1


def _stroke_px(size_px: float) -> int:
    return 1 if size_px < 15 else 2


def _ascii(text: str) -> str:
    """Return what cv2.putText can write."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)
