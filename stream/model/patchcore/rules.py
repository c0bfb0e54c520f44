"""Rules on the spots of a part: what is too small to count, what is within the specification, how many are too many.

Pure: spots and rules in, a ruling out. Without rules the verdict is the score's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, NamedTuple, Self

import msgspec
from pydantic import Field, model_validator

from stream.core.errors import ConfigError
from stream.core.options import Options
from stream.core.spots import MOST_SPOTS, Ruling, Spot
from stream.core.verdict import Verdict, verdict_of

#: A name for people: it is drawn, listed and exported.
RuleName = Annotated[str, Field(pattern=r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]{0,62}[^\s\x00-\x1f\x7f])?$")]
Limit = Annotated[float, Field(gt=0, le=1_000_000_000)]


class SpotLimits(Options):
    """Sizes of a spot: all that are given count."""

    area_px: Limit | None = None
    length_px: Limit | None = None
    width_px: Limit | None = None
    area_mm2: Limit | None = None
    length_mm: Limit | None = None
    width_mm: Limit | None = None
    peak: Limit | None = None

    @model_validator(mode="after")
    def _any(self) -> Self:
        if not self.given:
            raise ValueError(f"expected at least one limit of {', '.join(type(self).model_fields)}")
        return self

    @property
    def given(self) -> dict[str, float]:
        """The limits by the names of a spot's measures."""
        return {name: limit for name, limit in self if limit is not None}

    @property
    def in_mm(self) -> list[str]:
        """The names of those limits that need a ruler."""
        return [name for name in self.given if name.endswith(("_mm", "_mm2"))]

    def exceeded_by(self, spot: Spot) -> list[str]:
        """Return the names of the limits that a spot exceeds; one that could not be measured counts as exceeded."""
        measured = {name: getattr(spot, name) for name in self.given}
        # Written so that what compares with nothing (NaN) could never be within a limit.
        return [n for n, limit in self.given.items() if measured[n] is None or not measured[n] <= limit]

    def all_above(self, spot: Spot) -> bool:
        """Whether a spot is smaller than every limit."""
        measured = {name: getattr(spot, name) for name in self.given}
        return all(measured[name] is not None and measured[name] < limit for name, limit in self.given.items())


class RuleOptions(Options):
    """One rule on the spots of a part; exactly one of `ignore_below`, `within_spec` and `more_than`."""

    name: RuleName
    zone: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    ignore_below: SpotLimits | None = None
    within_spec: SpotLimits | None = None
    most: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    more_than: Annotated[int, Field(ge=0, le=1_000_000)] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [kind for kind in ("ignore_below", "within_spec", "more_than") if getattr(self, kind) is not None]
        if len(kinds) != 1:
            given = " and ".join(kinds) or "none of them"
            raise ValueError(
                f"rule '{self.name}': give one of ignore_below, within_spec and more_than, which are rules of their "
                f"own; got {given}"
            )
        if self.most is not None and self.within_spec is None:
            raise ValueError(f"rule '{self.name}': most has a meaning with within_spec only; remove it")
        return self

    @property
    def limits(self) -> SpotLimits | None:
        """The sizes up to which it lets spots pass; None: it counts them."""
        return self.ignore_below or self.within_spec

    def concerns(self, spot: Spot) -> bool:
        """Whether a spot is where the rule applies."""
        return self.zone is None or self.zone == spot.zone


class Rules(NamedTuple):
    """The rules of a station, in their order, and its ruler.

    Attributes:
        rules: none: the score alone decides.
        mm_per_px: mm per px of the region; None: no ruler.
    """

    rules: tuple[RuleOptions, ...] = ()
    mm_per_px: float | None = None

    @property
    def counting(self) -> bool:
        """Whether one of them counts spots, so that it may reject a part whose score is good."""
        return any(rule.more_than is not None for rule in self.rules)

    def check(self, where: str, zones: Iterable[str]) -> None:
        """Raise ConfigError for a rule in mm without a ruler, or for a zone that the bundle does not have."""
        known = sorted(zones)
        for rule in self.rules:
            in_mm = [] if rule.limits is None else rule.limits.in_mm
            if in_mm and self.mm_per_px is None:
                raise ConfigError(
                    f"{where}.rules: rule '{rule.name}': {in_mm[0]} needs a ruler; give {where}.mm_per_px, the edge of "
                    "a camera pixel in mm, or limits in px"
                )
            if rule.zone is not None and rule.zone not in known:
                raise ConfigError(
                    f"{where}.rules: rule '{rule.name}': the bundle has no zone '{rule.zone}'; zones: "
                    f"{', '.join(known) or 'none'}"
                )


#: Of a station whose scores decide alone.
NO_RULES = Rules()


def decide(score: float, threshold: float, spots: Sequence[Spot], rules: Sequence[RuleOptions]) -> Ruling:
    """Return the ruling on a part.

    Every spot is let pass by the first rule, in their order, that does: `ignore_below` where it is smaller than all
    limits, `within_spec` where it exceeds none and fewer than `most` larger ones were let pass by the rule. A rule with
    a zone concerns spots whose centre is in it.

    - The score is above the threshold and no rule lets some spot pass: DEFECT by the largest such spot.
    - Else more than `more_than` spots, in the rule's zone, that no `ignore_below` lets pass: DEFECT by their number,
      also of a part whose score is good.
    - Else a score up to the threshold: GOOD, as without rules.
    - Else GOOD within the specification, since rules let every spot pass. A part without any spot is DEFECT.

    Args:
        score: image score.
        threshold: of the bundle.
        spots: of the part, largest first.
        rules: of the station, in their order.
    """
    verdict = verdict_of(score, threshold)
    if not rules or not math.isfinite(score):
        return Ruling(verdict)
    judged = _judged(spots, rules)
    left = [number for number, spot in enumerate(judged, start=1) if spot.rule is None]
    if verdict is not Verdict.GOOD and left:
        nearest, why = _exceeded(judged[left[0] - 1], rules)
        return _ruling(Verdict.DEFECT, judged, nearest, left[0], why)
    for rule in rules:
        counted = _counted(judged, rule, rules)
        if rule.more_than is not None and len(counted) > rule.more_than:
            where = "" if rule.zone is None else f" in {rule.zone}"
            why = f"{_spots(len(counted))}{where}, more than the {rule.more_than} of rule '{rule.name}'"
            return _ruling(Verdict.DEFECT, judged, rule.name, None, why)
    if verdict is Verdict.GOOD:
        return Ruling(verdict)
    if not judged:
        return Ruling(Verdict.DEFECT, "no spot was found that rules could let pass")
    return _ruling(Verdict.GOOD, judged, judged[0].rule, 1, f"within specification: {_shares(judged)}")


def _judged(spots: Sequence[Spot], rules: Sequence[RuleOptions]) -> list[Spot]:
    passed: dict[str, int] = {}
    judged = []
    for spot in spots:
        rule = next((rule for rule in rules if _lets_pass(rule, spot, passed.get(rule.name, 0))), None)
        if rule is not None:
            passed[rule.name] = passed.get(rule.name, 0) + 1
        judged.append(msgspec.structs.replace(spot, rule=None if rule is None else rule.name))
    return judged


def _lets_pass(rule: RuleOptions, spot: Spot, passed: int) -> bool:
    if not rule.concerns(spot):
        return False
    if rule.ignore_below is not None:
        return rule.ignore_below.all_above(spot)
    if rule.within_spec is None or (rule.most is not None and passed >= rule.most):
        return False
    return not rule.within_spec.exceeded_by(spot)


def _counted(judged: Sequence[Spot], rule: RuleOptions, rules: Sequence[RuleOptions]) -> list[Spot]:
    ignoring = {other.name for other in rules if other.ignore_below is not None}
    return [spot for spot in judged if rule.concerns(spot) and spot.rule not in ignoring]


def _exceeded(spot: Spot, rules: Sequence[RuleOptions]) -> tuple[str | None, str]:
    """Return the rule that comes nearest to letting a spot pass, if one concerns it, and why it does not."""
    concerned = [rule for rule in rules if rule.within_spec is not None and rule.concerns(spot)]
    if not concerned:
        return None, "no rule lets it pass"
    rule = min(concerned, key=lambda one: len(_within(one).exceeded_by(spot)))
    exceeded = _within(rule).exceeded_by(spot)
    if not exceeded:
        return rule.name, f"rule '{rule.name}' lets {rule.most} pass and no more"
    name, limit = exceeded[0], _within(rule).given[exceeded[0]]
    return rule.name, f"exceeds rule '{rule.name}': {name} {_figure(getattr(spot, name))}, allowed {limit:g}"


def _within(rule: RuleOptions) -> SpotLimits:
    assert rule.within_spec is not None, "chosen by it"
    return rule.within_spec


def _ruling(verdict: Verdict, judged: Sequence[Spot], rule: str | None, spot: int | None, why: str) -> Ruling:
    good, recorded = verdict is Verdict.GOOD, list(judged[:MOST_SPOTS])
    if spot is not None and not good:
        if spot > MOST_SPOTS:
            recorded[-1], spot = judged[spot - 1], MOST_SPOTS
        why = f"spot {spot} of {len(judged)}, {recorded[spot - 1].describe()}: {why}"
    return Ruling(verdict, why, within_spec=good, rule=rule, spot=spot, spots=tuple(recorded))


def _shares(judged: Sequence[Spot]) -> str:
    """Return how many spots each rule let pass, the rule of the largest first."""
    return ", ".join(f"{name} ({_spots(number)})" for name, number in _numbers(judged))


def _numbers(judged: Sequence[Spot]) -> Iterator[tuple[str, int]]:
    names = [spot.rule for spot in judged if spot.rule is not None]
    yield from ((name, names.count(name)) for name in dict.fromkeys(names))


def _spots(number: int) -> str:
    return "1 spot" if number == 1 else f"{number} spots"


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3g}"
