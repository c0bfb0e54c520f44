"""A short run of a line on three hosts, and the parts of which such hosts are made."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from campaigns.hosts import KINDS, Deed, Plant, drawn_deeds
from campaigns.material import make_material
from campaigns.namespaces import clocks_seen, hosts_on_a_bridge, set_wall_clock, wall_clock, why_not
from campaigns.relay import Weather, delay_s

_REASON = why_not()
needs_hosts = pytest.mark.skipif(_REASON is not None, reason=str(_REASON))


def test_deeds_are_the_same_for_a_seed_and_of_every_kind():
    deeds = list(drawn_deeds(5, 300))
    assert deeds == list(drawn_deeds(5, 300))
    assert {deed.kind for deed in deeds} == set(KINDS)


def test_the_weather_delays_every_chunk_and_loses_some():
    dice = random.Random(0)
    fair = [delay_s(Weather(), dice) for _ in range(10)]
    assert fair == [0.0] * 10
    foul = [delay_s(Weather(delay_ms=10, jitter_ms=5, loss=0.1), dice) for _ in range(1_000)]
    assert min(foul) >= 0.010
    assert 50 < sum(delay > 0.2 for delay in foul) < 150


def test_a_stepped_wall_clock_is_seen_by_the_process_alone(tmp_path: Path):
    clock = tmp_path / "clock"
    for ahead_s in (-0.4, 3_600.0):
        set_wall_clock(clock, ahead_s)
        monotonic_s, wall_s, _ = clocks_seen(wall_clock(clock))
        assert ahead_s <= wall_s < ahead_s + 60
        assert 0 <= monotonic_s < 60


@needs_hosts
def test_each_host_has_its_own_clock_boot_id_and_cable(tmp_path: Path):
    here = clocks_seen(())
    with hosts_on_a_bridge({"first": 1_000.0, "second": 50_000.0}, tmp_path) as hosts:
        seen = {name: clocks_seen(host.prefix) for name, host in hosts.items()}
        assert 1_000 <= seen["first"][0] < 1_060
        assert 50_000 <= seen["second"][0] < 50_060
        assert all(0 <= wall_s < 60 for _, wall_s, _ in seen.values())
        assert len({here[2], seen["first"][2], seen["second"][2]}) == 3
        connect = f"import socket; socket.create_connection(('{hosts['second'].address}', 9), 1)"

        def reaches() -> bool:
            command = [*hosts["first"].prefix, sys.executable, "-c", connect]
            done = subprocess.run(command, capture_output=True, check=False)
            return b"ConnectionRefusedError" in done.stderr  # nobody listens there, but the host answers

        assert reaches()
        hosts["second"].connect(False)
        assert not reaches()
        hosts["second"].connect(True)
        until = time.monotonic() + 30
        while not reaches():
            assert time.monotonic() < until, "the cable does not work again"


@needs_hosts
def test_a_line_on_three_hosts_survives_a_death_and_a_pulled_cable(tmp_path: Path):
    with Plant(tmp_path / "plant", make_material(tmp_path)) as plant:
        deeds = [Deed(0.5, "kill", "sink", 0.3), Deed(1.0, "partition", "worker", 1.0)]
        outcome = plant.run(iter(deeds))
    assert outcome.violations == []
    assert outcome.parts > 15
    assert outcome.deeds.total() == len(deeds)
