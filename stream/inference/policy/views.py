"""Which parts' views a worker passes on to the sink: most parts are GOOD, and nobody sees them."""

from __future__ import annotations

from stream.inference.policy.batching import QueuedFrame


def passes_on(frame: QueuedFrame, *, kept: bool, now_ns: int) -> bool:
    """Whether the view of a part with a verdict is passed on.

    Args:
        frame: the part, its times on this host's clock.
        kept: it is not GOOD by its score, or the store may keep it.
        now_ns: the present time.
    """
    if kept or frame.header.watched:
        return True
    # Where half of its time has passed, the sink may have to find that it came too late.
    return now_ns > frame.deadline_ns - (frame.header.deadline_ns - frame.header.captured_ns) // 2
