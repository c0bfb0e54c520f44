"""A part: how it is named, its result, and its station's line in the ledger."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec

from stream.core.spots import MOST_SPOTS, Spot
from stream.core.verdict import Cause, Verdict

#: The first number that no part can have: what every store and every client can hold ends here.
SEQ_END = 2**53
#: A part's number.
Seq = Annotated[int, msgspec.Meta(ge=0, lt=SEQ_END)]
#: A number that compares with others: the bounds refuse infinities and NaN.
Finite = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
#: The spots of a part that are recorded, and the number of one of them.
Spots = Annotated[tuple[Spot, ...], msgspec.Meta(max_length=MOST_SPOTS)]
SpotNumber = Annotated[int, msgspec.Meta(ge=1, le=MOST_SPOTS)]


class PartResult(msgspec.Struct, frozen=True, kw_only=True):
    """One part and its final verdict, as it is recorded, published and reported.

    Attributes:
        station, seq: the part.
        part_id: its name from outside, if it has one.
        verdict, cause, detail: what the line says of it; a cause if it is UNINSPECTED.
        score: image score; None where no worker gave one.
        threshold, pixel_threshold: of the bundle that gave the score.
        within_spec: GOOD only because rules let every spot pass; the score exceeds its threshold.
        rule, spot, spots: of the ruling, see `core.spots.Ruling`; none where the score decided alone.
    """

    station: str
    seq: Seq
    part_id: str | None = None
    verdict: Verdict
    cause: Cause | None = None
    detail: str = ""
    score: Finite | None = None
    threshold: Finite | None = None
    pixel_threshold: Finite | None = None
    within_spec: bool = False
    rule: str | None = None
    spot: SpotNumber | None = None
    spots: Spots = ()


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """How a part lies in its frame, against its place at fit.

    Attributes:
        dx_px, dy_px: how far the middle of its fixtures has moved, to the right and down.
        angle_deg: how far it is turned, clockwise.
        match: how well its fixtures agree with the reference, 0 to 1.
    """

    dx_px: Finite
    dy_px: Finite
    angle_deg: Finite
    match: Finite


class Part(NamedTuple):
    """What one station judges in one frame, on this host's monotonic clock.

    Attributes:
        captured_ns: moment of exposure; None for a part only known from the gap it left.
        deadline_ns: when its verdict is due.
    """

    station: str
    seq: int
    captured_ns: int | None
    deadline_ns: int
    part_id: str | None = None


class Settled(NamedTuple):
    """A part with its final verdict; `within_spec`: GOOD only because rules let it pass."""

    part: Part
    verdict: Verdict
    cause: Cause | None
    detail: str
    settled_ns: int
    within_spec: bool = False


class LedgerCounts(NamedTuple):
    """One station's line of the ledger.

    Attributes:
        announced: parts announced to the line.
        good, defect, uninspected: verdicts given.
        pending: numbers of the parts whose verdict is still due, ascending.
        next_seq: the lowest number not yet announced.
        ahead: numbers from there on that are known from their results only.
        captured_ns: moments of exposure of the pending parts, in their order.
        part_ids: names of the pending parts, in their order.
        within_spec: how many of the good parts are so only because rules let them pass.
    """

    announced: int
    good: int
    defect: int
    uninspected: dict[Cause, int]
    pending: tuple[int, ...]
    next_seq: int
    ahead: tuple[int, ...] = ()
    captured_ns: tuple[int | None, ...] = ()
    part_ids: tuple[str | None, ...] = ()
    within_spec: int = 0

    @property
    def closed(self) -> bool:
        """Whether every announced part is accounted for."""
        return self.announced == self.good + self.defect + sum(self.uninspected.values()) + len(self.pending)

    def summary(self) -> str:
        """Return the account as one line of text."""
        causes = ", ".join(f"{cause} {count}" for cause, count in self.uninspected.items())
        within_spec = f" ({self.within_spec} within specification)" if self.within_spec else ""
        return (
            f"announced {self.announced} = good {self.good}{within_spec} + defect {self.defect} "
            f"+ uninspected {sum(self.uninspected.values())}{f' ({causes})' if causes else ''} "
            f"+ pending {len(self.pending)}: {'closed' if self.closed and not self.pending else 'OPEN'}"
        )
