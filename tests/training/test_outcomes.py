from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.core.spots import Ruling
from stream.core.verdict import Cause, Verdict, verdict_of
from stream.training.outcomes import Outcome, Outcomes, outcomes_of
from stream.training.test_set import LabelledImage, LabelledSet, RefusedImage

DATA = Path("data")


def labelled(*names: str) -> list[LabelledImage]:
    pixels = np.zeros((1, 1, 3), np.uint8)
    return [
        LabelledImage(name.split("/", maxsplit=1)[0], DATA / "test" / name, pixels, (8, 8), None, False, 0.0)
        for name in names
    ]


def sorted_out(scores: dict[str, float], threshold: float, refused: list[RefusedImage]) -> Outcomes:
    values: NDArray[np.float64] = np.array(list(scores.values()))
    test_set = LabelledSet(labelled(*scores), refused, [], [])
    return outcomes_of(DATA, test_set, values, [Ruling(verdict_of(value, threshold)) for value in values.tolist()])


def paths(outcomes: Outcomes, outcome: Outcome) -> list[str]:
    return [image.path for image in outcomes[outcome]]


@pytest.fixture
def outcomes() -> Outcomes:
    scores = {"good/a": -2.0, "good/b": 1.0, "good/c": 4.0, "good/d": 9.0}
    scores |= {"dent/a": 8.0, "dent/b": 0.5, "hole/a": -3.0, "hole/b": 6.0}
    refused = [
        RefusedImage("good", DATA / "test/good/z", Cause.BAD_FRAME, "too dark: mean brightness 3"),
        RefusedImage("dent", DATA / "test/dent/z", Cause.WRONG_GEOMETRY, "the picture is 3×3 px"),
    ]
    return sorted_out(scores, 2.0, refused)


def test_the_defect_with_the_lowest_score_is_missed_worst(outcomes: Outcomes) -> None:
    assert paths(outcomes, Outcome.MISSED) == ["test/hole/a", "test/dent/b"]


def test_the_good_part_with_the_highest_score_is_rejected_worst(outcomes: Outcomes) -> None:
    assert paths(outcomes, Outcome.FALSE_REJECT) == ["test/good/d", "test/good/c"]


def test_what_was_nearly_wrong_comes_first_among_the_right_ones(outcomes: Outcomes) -> None:
    assert paths(outcomes, Outcome.CAUGHT) == ["test/hole/b", "test/dent/a"]
    assert paths(outcomes, Outcome.PASSED) == ["test/good/b", "test/good/a"]


def test_refused_images_have_a_cause_and_no_score(outcomes: Outcomes) -> None:
    first, second = outcomes[Outcome.REFUSED]
    assert (first.path, first.score, first.cause) == ("test/dent/z", None, Cause.WRONG_GEOMETRY)
    assert (second.kind, second.detail) == ("good", "too dark: mean brightness 3")


def test_what_rules_decide_is_the_outcome_whatever_the_score():
    dent, scratch, dirt = labelled("dent/a", "scratch/a", "good/a")
    passed = Ruling(Verdict.GOOD, "within specification: dust (1 spot)", within_spec=True, rule="dust", spot=1)
    many = Ruling(Verdict.DEFECT, "3 spots, more than the 2 of rule 'many'", rule="many")
    test_set = LabelledSet([dent, scratch, dirt], [], [], [])
    outcomes = outcomes_of(DATA, test_set, np.array([9.0, 0.5, 0.4]), [passed, many, many])
    assert {outcome: paths(outcomes, outcome) for outcome in Outcome if outcomes[outcome]} == {
        Outcome.MISSED: ["test/dent/a"],
        Outcome.CAUGHT: ["test/scratch/a"],
        Outcome.FALSE_REJECT: ["test/good/a"],
    }
    (missed,) = outcomes[Outcome.MISSED]
    assert (missed.verdict, missed.within_spec, missed.rule) == (Verdict.GOOD, True, "dust")
    assert missed.detail == "within specification: dust (1 spot)"


def test_a_defect_under_masks_only_is_neither_missed_nor_caught():
    images = [replace(image, under_masks=True) for image in labelled("dent/a", "dent/b")]
    rulings = [Ruling(Verdict.GOOD), Ruling(Verdict.DEFECT)]
    outcomes = outcomes_of(DATA, LabelledSet(images, [], [], []), np.array([1.0, 9.0]), rulings)
    assert {outcome: paths(outcomes, outcome) for outcome in Outcome if outcomes[outcome]} == {
        Outcome.UNDER_MASKS: ["test/dent/b", "test/dent/a"],
    }


def test_a_score_equal_to_the_threshold_passes() -> None:
    outcomes = sorted_out({"good/a": 2.0, "dent/a": 2.0}, 2.0, [])
    assert (paths(outcomes, Outcome.PASSED), paths(outcomes, Outcome.MISSED)) == (["test/good/a"], ["test/dent/a"])


def test_without_a_threshold_only_refused_images_have_an_outcome() -> None:
    refused = [RefusedImage("good", DATA / "test/good/z", Cause.BAD_FRAME, "black")]
    outcomes = outcomes_of(DATA, LabelledSet(labelled("good/a"), refused, [], []), np.ones(1), None)
    assert {outcome: len(images) for outcome, images in outcomes.items() if images} == {Outcome.REFUSED: 1}
