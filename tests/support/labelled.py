"""A folder of labelled pictures in MVTec AD's layout: good ones, and ones with a bright square and its ground truth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from support.pictures import HEIGHT_PX, WIDTH_PX, good_picture, write_picture

SQUARE_PX = 20


def write_defect(dataset: Path, kind: str, seed: int, at: tuple[int, int], *, truth: bool = True) -> Path:
    """Write a good picture with a bright square, upper left corner `at` (x, y), and its ground truth."""
    x, y = at
    picture, marks = good_picture(seed), np.zeros((HEIGHT_PX, WIDTH_PX), dtype=np.uint8)
    picture[y : y + SQUARE_PX, x : x + SQUARE_PX] = 255
    marks[y : y + SQUARE_PX, x : x + SQUARE_PX] = 255
    (dataset / "test" / kind).mkdir(parents=True, exist_ok=True)
    (dataset / "ground_truth" / kind).mkdir(parents=True, exist_ok=True)
    if truth:
        cv2.imwrite(str(dataset / "ground_truth" / kind / f"{seed}_mask.png"), marks)
    return write_picture(dataset / "test" / kind / f"{seed}.png", picture)


def write_labelled(folder: Path) -> Path:
    """Fill a folder: 12 good pictures, from 100.png on; 5 squares each at the left and the right, with ground truth."""
    (folder / "test" / "good").mkdir(parents=True)
    for seed in range(100, 112):
        write_picture(folder / "test" / "good" / f"{seed}.png", good_picture(seed))
    for i in range(5):
        write_defect(folder, "left", 200 + i, (15 + 4 * i, 10 + 8 * i))
        write_defect(folder, "right", 300 + i, (100 + 6 * i, 70 - 5 * i))
    return folder
