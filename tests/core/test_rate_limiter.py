from __future__ import annotations

import pytest

from stream.core.rate_limiter import RateLimiter

S = 1_000_000_000


def test_one_event_is_allowed_in_each_interval():
    spacing = RateLimiter(S)
    assert [spacing.allows(now) for now in (0, S // 2, S - 1, S, S + 1, 5 * S)] == [
        *(True, False, False),
        *(True, False, True),
    ]


@pytest.mark.parametrize("parts_hz", [10, 14, 16, 17, 20, 24, 29, 31, 47, 200])
def test_of_faster_parts_nearly_as_many_are_allowed_as_intervals_pass(parts_hz: int):
    spacing = RateLimiter(S // 15)
    passed = sum(spacing.allows(number * S // parts_hz) for number in range(60 * parts_hz))
    assert min(13.5, 0.99 * parts_hz) <= passed / 60 <= 15.1
