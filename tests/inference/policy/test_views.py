from __future__ import annotations

from stream.core.clock import Clock
from stream.inference.policy.batching import QueuedFrame
from stream.inference.policy.views import passes_on
from stream.transport.messages import FrameHeader, FrameStamps

MS = 1_000_000
#: What this host's clock is ahead of the camera's.
AHEAD_NS = 5_000 * MS


def part(*, watched: bool = False) -> QueuedFrame:
    """A part exposed at 0 and due after 200 ms, by its camera's clock."""
    header = FrameHeader(
        station="cap",
        seq=7,
        captured_ns=0,
        deadline_ns=200 * MS,
        mode="triggered",
        bundle_sha256="0f3c",
        height_px=2,
        width_px=2,
        region_px=(2, 2),
        siblings=1,
        epoch="top",
        stamps=FrameStamps(0, 0, 0),
        clock=Clock("boot", 0),
        view_shape=(2, 2, 3),
        watched=watched,
    )
    return QueuedFrame(header, bytes(12), bytes(12), 200 * MS + AHEAD_NS, AHEAD_NS, "lite0")


def test_the_view_of_a_good_part_that_nobody_wants_is_dropped():
    assert not passes_on(part(), kept=False, now_ns=AHEAD_NS + 20 * MS)


def test_the_view_of_a_part_that_is_kept_or_watched_is_passed_on():
    assert passes_on(part(), kept=True, now_ns=AHEAD_NS + 20 * MS)
    assert passes_on(part(watched=True), kept=False, now_ns=AHEAD_NS + 20 * MS)


def test_the_view_of_a_late_part_is_passed_on_since_its_verdict_may_come_too_late():
    assert not passes_on(part(), kept=False, now_ns=AHEAD_NS + 100 * MS)
    assert passes_on(part(), kept=False, now_ns=AHEAD_NS + 101 * MS)
