from __future__ import annotations

from stream.inference.policy.held_bundles import GRACE_NS, HeldBundles

S = 1_000_000_000
OLD, NEW, NEWER = "old", "new", "newer"


def held(*more: str) -> HeldBundles:
    known = HeldBundles(OLD, grace_ns=GRACE_NS, now_ns=0)
    for bundle_sha256 in more:
        known.load(bundle_sha256, 0)
    return known


def test_both_bundles_are_held_while_capture_wants_the_old_one():
    known = held(NEW)
    for second in range(100):
        known.on_wanted((OLD, NEW), second * S)
        assert known.release(second * S) == []
    assert known.bundle_sha256s == (OLD, NEW)


def test_the_old_bundle_is_released_when_no_frame_for_it_can_still_arrive():
    known = held(NEW)
    known.on_wanted((NEW,), S)
    known.use(OLD, 2 * S)  # a frame that was prepared before the switch
    assert known.release(2 * S + GRACE_NS - 1) == []
    assert known.release(2 * S + GRACE_NS) == [OLD]
    assert known.bundle_sha256s == (NEW,)


def test_nothing_is_released_before_the_first_message_of_capture():
    assert held(NEW).release(1_000 * S) == []


def test_a_bundle_that_was_never_used_is_released_when_a_later_one_was_loaded():
    known = held(NEW, NEWER)
    known.on_wanted((OLD, NEWER), 100 * S)
    assert known.release(100 * S) == [NEW]
    assert known.bundle_sha256s == (OLD, NEWER)


def test_the_last_bundle_loaded_stays_while_capture_may_still_propose_it():
    known = held(NEW)
    known.on_wanted((OLD,), 100 * S)
    assert known.release(100 * S) == []


def test_a_bundle_that_is_loaded_again_is_the_last_one_loaded():
    known = held(NEW)
    known.load(OLD, 10 * S)
    known.on_wanted((OLD,), 100 * S)
    assert known.release(100 * S) == [NEW]


def test_frames_for_a_bundle_that_is_not_held_change_nothing():
    known = held()
    known.use(NEW, 0)
    known.on_wanted((NEW,), 0)
    assert known.bundle_sha256s == (OLD,)
