"""Whether a worker's verdict agrees with what else its result says. Pure: nothing is GOOD by a claim alone."""

from __future__ import annotations

from stream.core.verdict import Verdict
from stream.transport.messages import Result


def contradiction_of(result: Result, *, has_rules: bool) -> str | None:
    """Return in which respect a result contradicts itself, or the station's configuration on this host; None: not.

    `has_rules`: the station has rules on spots here.
    """
    if not result.within_spec:
        exceeds = result.score is not None and result.threshold is not None and result.score > result.threshold
        if result.verdict is Verdict.GOOD and exceeds:
            return f"called GOOD with a score of {result.score:g} above its threshold {result.threshold:g}"
        return None
    if not has_rules:
        return "called within specification, but its station has no rules here; run one configuration on every host"
    if result.verdict is not Verdict.GOOD:
        return f"called {result.verdict} and within specification"
    if not result.spots or any(spot.rule is None for spot in result.spots):
        return "called within specification without a rule for each of its spots"
    return None
