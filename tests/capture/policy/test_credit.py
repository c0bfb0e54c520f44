from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.capture.policy.credit import OVERDUE_NS, Credit
from stream.transport.messages import CreditGrant

ALICE, BOB = b"\x00alice", b"\x00bob"
EPOCH = "this capture process"


def grant(received: int = 0, free: int = 3, *, idle: bool = False, epoch: str = EPOCH) -> CreditGrant:
    return CreditGrant("worker0", epoch, received, free, idle)


def credit(**workers: CreditGrant) -> Credit:
    """What capture knows after one grant of each of these workers, alice and bob."""
    known = Credit(EPOCH)
    for name, message in workers.items():
        known.update(b"\x00" + name.encode(), message)
    return known


def handed_out(known: Credit) -> list[bytes]:
    """The workers that get frames until none has room."""
    workers = []
    while (worker := known.best_worker()) is not None:
        assert len(workers) < 100, "room without end"
        known.count_sent(worker, 0)
        workers.append(worker)
    return workers


def test_no_worker_gets_a_frame_before_its_first_grant():
    assert Credit(EPOCH).best_worker() is None
    assert Credit(EPOCH).idle_worker() is None
    assert credit(alice=grant(free=0)).best_worker() is None


def test_a_worker_gets_as_many_frames_as_it_has_room_for():
    assert handed_out(credit(alice=grant(free=3))) == [ALICE] * 3


def test_frames_on_their_way_count_against_the_room():
    known = credit(alice=grant(free=3))
    known.count_sent(ALICE, 0)
    known.count_sent(ALICE, 0)
    known.update(ALICE, grant(received=0, free=3))  # granted before the two had arrived
    assert handed_out(known) == [ALICE]
    known.update(ALICE, grant(received=1, free=2))
    assert known.best_worker() is None, "two are still on their way"
    known.update(ALICE, grant(received=3, free=2))
    assert handed_out(known) == [ALICE] * 2


def test_a_repeated_grant_is_no_second_grant():
    known = credit(alice=grant(free=1))
    known.count_sent(ALICE, 0)
    for _ in range(5):
        known.update(ALICE, grant(received=0, free=1))
    assert known.best_worker() is None


def test_a_lost_grant_is_made_up_for_by_the_next():
    known = credit(alice=grant(free=2))
    known.count_sent(ALICE, 0)
    known.count_sent(ALICE, 0)
    known.update(ALICE, grant(received=2, free=2))  # the grant after the first frame was lost
    assert handed_out(known) == [ALICE] * 2


def test_the_worker_with_most_room_is_served_first():
    known = credit(alice=grant(free=1), bob=grant(free=3))
    assert handed_out(known)[:2] == [BOB, BOB]


def test_two_workers_with_equal_room_take_turns():
    workers = handed_out(credit(alice=grant(free=4), bob=grant(free=4)))
    assert workers.count(ALICE) == workers.count(BOB) == 4
    assert all({first, second} == {ALICE, BOB} for first, second in zip(workers[::2], workers[1::2], strict=True))


def test_two_workers_that_answer_at_once_share_the_frames():
    known = credit(alice=grant(free=1), bob=grant(free=1))
    received = {ALICE: 0, BOB: 0}
    for _ in range(100):
        worker = known.best_worker()
        known.count_sent(worker, 0)
        received[worker] += 1
        known.update(worker, grant(received=received[worker], free=1))
    assert received == {ALICE: 50, BOB: 50}


def test_a_free_running_frame_goes_to_a_worker_that_has_nothing_to_do():
    known = credit(alice=grant(free=5), bob=grant(free=1, idle=True))
    assert known.idle_worker() == BOB


def test_a_worker_to_which_a_frame_is_on_its_way_is_not_idle():
    known = credit(alice=grant(free=5, idle=True))
    known.count_sent(ALICE, 0)
    assert known.idle_worker() is None
    known.update(ALICE, grant(received=0, free=5, idle=True))
    assert known.idle_worker() is None, "it does not know yet of the frame"
    known.update(ALICE, grant(received=1, free=4, idle=False))
    assert known.idle_worker() is None
    known.update(ALICE, grant(received=1, free=5, idle=True))
    assert known.idle_worker() == ALICE


def test_idle_workers_take_turns():
    known = credit(alice=grant(idle=True), bob=grant(idle=True))
    first = known.idle_worker()
    known.count_sent(first, 0)
    known.update(first, grant(received=1, idle=True))
    assert known.idle_worker() == ({ALICE, BOB} - {first}).pop()


def test_after_a_restart_of_capture_frames_of_its_predecessor_do_not_count():
    known = credit(alice=grant(received=4_000, free=2, epoch="the capture process before"))
    assert handed_out(known) == [ALICE] * 2
    known.update(ALICE, grant(received=4_000, free=2, epoch="the capture process before"))
    assert known.best_worker() is None, "it has not received the first of ours"
    known.update(ALICE, grant(received=1, free=2))
    assert handed_out(known) == [ALICE]


def test_an_idle_worker_is_idle_for_a_new_capture_too():
    assert credit(alice=grant(received=4_000, idle=True, epoch="the capture process before")).idle_worker() == ALICE


def test_a_restarted_worker_is_another_one_and_its_predecessor_is_removed():
    known = credit(alice=grant(free=3))
    known.count_sent(ALICE, 0)
    known.update(BOB, grant(received=0, free=3))  # the same worker under its new identity
    known.remove(ALICE)
    assert handed_out(known) == [BOB] * 3
    known.remove(ALICE)  # twice does no harm


def test_a_worker_on_a_new_connection_gets_no_more_than_its_room():
    """It has counted the frames of the old connection, which capture has not sent to this identity."""
    known = credit(alice=grant(free=3))
    for received in range(1, 1_001):
        known.count_sent(ALICE, 0)
        known.update(ALICE, grant(received=received, free=3))
    known.remove(ALICE)
    known.update(BOB, grant(received=1_000, free=3))
    assert handed_out(known) == [BOB] * 3


def test_a_worker_on_a_new_connection_is_idle_again():
    known = credit(bob=grant(received=1_000, free=3, idle=True))
    assert known.idle_worker() == BOB


def test_frames_of_the_old_connection_may_be_read_after_the_first_grant_of_the_new_one():
    """They arrived while the worker was busy and are read only now; capture never sent them to this identity."""
    known = credit(bob=grant(received=1_000, free=3))
    known.update(BOB, grant(received=1_002, free=1))
    assert handed_out(known) == [BOB]
    known.update(BOB, grant(received=1_003, free=3, idle=True))
    assert known.idle_worker() == BOB


@given(st.lists(st.sampled_from(["send", "receive", "finish", "grant", "update"]), max_size=120), st.integers(1, 5))
def test_a_worker_never_holds_more_than_its_room_however_messages_interleave(steps: list[str], room: int):
    """One worker with `room` places; frames and grants may be under way for any time, and arrive in order."""
    known = Credit(EPOCH)
    received = held = on_the_way = 0
    grants = [grant(free=room)]
    for step in steps:
        if step == "send" and (worker := known.best_worker()) is not None:
            known.count_sent(worker, 0)
            on_the_way += 1
        elif step == "receive" and on_the_way:
            on_the_way -= 1
            received += 1
            held += 1
        elif step == "finish" and held:
            held -= 1
        elif step == "grant":
            grants.append(grant(received=received, free=room - held))
        elif step == "update" and grants:
            known.update(ALICE, grants.pop(0))
        assert held + on_the_way <= room


def test_an_idle_worker_comes_before_a_busy_one_with_more_room():
    known = credit(alice=grant(free=9, idle=True), bob=grant(free=2, idle=True))
    assert known.best_worker() == ALICE
    known.count_sent(ALICE, 0)
    assert known.best_worker() == BOB, "alice has room for eight more, bob has nothing to do"
    known.count_sent(BOB, 0)
    assert known.best_worker() == ALICE


def test_a_frame_goes_to_a_worker_that_holds_its_bundle_or_to_any_if_none_does():
    old, new = (
        CreditGrant("worker0", EPOCH, 0, 3, True, {"cap": ("old",)}),
        CreditGrant("worker1", EPOCH, 0, 3, True, {"cap": ("new",)}),
    )
    known = credit(alice=old, bob=new)
    assert (known.best_worker(("cap", "old")), known.idle_worker(("cap", "old"))) == (ALICE, ALICE)
    assert (known.best_worker(("cap", "new")), known.idle_worker(("cap", "new"))) == (BOB, BOB)
    for _ in range(3):
        known.count_sent(BOB, 0)
    assert known.best_worker(("cap", "new")) is None, "alice has room, but not for this bundle"
    assert known.best_worker(("cap", "newest")) == ALICE
    assert known.idle_worker(("cap", "old"), ("cap", "new")) == ALICE


S = 1_000_000_000


def granted(known: Credit, times: int, **fields: int) -> None:
    for _ in range(times):
        known.update(ALICE, grant(**fields))


def test_credit_of_frames_that_a_talking_worker_never_counts_comes_back():
    known = credit(alice=grant(free=2))
    known.count_sent(ALICE, 0)
    known.count_sent(ALICE, S // 2)
    granted(known, 9, received=0, free=2)
    assert known.best_worker() is None
    assert known.forget_overdue(OVERDUE_NS - 1) == 0
    assert known.forget_overdue(OVERDUE_NS) == 1
    assert handed_out(known) == [ALICE]
    assert known.forget_overdue(OVERDUE_NS + S // 2) == 1


def test_a_silent_worker_keeps_its_frames():
    known = credit(alice=grant(free=2))
    known.count_sent(ALICE, 0)
    granted(known, 2, received=0, free=2)
    assert known.forget_overdue(60 * S) == 0


def test_a_frame_counted_after_all_takes_its_credit_again():
    known = credit(alice=grant(free=1))
    known.count_sent(ALICE, 0)
    granted(known, 3, received=0, free=1)
    assert known.forget_overdue(OVERDUE_NS) == 1
    known.update(ALICE, grant(received=1, free=0))
    assert known.best_worker() is None
    known.update(ALICE, grant(received=1, free=1))
    assert handed_out(known) == [ALICE]


def test_counted_frames_are_not_overdue():
    known = credit(alice=grant(free=3))
    for received in range(1, 100):
        known.count_sent(ALICE, 0)
        known.update(ALICE, grant(received=received, free=3))
    assert known.forget_overdue(60 * S) == 0
    assert handed_out(known) == [ALICE] * 3
