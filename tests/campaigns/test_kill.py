"""A short run of the campaign that kills processes, and what it would say of records that were tampered with."""

from __future__ import annotations

import itertools
import json
import sqlite3
import struct
from pathlib import Path

from campaigns.kill import DEEDS, ROLES, Episode, Try, drawn_tries
from campaigns.material import make_material
from campaigns.observed import late_rejects, line_violations, taken_numbers, unnamed_late_rejects

from stream.store.event_reader import FILE_NAME


def test_tries_are_the_same_for_a_seed_and_reach_every_role_and_deed():
    tries = list(drawn_tries(7, 1_000))
    assert tries == list(drawn_tries(7, 1_000))
    assert tries != list(drawn_tries(8, 1_000))
    processes = [role for role in ROLES if role != "supervisor"]
    assert {(each.role, each.deed) for each in tries} == {
        *itertools.product(processes, DEEDS),
        ("supervisor", "SIGKILL"),
    }


def test_late_rejects_are_read_from_the_log():
    log = "sink WARNING late reject: cap: part 17 (DEFECT) was past the reject\nlate reject: label: part 3 would have"
    assert late_rejects(log, "cap") == [17]
    assert late_rejects(log, "label") == [3]
    assert unnamed_late_rejects(log, "cap") == 0
    log += " been late (4 more like this before)\n12 more like this: late reject: label: part 9 would have been"
    assert (unnamed_late_rejects(log, "label"), unnamed_late_rejects(log, "cap")) == (16, 0)


def test_a_line_whose_processes_are_killed_loses_nothing_and_a_tampered_record_is_noticed(tmp_path: Path):
    episode = Episode(tmp_path / "line", make_material(tmp_path), seed=1)
    tries = [
        Try(0.5, "sink", "SIGKILL", 0.0),
        Try(0.2, "worker0", "SIGKILL", 0.0),
        Try(0.5, "capture-top", "SIGKILL", 0.0),
        Try(0.3, "sink", "SIGSTOP", 0.4),
        Try(0.0, "worker1", "SIGTERM", 0.0),
    ]
    outcome = episode.run(iter(tries))
    assert outcome.violations == []
    assert outcome.deeds.total() == len(tries)
    assert outcome.parts > 20

    def rules() -> set[str]:
        return {violation.rule for violation in line_violations(episode.line, episode.runs)}

    store = episode.line.config.store.path
    rejects = episode.line.folder / "rejects.jsonl"
    first, *others = rejects.read_text().splitlines()
    rejects.write_text("\n".join([first, *others, first]) + "\n")
    assert rules() == {"reject twice"}
    moved = json.loads(first)
    moved["planned_ns"] += 1
    rejects.write_text("\n".join([json.dumps(moved), *others]) + "\n")
    assert rules() == {"reject at another moment"}
    rejects.write_text("\n".join([first, *others]) + "\n")
    with episode.line.log.open("a") as log:
        log.write("Traceback (most recent call last):\n")
    assert rules() == {"crash"}
    episode.line.log.write_text(episode.line.output().replace("Traceback", ""))
    numbers = store / "state" / "top.seq"
    kept, taken = numbers.read_bytes(), taken_numbers(store, "top")
    numbers.write_bytes(struct.pack("<q", taken + 1))
    assert rules() == {"journal", "event missing"}
    numbers.write_bytes(kept)
    with sqlite3.connect(store / FILE_NAME) as database:
        database.execute("UPDATE events SET verdict = 'GOOD', cause = NULL WHERE verdict = 'UNINSPECTED'")
    assert {"counts", "silently good"} <= rules()
