from __future__ import annotations

import pytest

from stream.dashboard.login_throttle import LoginThrottle, Sender

STRANGER = Sender("10.0.0.7", known=False)
KNOWN = Sender("10.0.0.8", known=True)
NOW_S = 1000.0


def tried(throttle: LoginThrottle, sender: Sender, name: str, times: int, now_s: float = NOW_S) -> list[float]:
    return [throttle.wait_s(sender, name, now_s) for _ in range(times)]


def test_five_guesses_then_waits_that_grow_up_to_five_minutes():
    throttle, now_s = LoginThrottle(), NOW_S
    assert tried(throttle, STRANGER, "anna", 5) == [0.0] * 5
    waits = []
    for _ in range(9):
        wait_s = throttle.wait_s(STRANGER, "anna", now_s)
        waits.append(wait_s)
        now_s += wait_s
        assert throttle.wait_s(STRANGER, "anna", now_s) == 0.0
    assert waits == pytest.approx([10, 20, 40, 80, 160, 300, 300, 300, 300])


def test_guesses_of_one_address_delay_nobody_at_another_one():
    throttle = LoginThrottle()
    for name in ("anna", "otto", "anna"):
        tried(throttle, STRANGER, name, 20)
    assert tried(throttle, Sender("10.0.0.9", known=False), "anna", 5) == [0.0] * 5


def test_guesses_of_many_addresses_never_lock_a_name_where_its_user_is_known():
    throttle = LoginThrottle()
    for host in range(250):
        tried(throttle, Sender(f"10.0.1.{host}", known=False), "anna", 5)
    assert throttle.wait_s(STRANGER, "anna", NOW_S) > 0, "a stranger waits"
    assert tried(throttle, KNOWN, "anna", 5) == [0.0] * 5


def test_a_stranger_waits_seconds_for_a_name_that_is_guessed_not_for_ever():
    throttle = LoginThrottle()
    for host in range(250):
        tried(throttle, Sender(f"10.0.1.{host}", known=False), "anna", 5)
    wait_s = throttle.wait_s(STRANGER, "anna", NOW_S)
    assert 0 < wait_s < 10
    assert throttle.wait_s(STRANGER, "anna", NOW_S + wait_s + 1e-6) == 0.0


def test_one_address_cannot_try_all_names():
    throttle = LoginThrottle()
    allowed = [throttle.wait_s(STRANGER, f"name{number}", NOW_S) for number in range(100)].count(0.0)
    assert 5 < allowed < 50


def test_the_right_password_gives_the_guesses_back():
    throttle = LoginThrottle()
    tried(throttle, STRANGER, "anna", 5)
    throttle.forget(STRANGER, "anna")
    assert tried(throttle, STRANGER, "anna", 5) == [0.0] * 5


def test_guesses_are_forgotten_after_an_hour():
    throttle = LoginThrottle()
    tried(throttle, STRANGER, "anna", 6)
    assert tried(throttle, STRANGER, "anna", 5, NOW_S + 3601) == [0.0] * 5


def test_guesses_from_ever_new_addresses_and_names_take_bounded_memory():
    throttle = LoginThrottle()
    for number in range(12_000):
        throttle.wait_s(Sender(str(number), known=False), str(number), NOW_S)
    assert len(throttle._tried) == 10_000
