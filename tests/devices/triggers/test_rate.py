from __future__ import annotations

import itertools
import threading
import time

import pytest
from pydantic import ValidationError

from stream.devices.triggers.rate import RateTriggerOptions


def test_beats_come_at_even_distances_and_never_before_their_moment():
    signal = RateTriggerOptions(kind="rate", rate_hz=50).open()
    moments = []
    for trigger in itertools.islice(signal.events(threading.Event()), 5):
        assert trigger.at_ns <= time.monotonic_ns()
        assert trigger.part_id is None
        moments.append(trigger.at_ns)
    distances = {round((after - before) / 20_000_000, 6) for before, after in itertools.pairwise(moments)}
    assert all(distance >= 1 and distance == round(distance) for distance in distances)


def test_stop_ends_a_slow_beat_at_once():
    stop = threading.Event()
    signal = RateTriggerOptions(kind="rate", rate_hz=0.001).open()
    threading.Timer(0.05, stop.set).start()
    assert list(signal.events(stop)) == []


@pytest.mark.parametrize("rate_hz", [0, -1, 1001])
def test_an_impossible_rate_is_refused(rate_hz: float):
    with pytest.raises(ValidationError, match="rate_hz"):
        RateTriggerOptions(kind="rate", rate_hz=rate_hz)
