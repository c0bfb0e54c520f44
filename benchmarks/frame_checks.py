"""Do the frame checks refuse what hides a defect, and nothing else? Solar cells, sharp and out of focus.

Light, focus and colour are learned from the demo's 300 good cells. Counted is how many of the others are
refused as `bad_frame`: good ones and defective ones as they are, and good ones blurred more and more.

    .venv/bin/python benchmarks/frame_checks.py
"""

from __future__ import annotations

import argparse

import cv2
import numpy as np
from conditions import conditions, report
from numpy.typing import NDArray
from pictures import solar_cells
from rich.table import Table

from stream.model.patchcore.health import Reference, check, measure, reference_of

LEARNED, SIZE_PX = 300, 224
BLUR_PX = (1.5, 2.0, 2.5, 3.0, 4.0)


def main() -> None:
    """Print a row for each kind of picture."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    good, defective = solar_cells("good", SIZE_PX), solar_cells("defect", SIZE_PX)
    reference = reference_of([measure(image) for image in good[:LEARNED]])
    unseen = good[LEARNED:]
    table = Table("pictures", "refused", "of")
    for name, images in {"good, never seen": unseen, "defective": defective}.items():
        table.add_row(name, str(refused(images, reference)), str(len(images)))
    for sigma_px in BLUR_PX:
        blurred = np.stack([cv2.GaussianBlur(image, (0, 0), sigma_px) for image in unseen])
        table.add_row(f"good, blurred with σ = {sigma_px:g} px", str(refused(blurred, reference)), str(len(blurred)))
    machine = conditions("opencv-python-headless", "numpy")
    note = "The limits were chosen on these pictures: on others they may be wider or tighter than they need be."
    report("frame_checks", "Frame checks", "python benchmarks/frame_checks.py", machine, table, note)


def refused(images: NDArray[np.uint8], reference: Reference) -> int:
    """Count the pictures that are not fit to be judged."""
    return sum(check(measure(image), reference) is not None for image in images)


if __name__ == "__main__":
    main()
