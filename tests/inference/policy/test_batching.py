from __future__ import annotations

from stream.core.clock import Clock
from stream.core.verdict import Mode
from stream.inference.policy.batching import BatchQueue, QueuedFrame
from stream.transport.messages import FrameHeader, FrameStamps

MS = 1_000_000
WAIT_NS = 2 * MS


def frame(
    seq: int,
    station: str = "cap",
    *,
    deadline_ns: int = 100 * MS,
    received_ns: int = 0,
    group: str = "lite0",
    mode: Mode = "triggered",
    siblings: int = 9,
    epoch: str = "top",
) -> QueuedFrame:
    """A frame of a camera with so many siblings that, by default, some may still arrive."""
    header = FrameHeader(
        station=station,
        seq=seq,
        captured_ns=0,
        deadline_ns=deadline_ns,
        mode=mode,
        bundle_sha256="0f3c",
        height_px=2,
        width_px=2,
        region_px=(2, 2),
        siblings=siblings,
        epoch=epoch,
        stamps=FrameStamps(0, 0, 0),
        clock=Clock("boot", 0),
    )
    return QueuedFrame(header, bytes(12), b"jpeg", deadline_ns, received_ns, group)


def queue(*frames: QueuedFrame, max_batch: int = 4, max_wait_ns: int = WAIT_NS) -> BatchQueue:
    filled = BatchQueue(max_batch=max_batch, max_wait_ns=max_wait_ns)
    for item in frames:
        assert filled.add(item) is None
    return filled


def names(frames: list[QueuedFrame]) -> list[tuple[str, int]]:
    return [(item.header.station, item.header.seq) for item in frames]


def test_an_empty_queue_has_nothing_to_wait_for():
    assert queue().wait_ns(0) is None
    assert queue().take(10**18) == []
    assert queue().expire(10**18) == []


def test_the_most_urgent_frame_goes_first():
    waiting = queue(
        frame(1, deadline_ns=30 * MS), frame(2, deadline_ns=10 * MS), frame(3, deadline_ns=20 * MS), max_wait_ns=0
    )
    assert names(waiting.take(0)) == [("cap", 2), ("cap", 3), ("cap", 1)]


def test_frames_of_equal_urgency_keep_their_order():
    waiting = queue(*(frame(seq) for seq in (3, 1, 2)), max_wait_ns=0)
    assert names(waiting.take(0)) == [("cap", 3), ("cap", 1), ("cap", 2)]


def test_a_batch_never_exceeds_its_bound_and_the_rest_stays():
    waiting = queue(*(frame(seq, deadline_ns=seq) for seq in range(1, 11)), max_batch=4, max_wait_ns=0)
    batches = [names(waiting.take(0)) for _ in range(3)]
    assert [[seq for _, seq in batch] for batch in batches] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    assert len(waiting) == 0


def test_a_batch_holds_frames_of_one_group_the_most_urgent_ones():
    waiting = queue(
        frame(1, group="b0", deadline_ns=20 * MS),
        frame(2, group="lite0", deadline_ns=30 * MS),
        frame(3, group="b0", deadline_ns=40 * MS),
        frame(4, group="lite0", deadline_ns=10 * MS),
        max_wait_ns=0,
    )
    assert names(waiting.take(0)) == [("cap", 4), ("cap", 2)]
    assert names(waiting.take(0)) == [("cap", 1), ("cap", 3)]


def test_frames_of_another_group_do_not_fill_the_batch():
    waiting = queue(frame(1), frame(2, group="b0"), frame(3, group="b0"), max_batch=2)
    assert waiting.wait_ns(0) == WAIT_NS


def test_a_lone_frame_waits_for_others_until_the_longest_wait():
    waiting = queue(frame(1, received_ns=10 * MS))
    assert waiting.wait_ns(10 * MS) == WAIT_NS
    assert waiting.wait_ns(11 * MS) == WAIT_NS - MS
    assert waiting.take(12 * MS - 1) == []
    assert len(waiting) == 1
    assert waiting.wait_ns(15 * MS) == 0
    assert names(waiting.take(12 * MS)) == [("cap", 1)]


def test_the_wait_counts_from_the_first_arrival_however_urgent_the_others_are():
    waiting = queue(frame(1, received_ns=10 * MS), frame(2, received_ns=11 * MS, deadline_ns=50 * MS))
    assert waiting.wait_ns(11 * MS) == MS


def test_a_full_batch_does_not_wait():
    waiting = queue(frame(1), frame(2), max_batch=2)
    assert waiting.wait_ns(0) == 0
    assert len(waiting.take(0)) == 2


def test_no_frame_waits_when_all_its_siblings_have_arrived():
    waiting = queue(frame(7, "left", siblings=2))
    assert waiting.wait_ns(0) == WAIT_NS
    waiting.add(frame(7, "right", siblings=2))
    assert waiting.wait_ns(0) == 0
    assert names(waiting.take(0)) == [("left", 7), ("right", 7)]


def test_a_camera_with_one_station_never_waits():
    assert queue(frame(1, siblings=1)).wait_ns(0) == 0


def test_the_same_number_of_another_camera_is_no_sibling():
    waiting = queue(frame(7, "left", siblings=2), frame(7, "bottom", siblings=2, epoch="side"))
    assert waiting.wait_ns(0) == WAIT_NS


def test_a_frame_that_still_lacks_a_sibling_lets_the_complete_ones_wait():
    waiting = queue(frame(7, "left", siblings=1), frame(8, "left", siblings=2))
    assert waiting.wait_ns(0) == WAIT_NS


def test_the_newest_free_running_frame_replaces_the_older_one_of_its_station():
    waiting = queue(frame(1, "glass", mode="freerun"), max_wait_ns=0)
    assert waiting.add(frame(2, "glass", mode="freerun")) == frame(1, "glass", mode="freerun")
    assert len(waiting) == 1
    assert names(waiting.take(0)) == [("glass", 2)]


def test_a_free_running_frame_replaces_nothing_of_another_station():
    waiting = queue(frame(1, "glass", mode="freerun"), frame(1, "cap"))
    assert waiting.add(frame(2, "film", mode="freerun")) is None
    assert len(waiting) == 3


def test_no_triggered_frame_is_ever_replaced():
    waiting = queue(*(frame(seq) for seq in range(5)))
    assert len(waiting) == 5


def test_frames_past_their_deadline_are_removed_and_not_inspected():
    waiting = queue(frame(1, deadline_ns=100), frame(2, deadline_ns=200), frame(3, deadline_ns=300), max_wait_ns=0)
    assert waiting.expire(99) == []
    assert names(waiting.expire(200)) == [("cap", 1), ("cap", 2)]
    assert waiting.expire(200) == []
    assert names(waiting.take(200)) == [("cap", 3)]


def test_the_frames_of_some_stations_can_be_counted():
    waiting = queue(frame(1, "cap"), frame(2, "cap"), frame(1, "label"))
    assert waiting.count({"cap"}) == 2
    assert waiting.count({"cap", "label", "lid"}) == 3
    assert waiting.count(set()) == 0


def test_identical_frames_are_each_inspected_once():
    same = frame(1)
    waiting = queue(same, frame(1), max_batch=1, max_wait_ns=0)
    assert [len(waiting.take(0)) for _ in range(3)] == [1, 1, 0]


def test_a_frame_that_cannot_be_inspected_in_time_leaves_its_time_to_those_behind_it():
    waiting = queue(frame(1, deadline_ns=105), frame(2, deadline_ns=110), frame(3, deadline_ns=111))
    assert names(waiting.expire(100, needed_ns=10)) == [("cap", 1), ("cap", 2)]
    assert len(waiting) == 1


def test_the_frame_with_the_latest_deadline_is_tried_even_when_time_hardly_suffices():
    waiting = queue(frame(1, deadline_ns=101), frame(2, deadline_ns=102))
    assert names(waiting.expire(100, needed_ns=50)) == [("cap", 1)]
    assert waiting.expire(101, needed_ns=50) == []
    assert names(waiting.expire(102, needed_ns=50)) == [("cap", 2)]


def test_frames_with_one_deadline_are_tried_together():
    waiting = queue(frame(1, deadline_ns=101), frame(1, "lid", deadline_ns=101))
    assert waiting.expire(100, needed_ns=50) == []
