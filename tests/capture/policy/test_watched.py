from __future__ import annotations

from stream.capture.policy.watched import WATCHED_NS, WatchedParts

S = 1_000_000_000


def test_of_a_line_that_nobody_watches_no_part_is_watched():
    watched = WatchedParts(["cap"])
    assert not watched.takes("cap", None, S)
    assert not watched.takes("cap", S, S + WATCHED_NS)


def test_of_a_watched_line_as_many_parts_are_watched_as_an_eye_can_follow():
    watched = WatchedParts(["cap", "lid"])
    times_ns = [S + tick * S // 100 for tick in range(100)]
    taken = {name: sum(watched.takes(name, time_ns, time_ns) for time_ns in times_ns) for name in ("cap", "lid")}
    assert taken == {"cap": 16, "lid": 16}
