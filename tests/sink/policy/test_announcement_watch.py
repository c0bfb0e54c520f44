from __future__ import annotations

from stream.sink.policy.announcement_watch import AnnouncementWatch

MS = 1_000_000


def test_frames_without_announcements_are_missed_after_two_seconds():
    watch = AnnouncementWatch(["top"])
    for at_ms in range(0, 3_000, 250):
        watch.status("top", at_ms * MS, at_ms * MS)
        assert watch.missing("top", at_ms * MS) == (at_ms >= 2_000)


def test_results_without_announcements_are_missed_after_two_seconds():
    watch = AnnouncementWatch(["top", "side"])
    for at_ms in range(0, 3_000, 50):
        watch.unannounced_result("top", at_ms * MS)
    assert watch.missing("top", 3_000 * MS)
    assert not watch.missing("side", 3_000 * MS)


def test_an_announcement_ends_it():
    watch = AnnouncementWatch(["top"])
    for at_ms in range(0, 3_000, 250):
        watch.status("top", at_ms * MS, at_ms * MS)
    watch.announced("top")
    assert not watch.missing("top", 3_001 * MS)


def test_a_camera_that_is_silent_or_slow_misses_nothing():
    watch = AnnouncementWatch(["top"])
    for at_ms in range(0, 60_000, 250):
        watch.status("top", None, at_ms * MS)
    assert not watch.missing("top", 60_000 * MS)
    for at_ms in range(0, 60_000, 250):
        watch.status("top", 5, at_ms * MS)  # one frame, whose part waits for a worker
    assert not watch.missing("top", 60_000 * MS)


def test_every_announced_frame_is_well_however_long():
    watch = AnnouncementWatch(["top"])
    for at_ms in range(0, 60_000, 250):
        watch.status("top", at_ms * MS, at_ms * MS)
        watch.announced("top")
        assert not watch.missing("top", at_ms * MS)
