from __future__ import annotations

import os

import pytest

from stream.cli.bench.standstill import CoreTimes, Disturbance, Probe, disturbance, standstill_ms

MS = 1_000_000
CORES = len(os.sched_getaffinity(0))


def test_only_what_lies_in_the_measured_time_counts_as_standstill():
    late = [(100 * MS, 30 * MS), (200 * MS, 50 * MS), (320 * MS, 40 * MS), (900 * MS, 30 * MS)]
    assert standstill_ms(late, 0, 1000 * MS) == 150
    assert standstill_ms(late, 180 * MS, 300 * MS) == 20 + 20
    assert standstill_ms(late, 400 * MS, 800 * MS) == 0
    assert standstill_ms([], 0, 1000 * MS) == 0


def test_steal_is_a_share_of_all_cores_and_others_is_what_the_line_did_not_use():
    before, after = CoreTimes(100.0, 5.0, 0.0), CoreTimes(112.0, 5.0 + CORES, 10.0)
    found = disturbance(before, after, own_s=9.0, standstill_ms=60.0)
    assert found.standstill_ms == 60
    assert found.steal_percent == pytest.approx(10)
    assert found.others_percent == pytest.approx(30)
    assert disturbance(before, after, own_s=13.0, standstill_ms=0.0).others_percent == 0, "rounding of the counters"
    assert disturbance(before, before, own_s=0.0, standstill_ms=7.0) == Disturbance(7.0)


@pytest.mark.parametrize(
    ("found", "matters"),
    [
        (Disturbance(), False),
        (Disturbance(30.0, 1.0, 10.0), False),
        (Disturbance(standstill_ms=50.0), True),
        (Disturbance(steal_percent=5.0), True),
        (Disturbance(others_percent=25.0), True),
    ],
)
def test_a_line_may_be_late_for_a_standstill_for_stolen_time_and_for_other_processes(found: Disturbance, matters: bool):
    assert found.matters is matters


def test_a_disturbance_says_how_long_the_machine_stood_still():
    text = Disturbance(412.3, 7.25, 3.0).text
    assert "stood still for 412 ms (steal 7.2 %)" in text


def test_the_probe_ends_and_reports_no_standstill_of_another_time():
    probe = Probe()
    probe.start()
    probe.end()
    assert not probe.is_alive()
    assert probe.standstill_ms(0, 1) == 0


def test_the_counters_of_the_cores_only_grow():
    before = CoreTimes.now()
    after = CoreTimes.now()
    assert after.busy_s >= before.busy_s
    assert after.at_s >= before.at_s
