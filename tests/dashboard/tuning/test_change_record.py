"""The states of a change and its steps, as a table."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from stream.core.errors import ConflictError
from stream.dashboard.tuning.change_record import TRANSITIONS, ChangeRecord, PendingStep, Replacement, State, Step

BASE, BUNDLE, OTHER = "base", "bundle", "other"
ALL = {BASE, BUNDLE, OTHER}


def record(state: State = "offered", **fields: Any) -> ChangeRecord:
    known: dict[str, Any] = {
        **{"station": "cap", "kind": "threshold", "who": "anna", "note": "too strict", "at_s": 0.0, "log": []},
        **{"threshold_before": 1.0, "threshold_after": 2.0, "patches_before": 3, "patches_after": 4},
        **{"base_sha256": BASE, "bundle_sha256": BUNDLE, "warnings": [], "table": [], "state": state},
    }
    return ChangeRecord.model_validate(known | fields)


@pytest.mark.parametrize("state", get_args(State))
@pytest.mark.parametrize("step", get_args(Step))
def test_what_the_table_does_not_have_contradicts_the_state(state: State, step: Step):
    after = {
        ("offered", "live"): "live",
        ("offered", "discard"): "discarded",
        ("live", "undo"): "undone",
        ("undone", "live"): "live",
        ("undone", "discard"): "discarded",
    }.get((state, step))
    if after is None:
        with pytest.raises(ConflictError, match=f"this change is {state}"):
            record(state).transition(step)
    else:
        assert record(state).transition(step).state == after
    assert ((state, step) in TRANSITIONS) == (after is not None)


@pytest.mark.parametrize(
    ("state", "step", "live", "possible"),
    [
        ("offered", "live", BASE, True),
        ("offered", "live", OTHER, False),
        ("offered", "live", BUNDLE, False),
        ("offered", "undo", BUNDLE, False),
        ("live", "undo", BUNDLE, True),
        ("live", "undo", OTHER, False),
        ("live", "undo", BASE, False),
        ("live", "live", BASE, False),
        ("undone", "live", BASE, True),
        ("undone", "live", "", False),
        ("undone", "undo", BUNDLE, False),
        ("discarded", "live", BASE, False),
    ],
)
def test_a_step_follows_the_bundle_that_its_change_needs(state: State, step: PendingStep, live: str, possible: bool):
    assert record(state).may(step, live, ALL) == possible


@pytest.mark.parametrize(
    ("state", "step", "new", "old"), [("offered", "live", BUNDLE, BASE), ("live", "undo", BASE, BUNDLE)]
)
def test_an_interrupted_step_can_be_taken_again_where_its_bundle_is_in_place(
    state: State, step: PendingStep, new: str, old: str
):
    interrupted = record(state, pending=step)
    assert interrupted.replacement(step, new) == Replacement(old, new, in_place=True, rebases=False)
    assert interrupted.may(step, new, ALL)
    assert not record(state).may(step, new, ALL), "without a pending step it was put there by hand"
    assert interrupted.replacement(step, old) == Replacement(old, new, in_place=False, rebases=False)
    assert not interrupted.may(step, OTHER, ALL)


def test_a_taught_bundle_replaces_any_other_and_is_undone_to_that():
    taught = record(kind="teach")
    assert taught.replacement("live", OTHER) == Replacement(OTHER, BUNDLE, in_place=False, rebases=True)
    assert taught.may("live", OTHER, ALL)
    assert taught.may("live", "", ALL)
    interrupted = record(kind="teach", pending="live")
    assert interrupted.replacement("live", BUNDLE) == Replacement(BASE, BUNDLE, in_place=True, rebases=False)
    assert not record("live", kind="teach").may("undo", OTHER, ALL)


def test_a_step_needs_its_bundle_in_the_archive():
    assert not record().may("live", BASE, {BASE})
    assert record().may("live", BASE, {BUNDLE})
    assert not record("live").may("undo", BUNDLE, {BUNDLE})
    assert not record(kind="teach").may("live", OTHER, {BASE})
