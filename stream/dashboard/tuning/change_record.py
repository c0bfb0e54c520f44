"""A change of a station's bundle: its record, its states and the steps between them. Pure: values in, answers out.

::

    offered ──live──▶ live ──undo──▶ undone ──live──▶ live …
       └──discard──▶ discarded ◀──discard──┘
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

from pydantic import BaseModel

from stream.core.errors import ConflictError
from stream.core.verdict import Verdict
from stream.store.review_store import MarkKind

ChangeKind = Literal["accept", "marks", "threshold", "teach", "leave_out"]
State = Literal["offered", "live", "undone", "discarded"]
Step = Literal["live", "undo", "discard"]
#: The steps that replace the live bundle; one is pending from before that until its outcome is recorded.
PendingStep = Literal["live", "undo"]
#: The bundle that a change begins with, or the one that it makes.
Side = Literal["base", "bundle"]


class Transition(NamedTuple):
    """What a step does.

    Attributes:
        state: of the change after it.
        entry: how the change's log and the audit log name it.
        replaces: which bundle must be live before it; None: any.
        installs: which bundle is live after it; None: the same as before.
    """

    state: State
    entry: str
    replaces: Side | None = None
    installs: Side | None = None


_PUT_LIVE = Transition("live", "put live", replaces="base", installs="bundle")
_UNDO = Transition("undone", "undone", replaces="bundle", installs="base")
_DISCARD = Transition("discarded", "discarded")

#: Every step that there is; whatever is missing here contradicts the change's state.
TRANSITIONS: dict[tuple[State, Step], Transition] = {
    ("offered", "live"): _PUT_LIVE,
    ("offered", "discard"): _DISCARD,
    ("live", "undo"): _UNDO,
    ("undone", "live"): _PUT_LIVE,
    ("undone", "discard"): _DISCARD,
}


class Replacement(NamedTuple):
    """The replacement of a live bundle.

    Attributes:
        old_sha256: the bundle that must be live before.
        new_sha256: the bundle that is live afterwards.
        in_place: whether the file was replaced already by a step that was interrupted, so that nobody knows whether
            the line has taken it.
        rebases: whether the change begins with whatever bundle is live now.
    """

    old_sha256: str
    new_sha256: str
    in_place: bool
    rebases: bool


class MarkedPartComparison(BaseModel):
    """A marked part under the old bundle and under the new one, with the station's rules on spots.

    A verdict is None without a score, and where rules may decide but the part's patch distances are not known.
    """

    event_id: int
    seq: int
    mark: MarkKind
    score_before: float | None
    score_after: float | None
    verdict_before: Verdict | None
    verdict_after: Verdict | None
    within_spec_before: bool = False
    within_spec_after: bool = False


class ChangedPart(BaseModel):
    """A recent part whose verdict differs between the old bundle and the new one."""

    event_id: int
    seq: int
    captured_s: float
    score_before: float
    score_after: float
    verdict_before: Verdict
    verdict_after: Verdict
    within_spec_before: bool = False
    within_spec_after: bool = False


class RecentComparison(BaseModel):
    """The last day's parts with a network input, under both bundles.

    Attributes:
        parts: how many were compared.
        left_out: older ones of the day that were not.
        to_good, to_defect: of how many the verdict changes to this.
        changed: the latest of these.
    """

    parts: int
    left_out: int
    to_good: int
    to_defect: int
    changed: list[ChangedPart]


class LogEntry(BaseModel):
    """What a user did with a change."""

    at_s: float
    who: str
    what: str


class ChangeDraft(BaseModel):
    """A new bundle and its effect."""

    station: str
    kind: ChangeKind
    who: str
    note: str
    base_sha256: str
    bundle_sha256: str
    threshold_before: float
    threshold_after: float
    patches_before: int
    patches_after: int
    warnings: list[str]
    table: list[MarkedPartComparison]
    recent: RecentComparison | None = None


class ChangeRecord(ChangeDraft):
    """A change as it is stored; `pending` is a step that was begun and whose outcome is not recorded yet."""

    at_s: float
    state: State = "offered"
    pending: PendingStep | None = None
    log: list[LogEntry]

    def transition(self, step: Step) -> Transition:
        """Return what a step does; raises ConflictError where the change's state has no such step."""
        transition = TRANSITIONS.get((self.state, step))
        if transition is None:
            raise ConflictError(f"this change is {self.state}" + (", not live" if step == "undo" else ""))
        return transition

    def replacement(self, step: PendingStep, live_sha256: str) -> Replacement:
        """Return how a step replaces the bundle that is live now."""
        transition = _UNDO if step == "undo" else _PUT_LIVE
        hashes = {"base": self.base_sha256, "bundle": self.bundle_sha256}
        assert transition.replaces is not None
        assert transition.installs is not None
        old_sha256, new_sha256 = hashes[transition.replaces], hashes[transition.installs]
        in_place = self.pending == step and live_sha256 == new_sha256
        # A taught bundle was learned from scratch, so it may replace any other.
        rebases = step == "live" and self.kind == "teach" and not in_place
        return Replacement(live_sha256 if rebases else old_sha256, new_sha256, in_place, rebases)

    def may(self, step: PendingStep, live_sha256: str, archived: Collection[str]) -> bool:
        """Whether a step can be taken now, with the bundles that are archived."""
        replacement = self.replacement(step, live_sha256)
        return (
            (self.state, step) in TRANSITIONS
            and replacement.new_sha256 in archived
            and (replacement.in_place or replacement.old_sha256 == live_sha256)
        )

    def summary(self) -> str:
        """Return the change in one line for the audit log."""
        return (
            f"{self.station}: {self.base_sha256[:12]} → {self.bundle_sha256[:12]}, "
            f"threshold {self.threshold_before:.4g} → {self.threshold_after:.4g}, "
            f"patches {self.patches_before} → {self.patches_after} {self.note}"
        ).strip()


class Change(ChangeRecord):
    """A change, and the steps that can be taken now."""

    id: int
    may_go_live: bool
    may_undo: bool
