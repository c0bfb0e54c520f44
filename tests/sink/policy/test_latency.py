from __future__ import annotations

from functools import partial

import pytest

from stream.core.clock import Clock, to_local_ns
from stream.core.verdict import Verdict
from stream.sink.policy.latency import STAGES, stages_ms
from stream.transport.messages import FrameHeader, FrameStamps, Result, ResultStamps

MS = 1_000_000
HERE = Clock("sink", 1_700_000_000 * 10**9)
#: Booted 100 s before and 3 s after the sink's host: their monotonic clocks stand elsewhere at the same moment.
CAMERA_HOST = Clock("camera", HERE.realtime_offset_ns - 100 * 10**9)
WORKER_HOST = Clock("worker", HERE.realtime_offset_ns + 3 * 10**9)

CAPTURED_NS = 500 * 10**9
EXPECTED_MS = {
    "capture": 4.0,
    "align": 1.5,
    "encode": 3.0,
    "wire_in": 5.0,  # 3.5 ms of it in capture until a worker had room
    "queue": 2.0,
    "preprocess": 0.5,
    "backbone": 20.0,
    "search": 5.0,
    "score": 0.25,
    "wire_out": 0.75,
    "decide": 0.125,
}


def result(camera: Clock, worker: Clock, *, worker_error_ns: int = 0) -> Result:
    """A part whose times are those above, read from the clocks of camera and worker.

    `worker_error_ns` is how far the worker's clock goes ahead of the truth.
    """

    def at(clock: Clock, after_ms: float) -> int:
        real_ns = CAPTURED_NS + round(after_ms * MS) + HERE.realtime_offset_ns
        return real_ns - clock.realtime_offset_ns + (worker_error_ns if clock is worker else 0)

    header = FrameHeader(
        station="cap",
        seq=17,
        captured_ns=at(camera, 0),
        deadline_ns=at(camera, 150),
        mode="triggered",
        bundle_sha256="0f3c",
        height_px=2,
        width_px=2,
        region_px=(2, 2),
        siblings=1,
        epoch="top",
        stamps=FrameStamps(at(camera, 4), at(camera, 9), at(camera, 12), align_ns=3 * MS // 2),
        clock=camera,
    )
    stamps = ResultStamps(
        received_ns=at(worker, 13.5),
        taken_ns=at(worker, 15.5),
        preprocess_ns=MS // 2,
        backbone_ns=20 * MS,
        search_ns=5 * MS,
        score_ns=MS // 4,
        inspected_ns=at(worker, 41.25),
    )
    return Result(header, "worker0", Verdict.GOOD, stamps, worker)


ARRIVED_NS = CAPTURED_NS + 42 * MS
DECIDED_NS = ARRIVED_NS + MS // 8
local = partial(to_local_ns, here=HERE)


def test_the_stages_are_in_the_order_in_which_a_part_passes_them():
    assert tuple(stages_ms(result(HERE, HERE), ARRIVED_NS, DECIDED_NS, local)) == STAGES


def test_each_stage_is_the_time_between_its_stamps_and_together_they_are_the_total():
    stages = stages_ms(result(HERE, HERE), ARRIVED_NS, DECIDED_NS, local)
    assert stages == pytest.approx(EXPECTED_MS)
    assert sum(stages.values()) == pytest.approx((DECIDED_NS - CAPTURED_NS) / MS)


@pytest.mark.parametrize(("camera", "worker"), [(CAMERA_HOST, HERE), (HERE, WORKER_HOST), (CAMERA_HOST, WORKER_HOST)])
def test_the_clocks_of_other_hosts_are_translated(camera: Clock, worker: Clock):
    assert result(camera, worker) != result(HERE, HERE)
    assert stages_ms(result(camera, worker), ARRIVED_NS, DECIDED_NS, local) == pytest.approx(EXPECTED_MS)


@pytest.mark.parametrize(
    ("error_ns", "stages"),
    [(9 * MS, {"wire_in": 14.0, "wire_out": 0.0}), (-9 * MS, {"wire_in": 0.0, "wire_out": 9.75})],
)
def test_clocks_that_disagree_give_no_negative_time_and_touch_only_the_wire(error_ns: int, stages: dict[str, float]):
    skewed = result(HERE, WORKER_HOST, worker_error_ns=error_ns)
    assert stages_ms(skewed, ARRIVED_NS, DECIDED_NS, local) == pytest.approx(EXPECTED_MS | stages)


def test_waiting_for_other_parts_of_the_batch_belongs_to_no_stage():
    waited = stages_ms(result(HERE, HERE), ARRIVED_NS, DECIDED_NS, local)
    later = result(HERE, HERE)
    inspected_ns = later.stamps.inspected_ns + 10 * MS
    later = Result(
        later.frame, "worker0", Verdict.GOOD, ResultStamps(*_fields(later.stamps)[:-1], inspected_ns), later.clock
    )
    behind = stages_ms(later, ARRIVED_NS + 10 * MS, DECIDED_NS + 10 * MS, local)
    assert behind == pytest.approx(waited)


def _fields(stamps: ResultStamps) -> list[int]:
    return [getattr(stamps, name) for name in stamps.__struct_fields__]
