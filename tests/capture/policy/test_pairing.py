from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stream.capture.policy.pairing import MAX_WAITING, Paired, Pairing, TriggerDebounce
from stream.core.verdict import Cause
from stream.devices.triggers.trigger import TriggerEvent

MS = 1_000_000
WAIT_NS = 100 * MS


def names(parts: list[Paired[str]]) -> list[tuple[str | None, str | None]]:
    return [(part.trigger.part_id, part.frame) for part in parts]


def test_a_trigger_takes_the_first_frame_exposed_at_or_after_it():
    pairing: Pairing[str] = Pairing(WAIT_NS)
    assert pairing.frame(5 * MS, "before") == []
    assert pairing.trigger(TriggerEvent(10 * MS, "a")) == []
    assert names(pairing.frame(10 * MS, "at")) == [("a", "at")]
    assert pairing.frame(15 * MS, "after") == []


def test_frames_without_a_trigger_are_no_parts():
    pairing: Pairing[str] = Pairing(WAIT_NS)
    assert [pairing.frame(ms * MS, str(ms)) for ms in range(10)] == [[]] * 10
    assert pairing.end() == []


def test_two_triggers_before_the_same_exposure_are_two_parts_of_that_frame():
    pairing: Pairing[str] = Pairing(WAIT_NS)
    pairing.trigger(TriggerEvent(1 * MS, "a"))
    pairing.trigger(TriggerEvent(2 * MS, "b"))
    assert names(pairing.frame(3 * MS, "both")) == [("a", "both"), ("b", "both")]
    assert pairing.frame(4 * MS, "next") == []


def test_a_trigger_received_after_its_frame_still_takes_it():
    pairing: Pairing[str] = Pairing(WAIT_NS)
    for ms in (10, 20, 30):
        pairing.frame(ms * MS, str(ms))
    assert names(pairing.trigger(TriggerEvent(15 * MS, "late"))) == [("late", "20")]


def test_a_trigger_whose_frame_has_been_dropped_does_not_take_a_later_one():
    pairing: Pairing[str] = Pairing(WAIT_NS)
    for ms in range(10, 200, 10):
        pairing.frame(ms * MS, str(ms))
    (part,) = pairing.trigger(TriggerEvent(15 * MS, "a"))
    assert part.frame is None
    assert part.cause is Cause.CAMERA_FAULT


def test_a_trigger_without_a_frame_in_time_is_a_part_without_one():
    pairing: Pairing[str] = Pairing(WAIT_NS)
    pairing.trigger(TriggerEvent(1 * MS, "a"))
    assert pairing.next_expiry_ns == 101 * MS
    assert pairing.expire(101 * MS) == []
    (part,) = pairing.expire(101 * MS + 1)
    assert (part.trigger.part_id, part.frame, part.cause) == ("a", None, Cause.CAMERA_FAULT)
    assert "100 ms" in part.reason
    assert pairing.frame(102 * MS, "too late") == []
    assert pairing.next_expiry_ns is None


def test_a_frame_exposed_after_the_wait_belongs_to_no_trigger_even_before_it_has_expired():
    pairing: Pairing[str] = Pairing(WAIT_NS)
    pairing.trigger(TriggerEvent(1 * MS, "a"))
    assert pairing.frame(102 * MS, "too late") == []
    assert len(pairing.expire(103 * MS)) == 1


def test_a_trigger_whose_moment_is_not_known_takes_no_frame():
    pairing: Pairing[str] = Pairing(WAIT_NS)
    pairing.frame(20 * MS, "there")
    (part,) = pairing.trigger(TriggerEvent(10 * MS, "a", fault="the connection was lost"))
    assert (part.frame, part.cause, part.reason) == (None, Cause.CAMERA_FAULT, "the connection was lost")


def test_where_each_trigger_exposes_a_frame_no_frame_is_taken_twice():
    pairing: Pairing[str] = Pairing(WAIT_NS, software_trigger=True)
    pairing.trigger(TriggerEvent(1 * MS, "a"))
    pairing.trigger(TriggerEvent(10 * MS, "b"))
    # The first frame was lost: one exposed after the second trigger belongs to the second.
    assert names(pairing.frame(12 * MS, "b's")) == [("a", None), ("b", "b's")]


def test_where_each_trigger_exposes_a_frame_an_old_frame_belongs_to_no_trigger():
    pairing: Pairing[str] = Pairing(WAIT_NS, software_trigger=True)
    pairing.frame(12 * MS, "stray")
    assert pairing.trigger(TriggerEvent(11 * MS, "a")) == []


def test_a_trigger_that_is_given_up_is_a_part_once():
    pairing: Pairing[str] = Pairing(WAIT_NS)
    lost, kept = TriggerEvent(1 * MS, "a"), TriggerEvent(1 * MS, "b")
    pairing.trigger(lost)
    pairing.trigger(kept)
    assert names(pairing.give_up(lost, "does not expose")) == [("a", None)]
    assert pairing.give_up(lost, "again") == []
    assert names(pairing.frame(2 * MS, "frame")) == [("b", "frame")]


def test_a_flood_of_triggers_is_announced_as_overrun():
    pairing: Pairing[str] = Pairing(WAIT_NS)
    for number in range(MAX_WAITING):
        assert pairing.trigger(TriggerEvent(number)) == []
    (part,) = pairing.trigger(TriggerEvent(MAX_WAITING))
    assert part.cause is Cause.OVERRUN


def test_a_repetition_is_no_part_but_another_part_id_is():
    debounce = TriggerDebounce(10 * MS)
    assert debounce.is_new(TriggerEvent(0))
    assert not debounce.is_new(TriggerEvent(4 * MS))
    assert debounce.is_new(TriggerEvent(10 * MS)), "counted from the last new event, not from its repetition"
    assert debounce.is_new(TriggerEvent(11 * MS, "a"))
    assert debounce.is_new(TriggerEvent(12 * MS, "b"))
    assert not debounce.is_new(TriggerEvent(13 * MS, "b"))


def test_without_debouncing_every_event_is_a_part():
    debounce = TriggerDebounce(0)
    assert all(debounce.is_new(TriggerEvent(5 * MS)) for _ in range(3))


steps = st.lists(
    st.tuples(st.sampled_from(["trigger", "frame", "expire"]), st.integers(0, 60), st.integers(0, 80)), max_size=80
)


@given(steps, st.booleans())
def test_every_trigger_ends_in_exactly_one_part_and_never_in_an_earlier_or_late_frame(
    steps: list[tuple[str, int, int]], software_trigger: bool
):
    pairing: Pairing[int] = Pairing(WAIT_NS, software_trigger=software_trigger)
    now_ns, exposed_ns, triggers = 0, -1, []
    exposures: list[int] = []
    parts: list[Paired[int]] = []
    for what, pause_ms, age_ms in steps:
        now_ns += pause_ms * MS
        if what == "trigger":
            triggers.append(TriggerEvent(max(0, now_ns - age_ms * MS), f"{len(triggers)}"))
            parts += pairing.trigger(triggers[-1])
        elif what == "frame":
            exposed_ns = max(exposed_ns + 1, now_ns - age_ms * MS)
            exposures.append(exposed_ns)
            parts += pairing.frame(exposed_ns, exposed_ns)
        else:
            parts += pairing.expire(now_ns)
    parts += pairing.end()
    assert Counter(part.trigger.part_id for part in parts) == Counter(trigger.part_id for trigger in triggers)
    for part in parts:
        if part.frame is not None:
            at_ns = part.trigger.at_ns
            assert at_ns <= part.frame <= at_ns + WAIT_NS
            if not software_trigger:
                assert part.frame == min(exposed for exposed in exposures if exposed >= at_ns)
        else:
            assert part.reason
    if software_trigger:
        assert max(Counter(part.frame for part in parts if part.frame is not None).values(), default=1) == 1
