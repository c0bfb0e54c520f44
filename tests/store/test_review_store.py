from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from stream.core.errors import StoreError
from stream.store.review_store import AlarmName, Mark, Review

ALARM = AlarmName(kind="defect", subject="cap", raised_ns="1795555350097892208")
KEY = ("defect", "cap", 1795555350097892208)


def finding(mark: str, who: str = "anna") -> Mark:
    return Mark(station="cap", seq=7, mark=mark, note="a hair", who=who, at_s=2.0)


def test_an_alarm_belongs_to_the_first_who_sees_to_it(tmp_path: Path):
    review = Review(tmp_path / "review.sqlite")
    assert review.acknowledged([KEY]) == {}
    review.acknowledge(ALARM, "anna", 1.0)
    review.acknowledge(ALARM, "otto", 2.0)
    assert review.acknowledged([KEY, ("defect", "label", 3)]) == {KEY: ("anna", 1.0)}


def test_the_last_mark_counts_and_the_audit_log_knows_both(tmp_path: Path):
    review = Review(tmp_path / "review.sqlite")
    review.mark(finding("false_alarm"))
    review.mark(finding("true_defect", "otto"))
    assert review.marks([("cap", 7), ("cap", 8)]) == {("cap", 7): finding("true_defect", "otto")}
    assert [(entry.who, entry.what) for entry in review.audit(10)] == [("otto", "mark"), ("anna", "mark")]
    assert "false_alarm a hair" in review.audit(10)[1].detail


def test_what_people_said_is_still_there_after_a_restart(tmp_path: Path):
    review = Review(tmp_path / "review.sqlite")
    review.acknowledge(ALARM, "anna", 1.0)
    review.mark(finding("false_alarm"))
    review.close()
    again = Review(tmp_path / "review.sqlite")
    assert again.acknowledged([KEY]) == {KEY: ("anna", 1.0)}
    assert again.marks([("cap", 7)])


@pytest.mark.parametrize(("version", "age"), [(0, "an older"), (99, "a newer")])
def test_a_file_of_another_release_is_refused_in_one_line_and_stays_as_it_is(tmp_path: Path, version: int, age: str):
    path = tmp_path / "review.sqlite"
    Review(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(StoreError, match=f"schema {version} of {age} PatchLine.*move the file away") as refused:
        Review(path)
    assert "\n" not in str(refused.value)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (version,)


def test_a_file_that_is_no_database_is_refused_with_the_way_out(tmp_path: Path):
    path = tmp_path / "review.sqlite"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="move it away"):
        Review(path)
