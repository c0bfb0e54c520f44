"""A camera's parts begin with the whole line; not before, not twice, and not never."""

from __future__ import annotations

from stream.capture.policy.line_start import LineStart
from stream.transport.messages import CreditGrant

IN_USE = {"cap": "aa", "neck": "bb"}
GIVE_UP_NS = 1_000


def grant(worker: str, **accepts: tuple[str, ...]) -> CreditGrant:
    return CreditGrant(worker, "epoch", received=0, free=1, idle=True, accepts=accepts)


def waiting(*workers: str) -> LineStart:
    return LineStart(workers or ("worker0",), give_up_ns=GIVE_UP_NS)


def test_parts_begin_once_at_the_sinks_word():
    start = waiting("worker0", "worker1")
    for worker in ("worker0", "worker1"):
        start.on_credit(grant(worker, cap=("aa",), neck=("bb",)), IN_USE)
    assert not start.begins(1), "other cameras are not ready"
    start.line_ready = True
    assert start.begins(2)
    assert start.state == "begun"
    assert not start.begins(3)
    assert not start.begins(GIVE_UP_NS)


def test_a_worker_is_there_once_it_inspects_every_station_of_the_camera():
    start = waiting("worker0", "worker1")
    start.on_credit(grant("worker0", cap=("aa",)), IN_USE)
    start.on_credit(grant("worker1", cap=("aa",), neck=("b0",)), IN_USE)
    assert start.lacks == ("worker0", "worker1")
    start.on_credit(grant("worker1", cap=("aa",), neck=("b0", "bb")), IN_USE)
    assert start.lacks == ("worker0",)
    start.on_credit(grant("stranger", cap=("aa",), neck=("bb",)), IN_USE)
    assert start.lacks == ("worker0",)


def test_a_worker_that_died_after_the_sinks_word_holds_up_no_camera_but_one_must_be_there():
    start = waiting("worker0", "worker1")
    start.line_ready = True
    assert not start.begins(1)
    start.on_credit(grant("worker1", cap=("aa",), neck=("bb",)), IN_USE)
    assert start.begins(2)
    assert start.state == "begun"


def test_after_the_longest_wait_parts_begin_alone():
    start = waiting()
    assert not start.begins(GIVE_UP_NS - 1)
    assert start.begins(GIVE_UP_NS)
    assert start.state == "alone"
    assert not start.begins(GIVE_UP_NS + 1)


def test_a_run_whose_parts_have_begun_waits_for_nobody():
    start = LineStart(["worker0"], give_up_ns=None)
    assert start.state == "begun"
    assert not start.begins(0), "they do not begin again"
