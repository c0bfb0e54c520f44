"""A spot of an anomaly map, and the ruling on a part: its verdict with the spots and the rule that decided it."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec

from stream.core.verdict import Verdict

#: Spots of a part that are recorded, the largest ones.
MOST_SPOTS = 16

Measure = Annotated[float, msgspec.Meta(ge=0, le=1e300)]


class Spot(msgspec.Struct, frozen=True, kw_only=True):
    """A connected spot of an anomaly map, in px of the picture that the map lies over.

    Attributes:
        x_px, y_px: centre of its area.
        area_px: its area.
        length_px, width_px: longer and shorter side of the smallest rectangle around it, turned as fits best.
        box_px: (x, y, width, height) of the smallest upright rectangle.
        peak: its largest distance, in multiples of the pixel threshold.
        place: in words: `upper left`, `top`, …, `centre`, …, `lower right`; of a spot over most of the picture
            `whole picture, strongest: upper left` and so on.
        zone: name of the zone in which its centre lies; empty: none.
        area_mm2, length_mm, width_mm: the same in mm² and mm; None without a ruler.
        rule: name of the rule that lets it pass; None: none does, or it was not judged.
    """

    x_px: Measure
    y_px: Measure
    area_px: Measure
    length_px: Measure
    width_px: Measure
    box_px: tuple[int, int, int, int]
    peak: Measure
    place: str
    zone: str = ""
    area_mm2: Measure | None = None
    length_mm: Measure | None = None
    width_mm: Measure | None = None
    rule: str | None = None

    def describe(self) -> str:
        """Return place, size and centre in one line of ASCII."""
        if self.length_mm is None or self.width_mm is None:
            size = f"{self.length_px:.3g} x {self.width_px:.3g} px"
        else:
            size = f"{self.length_mm:.3g} x {self.width_mm:.3g} mm"
        return f"{self.place}{f' ({self.zone})' if self.zone else ''}, {size} at {self.x_px:.0f}, {self.y_px:.0f}"


class Ruling(NamedTuple):
    """The verdict on an inspected part, and why.

    Attributes:
        verdict: GOOD or DEFECT.
        detail: the reason in one line; empty where the score decided alone.
        within_spec: GOOD only because rules let every spot pass.
        rule: name of the rule that decided: that lets the largest spot pass, that the named spot exceeds, or of which
            there are too many spots; None: none did.
        spot: number, from 1, of the spot among `spots` by which it was decided; None: not by one.
        spots: the largest of the spots judged, at most `MOST_SPOTS`, largest first.
    """

    verdict: Verdict
    detail: str = ""
    within_spec: bool = False
    rule: str | None = None
    spot: int | None = None
    spots: tuple[Spot, ...] = ()
