from __future__ import annotations

import os
import sqlite3

import pytest
from support.offers import live, offer
from support.stand_in import Answer, standing_in

from stream.core.errors import ReloadError, StoreError
from stream.dashboard.tuning.changes import BundleChanges
from stream.line.config import LineConfig
from stream.store.review_store import Review


def forget(config: LineConfig, what: str) -> sqlite3.Connection:
    """Have the reviews' file refuse a change of this state, as if the dashboard died before it could be written."""
    other = sqlite3.connect(config.store.path / "review.sqlite")
    other.execute(
        "CREATE TRIGGER dead BEFORE UPDATE ON changes "
        f"WHEN json_extract(NEW.body, '$.state') = '{what}' BEGIN SELECT RAISE(ABORT, 'died here'); END"
    )
    other.commit()
    return other


def remember(other: sqlite3.Connection) -> None:
    other.execute("DROP TRIGGER dead")
    other.commit()
    other.close()


def test_a_change_whose_end_nobody_wrote_down_can_be_ended_and_undone(config: LineConfig, changes: BundleChanges):
    offered = offer(changes, 3.5)
    dead = forget(config, "live")
    with pytest.raises(StoreError, match="died here"):
        changes.apply(offered.id, "live", "otto")
    remember(dead)
    assert live(config) == offered.bundle_sha256, "the file was replaced already"
    found = changes.get(offered.id)
    assert found is not None
    assert (found.state, found.pending, found.may_go_live) == ("offered", "live", True)
    put = changes.apply(offered.id, "live", "otto")
    assert (put.state, put.pending, put.may_undo) == ("live", None, True)

    dead = forget(config, "undone")
    with pytest.raises(StoreError, match="died here"):
        changes.apply(offered.id, "undo", "otto")
    remember(dead)
    assert live(config) == offered.base_sha256
    assert changes.of("cap")[0].may_undo
    assert changes.apply(offered.id, "undo", "otto").state == "undone"


def test_the_next_dashboard_ends_what_was_interrupted(config: LineConfig, changes: BundleChanges, review: Review):
    offered = offer(changes, 3.5)
    dead = forget(config, "live")
    with pytest.raises(StoreError, match="died here"):
        changes.apply(offered.id, "live", "otto")
    remember(dead)
    again = BundleChanges(config, review)
    again.resume("dashboard")
    found = again.get(offered.id)
    assert found is not None
    assert (found.state, found.pending, found.may_undo) == ("live", None, True)
    assert (found.log[-1].who, found.log[-1].what) == ("dashboard", "put live")


def test_what_was_interrupted_before_the_file_was_replaced_has_changed_nothing(
    config: LineConfig, changes: BundleChanges, review: Review
):
    before, offered = live(config), offer(changes, 3.5)
    with sqlite3.connect(config.store.path / "review.sqlite") as other:
        other.execute("UPDATE changes SET body = json_set(body, '$.pending', 'live')")
    again = BundleChanges(config, review)
    again.resume("dashboard")
    found = again.get(offered.id)
    assert found is not None
    assert (live(config), found.state, found.pending, found.may_go_live) == (before, "offered", None, True)
    assert found.log[-1].what == "was interrupted; nothing has changed"


def test_a_refused_file_that_could_not_be_put_back_can_be_tried_again(config: LineConfig, changes: BundleChanges):
    offered = offer(changes, 3.5)
    refuses = Answer(why="no", removes_what_lies_aside=True)  # what would be put back is gone
    with (
        standing_in(config, os.getpid(), (refuses,), ("supervisor", "capture-top")),
        pytest.raises(ReloadError, match="could not be put back"),
    ):
        changes.apply(offered.id, "live", "otto")
    found = changes.get(offered.id)
    assert found is not None
    assert (live(config), found.state, found.may_go_live) == (offered.bundle_sha256, "offered", True)
    assert changes.apply(offered.id, "live", "otto").may_undo, "the line does not run by now"
