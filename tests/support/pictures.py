"""Synthetic pictures for tests: textured, deterministic, different from seed to seed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH_PX, HEIGHT_PX = 160, 120


def good_picture(seed: int, *, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 BGR: brushed metal with a weave whose phase differs from seed to seed."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height_px, 0:width_px].astype(np.float64)
    phase_x, phase_y = random.uniform(0, 2 * np.pi, 2)
    weave = 18 * np.sin(x / 5 + phase_x) * np.sin(y / 7 + phase_y)
    brushed = cv2.GaussianBlur(random.normal(0, 60, (height_px, width_px)), (0, 0), sigmaX=4, sigmaY=1)
    gray = 120 + weave + brushed
    tint = np.array([1.0, 0.95, 0.9])
    return np.clip(gray[:, :, np.newaxis] * tint, 0, 255).astype(np.uint8)


def defective_picture(seed: int, *, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> NDArray[np.uint8]:
    """Return a good picture with a dark blot and a bright scratch in its middle."""
    picture = good_picture(seed, width_px=width_px, height_px=height_px)
    cv2.circle(picture, (width_px // 2, height_px // 2), height_px // 8, (15, 20, 25), thickness=-1)
    cv2.line(picture, (width_px // 3, height_px // 3), (width_px // 2, height_px * 2 // 3), (250, 250, 250), 2)
    return picture


def write_picture(path: Path, picture: NDArray[np.uint8]) -> Path:
    """Write a picture without loss; the suffix must be .png."""
    assert cv2.imwrite(str(path), picture)
    return path


def write_good_folder(folder: Path, count: int, *, first_seed: int = 0) -> Path:
    """Fill a folder with `count` good pictures, good_000.png and on."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first_seed, first_seed + count):
        write_picture(folder / f"good_{seed:03d}.png", good_picture(seed))
    return folder


def part_picture(
    seed: int, *, x_px: float = 0.0, y_px: float = 0.0, angle_deg: float = 0.0, defect: bool = False, part: bool = True
) -> NDArray[np.uint8]:
    """Return (200, 240, 3) uint8 BGR: a plate on a belt, moved, and turned clockwise about the middle of the picture.

    The belt's grain and the light differ from seed to seed; without `part` there is nothing but the belt.
    """
    random = np.random.default_rng(seed)
    drawn = np.full((800, 960), 70, np.float32)  # four times as large
    if part:
        cv2.rectangle(drawn, (240, 200), (720, 600), 170.0, thickness=-1)
        cv2.rectangle(drawn, (240, 200), (330, 260), 70.0, thickness=-1)
        cv2.circle(drawn, (360, 480), 50, 40.0, thickness=-1)
        cv2.rectangle(drawn, (560, 280), (640, 320), 225.0, thickness=-1)
        cv2.line(drawn, (480, 520), (660, 560), 110.0, 12)
        if defect:
            cv2.circle(drawn, (520, 400), 44, 250.0, thickness=-1)
    drawn = cv2.GaussianBlur(drawn, (0, 0), 3)
    cosine, sine = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    # From a pixel of the picture to that of the drawing: back, about the middle (119.5, 99.5).
    turn = 4 * np.array([[cosine, sine], [-sine, cosine]])
    offset = 4 * np.array([119.5, 99.5]) + 1.5 - turn @ np.array([119.5 + x_px, 99.5 + y_px])
    matrix = np.column_stack([turn, offset])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    grey = cv2.warpAffine(drawn, matrix, (240, 200), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    cloud = cv2.GaussianBlur(random.normal(0, 150, grey.shape), (0, 0), 5)
    grain = cv2.GaussianBlur(random.normal(0, 6, grey.shape), (0, 0), 0.8)
    lit = grey * random.uniform(0.9, 1.1) + cloud + grain
    return np.clip(lit[:, :, np.newaxis] * np.array([1.0, 0.97, 0.94]), 0, 255).astype(np.uint8)
