"""How long each stage of a part took, from the time stamps of its messages."""

from __future__ import annotations

from collections.abc import Callable

from stream.core.clock import Clock
from stream.transport.messages import Result

#: Stages in the order in which a part passes them.
STAGES = (
    "capture",
    "align",
    "encode",
    "wire_in",
    "queue",
    "preprocess",
    "backbone",
    "search",
    "score",
    "wire_out",
    "decide",
)


def stages_ms(
    result: Result, arrived_ns: int, decided_ns: int, to_local_ns: Callable[[int, Clock], int]
) -> dict[str, float]:
    """Return milliseconds by stage for a part with a worker's result.

    `wire_in` includes the wait in capture for a worker with room, `queue` the wait in the worker.
    The times of capture and worker are translated to this host's clock.

    Args:
        result: the worker's result, with the frame's header.
        arrived_ns: when the sink received it.
        decided_ns: when the sink had decided and handed the reject to its actuator.
        to_local_ns: translates a sender's time to this host's clock.
    """
    frame, worker = result.frame, result.stamps
    captured = to_local_ns(frame.captured_ns, frame.clock)
    grabbed = to_local_ns(frame.stamps.grabbed_ns, frame.clock)
    granted = to_local_ns(frame.stamps.granted_ns, frame.clock)
    encoded = to_local_ns(frame.stamps.encoded_ns, frame.clock)
    received = to_local_ns(worker.received_ns, result.clock)
    taken = to_local_ns(worker.taken_ns, result.clock)
    judged = to_local_ns(worker.inspected_ns, result.clock)
    durations_ns = {
        "capture": grabbed - captured,
        "align": frame.stamps.align_ns,
        "encode": encoded - granted,
        "wire_in": (granted - grabbed - frame.stamps.align_ns) + (received - encoded),
        "queue": taken - received,
        "preprocess": worker.preprocess_ns,
        "backbone": worker.backbone_ns,
        "search": worker.search_ns,
        "score": worker.score_ns,
        "wire_out": arrived_ns - judged,
        "decide": decided_ns - arrived_ns,
    }
    # Clocks of two hosts agree only within their synchronisation: a negative duration counts as 0.
    return {stage: max(0, duration_ns) / 1e6 for stage, duration_ns in durations_ns.items()}
