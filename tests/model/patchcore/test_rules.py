"""Rules on spots, as sentences: these spots and these rules, this verdict, and why."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from stream.core.errors import ConfigError
from stream.core.spots import MOST_SPOTS, Ruling, Spot
from stream.core.verdict import Verdict
from stream.model.patchcore.rules import RuleOptions, Rules, decide

BAD, FAIR, THRESHOLD = 9.0, 3.0, 5.0
DUST: dict[str, Any] = {"name": "dust", "ignore_below": {"area_px": 30}}
SHORT: dict[str, Any] = {"name": "short", "within_spec": {"length_mm": 0.2}}
FEW: dict[str, Any] = {"name": "few", "more_than": 2}


def spot(area_px: float = 100.0, *, length_mm: float | None = 0.1, zone: str = "", peak: float = 1.5) -> Spot:
    return Spot(
        x_px=50,
        y_px=40,
        area_px=area_px,
        length_px=20,
        width_px=5,
        box_px=(40, 38, 20, 5),
        peak=peak,
        place="centre",
        zone=zone,
        area_mm2=None if length_mm is None else length_mm**2,
        length_mm=length_mm,
        width_mm=None if length_mm is None else length_mm / 4,
    )


def ruled(*spots: Spot, rules: list[dict[str, Any]], score: float = BAD) -> Ruling:
    return decide(score, THRESHOLD, spots, [RuleOptions(**rule) for rule in rules])


def test_without_rules_the_score_decides_and_nothing_is_recorded():
    assert ruled(spot(), rules=[]) == Ruling(Verdict.DEFECT)
    assert ruled(spot(), rules=[], score=FAIR) == Ruling(Verdict.GOOD)


def test_a_good_score_is_good_without_a_record_whatever_the_spots_unless_they_are_counted():
    assert ruled(spot(length_mm=9.0), rules=[SHORT, DUST], score=THRESHOLD) == Ruling(Verdict.GOOD)


def test_a_part_whose_spots_are_all_let_pass_is_good_with_its_record():
    ruling = ruled(spot(length_mm=0.2), spot(20, length_mm=0.9), rules=[DUST, SHORT])
    assert (ruling.verdict, ruling.within_spec, ruling.rule, ruling.spot) == (Verdict.GOOD, True, "short", 1)
    assert [one.rule for one in ruling.spots] == ["short", "dust"]
    assert ruling.detail == "within specification: short (1 spot), dust (1 spot)"


def test_a_spot_left_is_a_defect_that_names_the_largest_one_and_the_rule_that_it_exceeds():
    ruling = ruled(spot(300, length_mm=0.1), spot(200, length_mm=0.34), spot(20), rules=[DUST, SHORT])
    assert (ruling.verdict, ruling.within_spec, ruling.rule, ruling.spot) == (Verdict.DEFECT, False, "short", 2)
    assert [one.rule for one in ruling.spots] == ["short", None, "dust"]
    assert ruling.detail == (
        "spot 2 of 3, centre, 0.34 x 0.085 mm at 50, 40: exceeds rule 'short': length_mm 0.34, allowed 0.2"
    )


def test_a_spot_that_no_rule_concerns_is_a_defect_without_a_rule():
    ruling = ruled(spot(), rules=[SHORT | {"zone": "edge"}])
    assert (ruling.verdict, ruling.rule, ruling.spot) == (Verdict.DEFECT, None, 1)
    assert ruling.detail.endswith(": no rule lets it pass")


def test_ignored_is_what_is_smaller_than_all_limits_and_not_what_is_as_large():
    small = {"name": "dust", "ignore_below": {"area_px": 30, "peak": 2}}
    assert ruled(spot(29, peak=1.9), rules=[small]).verdict is Verdict.GOOD
    assert ruled(spot(30, peak=1.9), rules=[small]).verdict is Verdict.DEFECT
    assert ruled(spot(29, peak=2.0), rules=[small]).verdict is Verdict.DEFECT


def test_within_specification_is_what_exceeds_none_of_the_limits():
    both = {"name": "both", "within_spec": {"length_mm": 0.2, "width_mm": 0.02}}
    assert ruled(spot(length_mm=0.08), rules=[both]).within_spec
    assert ruled(spot(length_mm=0.1), rules=[both]).verdict is Verdict.DEFECT


def test_a_rule_of_a_zone_concerns_only_the_spots_in_it():
    rules = [SHORT | {"zone": "edge"}]
    assert ruled(spot(zone="edge"), rules=rules).within_spec
    assert ruled(spot(zone="edge"), spot(zone="middle"), rules=rules).spot == 2


def test_so_many_spots_pass_by_a_rule_and_no_more():
    rules = [SHORT | {"most": 2}]
    assert ruled(spot(), spot(), rules=rules).within_spec
    ruling = ruled(spot(), spot(), spot(), rules=rules)
    assert (ruling.verdict, ruling.rule, ruling.spot) == (Verdict.DEFECT, "short", 3)
    assert ruling.detail.endswith("rule 'short' lets 2 pass and no more")


def test_the_first_rule_that_lets_a_spot_pass_is_the_one_recorded():
    assert ruled(spot(20), rules=[DUST, SHORT]).rule == "dust"
    assert ruled(spot(20), rules=[SHORT, DUST]).rule == "short"


@pytest.mark.parametrize("score", [FAIR, BAD])
def test_too_many_spots_are_a_defect_also_of_a_part_with_a_good_score(score: float):
    ruling = ruled(spot(), spot(), spot(), rules=[SHORT, FEW], score=score)
    assert (ruling.verdict, ruling.rule, ruling.spot, len(ruling.spots)) == (Verdict.DEFECT, "few", None, 3)
    assert ruling.detail == "3 spots, more than the 2 of rule 'few'"


def test_ignored_spots_and_those_of_other_zones_are_not_counted():
    in_zone = FEW | {"zone": "edge"}
    assert ruled(spot(), spot(), spot(20), spot(10), rules=[SHORT | {"most": 9}, DUST, FEW], score=FAIR).verdict is (
        Verdict.DEFECT
    )
    assert ruled(spot(), spot(), spot(20), spot(10), rules=[DUST, FEW], score=FAIR) == Ruling(Verdict.GOOD)
    assert ruled(*[spot()] * 9, rules=[in_zone], score=FAIR) == Ruling(Verdict.GOOD)
    assert ruled(*[spot(zone="edge")] * 3, rules=[in_zone], score=FAIR).detail.startswith("3 spots in edge")


def test_a_part_above_the_threshold_without_any_spot_is_never_let_pass():
    assert ruled(rules=[DUST, SHORT]).verdict is Verdict.DEFECT


def test_a_spot_that_was_not_measured_in_mm_is_not_let_pass_by_a_rule_in_mm():
    below = {"name": "below", "ignore_below": {"area_mm2": 1}}
    assert ruled(spot(length_mm=None), rules=[SHORT, below]).verdict is Verdict.DEFECT


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_never_let_pass(score: float):
    assert ruled(spot(), rules=[SHORT], score=score) == Ruling(Verdict.DEFECT)


def test_the_largest_spots_are_recorded_and_the_one_that_decided():
    many = [spot(1000 - number) for number in range(40)] + [spot(5, length_mm=0.9)]
    ruling = ruled(*many, rules=[SHORT])
    assert len(ruling.spots) == MOST_SPOTS == ruling.spot
    assert ruling.spots[-1].length_mm == 0.9
    assert ruling.detail.startswith(f"spot {MOST_SPOTS} of 41")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"name": "a"}, "give one of ignore_below, within_spec and more_than"),
        (DUST | {"more_than": 3}, "got ignore_below and more_than"),
        (DUST | {"most": 3}, "most has a meaning with within_spec only"),
        ({"name": "a", "ignore_below": {}}, "at least one limit of area_px"),
        ({"name": "a", "ignore_below": {"area_px": -1}}, "greater than 0"),
        ({"name": "", "more_than": 1}, "name"),
        ({"name": "a\nb", "more_than": 1}, "name"),
    ],
)
def test_a_rule_that_says_nothing_or_contradicts_itself_is_refused(rule: dict[str, Any], expected: str):
    with pytest.raises(ValidationError, match=expected):
        RuleOptions(**rule)


def test_a_rule_in_mm_needs_a_ruler_and_a_zone_must_exist():
    with pytest.raises(ConfigError, match=r"^stations.cap.rules: rule 'short': length_mm needs a ruler; give stations"):
        Rules((RuleOptions(**SHORT),)).check("stations.cap", ())
    edge = Rules((RuleOptions(**DUST, zone="edge"),))
    with pytest.raises(ConfigError, match=r"the bundle has no zone 'edge'; zones: rim"):
        edge.check("stations.cap", ("rim",))
    edge.check("stations.cap", ("rim", "edge"))
    Rules((RuleOptions(**SHORT),), 0.01).check("stations.cap", ())
