from __future__ import annotations

import threading

from stream.core.verdict import Verdict
from stream.devices.actuators.actuator import RejectCommand
from stream.sink.encoder_thread import EncoderThread
from stream.sink.policy.shift_register import Tracked


class StandingBelt:
    """An encoder that always reads the same count."""

    def __init__(self) -> None:
        self.was_read = threading.Event()
        self.closed = False

    def read(self) -> int:
        self.was_read.set()
        return 7

    def close(self) -> None:
        self.closed = True


def test_stopping_ends_the_thread_closes_the_encoder_and_reports_what_was_tracked_as_lost():
    encoder = StandingBelt()
    thread = EncoderThread("belt", encoder, poll_ms=1, wrap=65_536, outputs={})
    command = RejectCommand("cap", 3, None, Verdict.DEFECT, None, planned_ns=0, tolerance_ns=0, pulse_ns=1)
    thread.start()
    assert encoder.was_read.wait(10)
    thread.track(Tracked(command, captured_ns=2**62, transport_counts=10, tolerance_counts=1))
    thread.end()
    assert not thread.is_alive()
    assert encoder.closed
    assert thread.lost() == [(command, "the line was stopped")]
    assert thread.idle
