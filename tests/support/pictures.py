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
