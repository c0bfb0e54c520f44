"""Parts and a small bundle for campaigns that run outside pytest."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from support.pictures import defective_picture, good_picture, write_good_folder, write_picture

#: Pictures on the belt, one after the other; these are defective.
PARTS, DEFECTIVE = 10, (3, 7)


class Material(NamedTuple):
    """A folder of `PARTS` pictures, and a bundle that judges them."""

    parts: Path
    bundle: Path


def make_material(folder: Path) -> Material:
    """Write parts and fit a bundle into a folder, unless they are there."""
    from stream.training.fit import fit
    from stream.training.fit_options import FitOptions

    parts, bundle = folder / "parts", folder / "small.safetensors"
    parts.mkdir(parents=True, exist_ok=True)
    for number in range(PARTS):
        picture = defective_picture(900 + number) if number in DEFECTIVE else good_picture(900 + number)
        write_picture(parts / f"part{number}.png", picture)
    if not bundle.exists():
        fit(write_good_folder(folder / "good", 24), bundle, FitOptions(size_px=96, coreset=0.05))
    return Material(parts, bundle)


def make_tiny_bundle(folder: Path) -> Path:
    """Fit a bundle of a few kilobytes, so that many damaged copies of it can be read."""
    from stream.training.fit import fit
    from stream.training.fit_options import FitOptions

    path = folder / "tiny.safetensors"
    fit(write_good_folder(folder / "few", 4), path, FitOptions(size_px=32, coreset=0.05))
    return path
