"""A sink alone on bad days: killed at any moment, flooded, or given wrong numbers."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
import pytest
from support.listening import free_port
from support.sinks import INPUT, JPEG, SinkAlone, socket_folder

from stream.core.parts import LedgerCounts
from stream.core.verdict import Cause, Verdict
from stream.sink.policy.ledger import MAX_AHEAD
from stream.store.event_reader import EventReader
from stream.store.records import Event


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[SinkAlone]:
    with socket_folder() as addresses:
        alone = SinkAlone(tmp_path, addresses)
        try:
            yield alone
        finally:
            alone.close()


def check_that_every_counted_part_has_its_event(counts: LedgerCounts, events: dict[int, Event]) -> None:
    verdicts = [event.part.cause or event.part.verdict for event in events.values()]
    expected = {Verdict.GOOD: counts.good, Verdict.DEFECT: counts.defect, **counts.uninspected}
    assert {each: count for each, count in expected.items() if count} == {
        each: verdicts.count(each) for each in set(verdicts)
    }
    assert not set(counts.pending) & set(events)


def test_parts_judged_while_an_earlier_one_is_pending_have_their_events_after_a_kill(sink: SinkAlone):
    sink.start()
    sink.announce(0, 1, 2)
    sink.result(1, Verdict.GOOD, 1.0)
    sink.result(2, Verdict.DEFECT, 12.5)
    sink.wait_for(lambda counts: counts.good == counts.defect == 1)
    sink.kill()
    counts, events = sink.stored()
    assert (counts.good, counts.defect, counts.pending) == (1, 1, (0,))
    assert sorted(events) == [1, 2]
    with EventReader.open(sink.store) as store:
        images, pixels = store.images(events[2].event_id), store.network_input(events[2].event_id)
    assert (events[2].part.verdict, events[2].part.score, images.preview_jpeg) == (Verdict.DEFECT, 12.5, JPEG)
    np.testing.assert_array_equal(pixels, INPUT)

    sink.start()
    sink.wait_for(lambda counts: not counts.pending)
    counts, events = sink.stored()
    assert (counts.good, counts.defect, counts.uninspected) == (1, 1, {Cause.SINK_DOWN: 1})
    assert events[0].part.cause is Cause.SINK_DOWN
    assert events[2].part.verdict is Verdict.DEFECT


def test_a_sink_killed_at_any_moment_has_an_event_for_every_part_that_it_counts(sink: SinkAlone):
    first = 0
    for life in range(3):
        sink.start()
        announced = range(first, first + 60)
        sink.announce(*announced)
        for seq in announced:
            if seq % 3:  # every third stays pending
                sink.result(seq, Verdict.DEFECT if seq % 2 else Verdict.GOOD, float(seq))
        known = first + 20 * (life + 1)
        sink.wait_for(lambda counts, known=known: counts.next_seq >= known and counts.good + counts.defect > 0)
        sink.kill()
        counts, events = sink.stored()
        assert counts.closed
        check_that_every_counted_part_has_its_event(counts, events)
        first += 60


def test_one_result_numbered_far_ahead_is_refused_with_an_alarm_and_later_sinks_start_at_once(sink: SinkAlone):
    sink.start()
    sink.announce(0)
    sink.result(0, Verdict.GOOD, 1.0)
    sink.result(50_000_000, Verdict.GOOD, 1.0)
    sink.result(MAX_AHEAD, Verdict.GOOD, 1.0)
    sink.wait_for(lambda counts: counts.good == 2)
    sink.kill()
    with EventReader.open(sink.store) as store:
        assert any("50000000 is too far ahead" in alarm.text for alarm in store.alarms())
    for life in (1, 2):
        sink.start()
        sink.announce(life)
        sink.result(life, Verdict.GOOD, 1.0)
        sink.wait_for(lambda counts, life=life: counts.good == 2 + life)
        sink.kill()
    counts, events = sink.stored()
    assert (counts.announced, counts.good, counts.uninspected) == (4, 4, {})
    assert sorted(events) == [0, 1, 2, MAX_AHEAD]


def test_one_announcement_ahead_of_all_others_makes_none_of_them_come_again(sink: SinkAlone):
    sink.start()
    sink.announce(0, 5_000, 50_000_000, *range(1, 200))
    for seq in range(200):
        sink.result(seq, Verdict.GOOD, 1.0)
    sink.wait_for(lambda counts: counts.good == 200)
    counts, _ = sink.stored()
    assert (counts.announced, counts.pending) == (201, (5_000,))
    assert counts.uninspected == {}


def test_half_open_requests_to_the_metrics_leave_the_sink_its_files_and_its_workers(sink: SinkAlone):
    port = free_port()
    sink.start(metrics={"listen": f"127.0.0.1:{port}"}, open_files=300)
    sink.announce(0)
    sink.wait_for(lambda counts: counts.announced == 1)
    with ExitStack() as stack:
        for _ in range(400):
            half = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            half.sendall(b"GET /metrics HT")
        assert psutil.Process(sink.process.pid).num_fds() < 150
        sink.reconnect()
        sink.announce(1)
        sink.result(1, Verdict.GOOD, 1.0)
        sink.wait_for(lambda counts: counts.good == 1)
    soft, hard = psutil.Process(sink.process.pid).rlimit(resource.RLIMIT_NOFILE)
    assert soft == hard
