"""The options of `patchline fit` by which parts are aligned and measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from stream.core.errors import ConfigError

if TYPE_CHECKING:
    from stream.model.patchcore.alignment import AlignBy, Alignment

FixtureOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="X,Y,W,H",
        help="Align: find the part by this place of the reference image, which all good parts show alike, before its "
        "region is cut out. Mark one, or two far apart, with edges in several directions, as corners and holes have.",
    ),
]
ReferenceOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Image in which the fixtures are marked; default: the first good image."),
]
AlignOption = Annotated[
    Literal["translation", "rotation"] | None,
    typer.Option(help="What parts may do: be moved, or moved and turned; default: rotation."),
]
AlignByOption = Annotated[
    Literal["edges", "brightness", "features"] | None,
    typer.Option(
        help="edges: quick and exact; brightness: for parts that share no more than their outline; features: SIFT, for "
        "detailed parts whose edges repeat; default: edges."
    ),
]
AlignLimitPxOption = Annotated[
    float | None, typer.Option(help="A part farther from its place is UNINSPECTED(not_found); default: 40 px.")
]
AlignLimitDegOption = Annotated[
    float | None, typer.Option(help="A part turned farther, to either side, likewise; default: 10 degrees.")
]
RulerOption = Annotated[
    str | None,
    typer.Option(
        metavar="X1,Y1,X2,Y2=MM",
        help="Two points of an image and their distance in millimetres; sizes are then printed in mm too.",
    ),
]


class AlignChoice(NamedTuple):
    """The options as given; None: not."""

    reference: Path | None
    align: Literal["translation", "rotation"] | None
    by: AlignBy | None
    limit_px: float | None
    limit_deg: float | None


def chosen_alignment(paths: Sequence[Path], fixtures: Sequence[str], choice: AlignChoice) -> Alignment | None:
    """Return how parts are aligned by fixtures marked in one of the images; raises ConfigError, DatasetError."""
    from stream.training.aligned_images import teach_alignment

    if not fixtures:
        if any(value is not None for value in choice):
            raise ConfigError("--reference, --align…: there is no fixture to find; add --fixture X,Y,WIDTH,HEIGHT")
        return None
    rotates = choice.align != "translation"
    if not rotates and choice.limit_deg is not None:
        raise ConfigError("--align-limit-deg: has a meaning with --align rotation only; leave one of them out")
    return teach_alignment(
        paths,
        [_box(text) for text in fixtures],
        reference=choice.reference,
        rotates=rotates,
        by=choice.by or "edges",
        limit_px=40.0 if choice.limit_px is None else choice.limit_px,
        limit_deg=10.0 if choice.limit_deg is None else choice.limit_deg,
    )


def mm_per_px_of(ruler: str | None) -> float | None:
    """Return millimetres per pixel by a ruler, X1,Y1,X2,Y2=MM; raises ConfigError."""
    if ruler is None:
        return None
    try:
        points, _, length = ruler.partition("=")
        x1, y1, x2, y2 = (float(number) for number in points.split(","))
        length_mm = float(length)
    except ValueError:
        raise ConfigError(f"--ruler: expected X1,Y1,X2,Y2=MM such as 100,40,900,40=25, got '{ruler}'") from None
    length_px = math.hypot(x2 - x1, y2 - y1)
    if not (0 < length_px < math.inf and 0 < length_mm < math.inf):
        raise ConfigError(f"--ruler: two different points and a length above 0 mm are needed, got '{ruler}'")
    return length_mm / length_px


def _box(text: str) -> tuple[int, int, int, int]:
    try:
        x, y, width, height = (int(number) for number in text.split(","))
    except ValueError:
        raise ConfigError(f"--fixture: expected X,Y,WIDTH,HEIGHT in pixels of the reference, got '{text}'") from None
    return x, y, width, height
