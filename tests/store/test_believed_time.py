from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.store.believed_time import BelievedTime, believed

S = 1_000_000_000
DAY = 86_400 * S
NOW = 1_700_000_000 * S


class Host:
    """A host with an uptime and a real-time clock, and a store on it that looks at both."""

    def __init__(self, newest_ns: int | None = None) -> None:
        self.boot, self.uptime_ns, self.realtime_ns = 0, 1_000 * S, NOW
        self.newest_ns = newest_ns
        self.known: BelievedTime | None = None
        self.look()

    def look(self) -> int:
        """The date that is believed, less the one at the beginning."""
        self.known = believed(self.known, f"boot {self.boot}", self.uptime_ns, self.realtime_ns, self.newest_ns)
        return self.known.realtime_ns - NOW

    def run(self, time_ns: int, every_ns: int = 600 * S) -> int:
        for _ in range(time_ns // every_ns):
            self.uptime_ns += every_ns
            self.realtime_ns += every_ns
            self.look()
        return self.look()

    def reboot(self, off_ns: int) -> int:
        self.boot += 1
        self.uptime_ns = 20 * S
        self.realtime_ns += off_ns
        return self.look()


def test_while_the_clock_runs_evenly_its_date_is_believed():
    assert Host().run(40 * DAY) == 40 * DAY


def test_a_clock_that_steps_ahead_is_not_believed_and_time_goes_on():
    host = Host()
    host.realtime_ns += 31 * DAY
    assert host.look() == 0
    assert host.run(3_600 * S) == 3_600 * S


def test_a_new_date_is_believed_once_the_clock_has_kept_it_for_a_day():
    host = Host()
    host.realtime_ns += 31 * DAY
    host.look()
    assert host.run(DAY - 600 * S) == DAY - 600 * S
    assert host.run(600 * S) == 32 * DAY


def test_a_step_there_and_back_changes_nothing():
    host = Host()
    host.realtime_ns += 31 * DAY
    host.run(3_600 * S)
    host.realtime_ns -= 31 * DAY
    assert host.run(2 * DAY) == 2 * DAY + 3_600 * S


def test_a_clock_that_is_slewed_is_no_step():
    host = Host()
    for _ in range(144 * 3):
        host.realtime_ns += S // 4
        host.run(600 * S)
    assert host.look() == 3 * DAY + 108 * S


def test_nights_and_weekends_in_which_the_host_is_off_count():
    host = Host()
    host.run(DAY)
    assert host.reboot(2 * DAY) == 3 * DAY


def test_a_boot_with_a_date_far_ahead_is_believed_after_a_day():
    host = Host()
    assert host.reboot(31 * DAY) == 0
    assert host.run(DAY - 600 * S) == DAY - 600 * S
    assert host.run(600 * S) == 32 * DAY


def test_a_boot_with_a_date_in_the_past_takes_nothing_back():
    host = Host()
    assert host.reboot(-50 * 365 * DAY) == 0


def test_a_store_without_a_date_begins_with_its_newest_entry():
    host = Host(newest_ns=NOW - 5 * DAY)
    assert host.look() == -5 * DAY
    assert Host(newest_ns=NOW + 5 * DAY).look() == 0


@given(st.lists(st.tuples(st.integers(-400, 400), st.integers(1, 23)), max_size=20))
def test_within_one_boot_steps_never_make_more_time_pass_than_did(steps: list[tuple[int, int]]):
    host = Host()
    passed = 0
    for days, hours in steps:
        host.realtime_ns += days * DAY + 3_600 * S  # a step each time
        host.look()
        assert host.run(hours * 3_600 * S) == (passed := passed + hours * 3_600 * S)
