from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.core.clock import Clock
from stream.core.clock_skew import ClockExchange, PeerClock

MS = 1_000_000
HERE = Clock("here", 1_700_000_000_000 * MS)
#: The peer has been up for longer than this host, by this much.
AHEAD = 777_000 * MS


def peer(skew_ms: float = 0.0) -> Clock:
    """The peer's clock, whose real time is ahead by `skew_ms`."""
    return Clock("there", HERE.realtime_offset_ns - AHEAD + round(skew_ms * MS))


def exchange(at_ms: float, out_ms: float, back_ms: float, work_ms: float = 0.0) -> ClockExchange:
    """A question asked at `at_ms`, with the durations of its ways."""
    asked = round(at_ms * MS)
    received = asked + round(out_ms * MS) + AHEAD
    answered = received + round(work_ms * MS)
    return ClockExchange(asked, received, answered, answered - AHEAD + round(back_ms * MS))


def measured(*exchanges: ClockExchange) -> PeerClock:
    clock = PeerClock()
    for item in exchanges:
        clock.add("there", item)
    return clock


def test_the_offset_is_right_when_both_ways_take_equally_long_and_the_peer_takes_its_time():
    item = exchange(10, 3, 3, work_ms=200)
    assert (item.offset_ns, item.delay_ns) == (AHEAD, 6 * MS)


def test_the_skew_is_the_difference_of_real_times():
    clock = measured(exchange(10, 1, 1))
    for skew_ms in (0, 0.5, -200, 200, 31 * 86_400_000):
        assert clock.skew_ns(peer(skew_ms), HERE) == round(skew_ms * MS)


def test_the_exchange_with_the_least_delay_is_believed():
    clock = measured(exchange(0, 1, 90), exchange(100, 0.2, 0.3), exchange(200, 60, 1))
    skew = clock.skew_ns(peer(), HERE)
    assert skew is not None
    assert abs(skew) <= 0.25 * MS


def test_a_step_of_a_real_time_clock_shows_in_the_next_message():
    clock = measured(*(exchange(at_ms, 0.1, 0.1) for at_ms in range(0, 4_000, 250)))
    assert clock.skew_ns(peer(0), HERE) == 0
    assert clock.skew_ns(peer(-200), HERE) == -200 * MS
    stepped_here = Clock("here", HERE.realtime_offset_ns + 3_600_000 * MS)
    assert clock.skew_ns(peer(0), stepped_here) == -3_600_000 * MS


def test_on_one_host_there_is_no_skew_whatever_happens_to_real_time():
    clock = PeerClock()
    assert clock.skew_ns(Clock("here", HERE.realtime_offset_ns + 31 * 86_400_000 * MS), HERE) == 0
    assert clock.to_local_ns(42, Clock("here", 0), HERE) == 42


def test_without_an_exchange_the_skew_is_unknown_and_real_time_translates():
    clock = PeerClock()
    assert clock.skew_ns(peer(), HERE) is None
    assert clock.to_local_ns(AHEAD + 5, peer(), HERE) == 5


def test_the_measured_offset_translates_times_however_wrong_real_time_is():
    clock = measured(exchange(10, 1, 1))
    assert clock.to_local_ns(AHEAD + 5, peer(-400), HERE) == 5


def test_a_host_that_was_started_again_is_measured_again():
    clock = measured(exchange(10, 1, 1))
    assert clock.skew_ns(Clock("another boot", 5), HERE) is None
    clock.add("another boot", ClockExchange(0, 5, 5, 0))
    assert clock.exchanges == 1
    assert clock.skew_ns(peer(), HERE) is None


def test_answers_that_run_backwards_are_left_out():
    clock = measured(ClockExchange(10, 20, 19, 30), ClockExchange(10, 20, 20, 9))
    assert clock.skew_ns(peer(), HERE) is None


@given(
    ways_ms=st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500)), min_size=1, max_size=40),
    skew_ms=st.floats(-1e6, 1e6),
)
def test_the_error_is_at_most_half_of_the_least_delay(ways_ms: list[tuple[float, float]], skew_ms: float):
    clock = measured(*(exchange(at * 1_000, *ways) for at, ways in enumerate(ways_ms)))
    skew = clock.skew_ns(peer(skew_ms), HERE)
    assert skew is not None
    assert abs(skew - round(skew_ms * MS)) <= min(sum(ways) for ways in ways_ms[-16:]) / 2 * MS + 2
