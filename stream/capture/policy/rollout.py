"""When a station goes over to another bundle, and when the one before it may go.

Capture decides: it cuts for the new bundle once every worker that it hears of accepts it. Until then and
a while longer the workers hold both. Pure: the clock is passed in.
"""

from __future__ import annotations

from typing import NamedTuple

from stream.transport.messages import CreditGrant, Refusal

#: A worker that was silent for so long is away; when it comes again it says what it accepts.
SILENT_NS = 10_000_000_000
#: What a worker accepts counts when it is said so long after the proposal: by then it knows that it has to hold it.
SETTLE_NS = 1_000_000_000


class RolloutDecision(NamedTuple):
    """What becomes of a proposed bundle: `switch`, or `why` not."""

    switch: bool
    why: str = ""


class _Proposal(NamedTuple):
    bundle_sha256: str
    settled_ns: int
    by_ns: int


class _Reported(NamedTuple):
    ready: CreditGrant
    at_ns: int


class Rollout:
    """What one capture process knows of its workers' bundles."""

    def __init__(self, *, patience_ns: int) -> None:
        """Wait so long for workers that neither accept nor refuse."""
        self._patience_ns = patience_ns
        self._workers: dict[str, _Reported] = {}
        self._proposals: dict[str, _Proposal] = {}
        #: Refusals that a decision has rested on; a later one is made anew.
        self._used: set[tuple[str, str, Refusal]] = set()

    def on_credit(self, ready: CreditGrant, now_ns: int) -> None:
        """Take in what a worker accepts. A restarted worker takes the place of the one before it."""
        self._workers[ready.worker] = _Reported(ready, now_ns)

    def propose(self, station: str, bundle_sha256: str, now_ns: int) -> None:
        """Ask for a decision about a bundle; it takes the place of an earlier proposal."""
        self._proposals[station] = _Proposal(bundle_sha256, now_ns + SETTLE_NS, now_ns + self._patience_ns)

    def withdraw(self, station: str) -> None:
        """Ask no more."""
        self._proposals.pop(station, None)

    def proposed(self, station: str) -> str | None:
        """Return the bundle that a decision is asked for, if any."""
        proposal = self._proposals.get(station)
        return proposal.bundle_sha256 if proposal else None

    def decide(self, now_ns: int) -> dict[str, RolloutDecision]:
        """Return, and forget, the proposals that are decided by now."""
        decided: dict[str, RolloutDecision] = {}
        for station, proposal in self._proposals.items():
            decision = self._decision(station, proposal, now_ns)
            if decision is not None:
                decided[station] = decision
        for station in decided:
            del self._proposals[station]
        return decided

    def nobody_accepts(self, station: str, bundle_sha256: str, now_ns: int) -> bool:
        """Whether there are workers, but none that judges frames cut for this bundle: they hold another."""
        present = self._present(now_ns)
        return bool(present) and not any(
            bundle_sha256 in said.ready.accepts.get(station, ()) for said in present.values()
        )

    def _decision(self, station: str, proposal: _Proposal, now_ns: int) -> RolloutDecision | None:
        present = self._present(now_ns)
        accepting = {
            name
            for name, heard in present.items()
            if heard.at_ns >= proposal.settled_ns and proposal.bundle_sha256 in heard.ready.accepts.get(station, ())
        }
        if present and len(accepting) == len(present):
            return RolloutDecision(True)
        against = [
            (name, refusal)
            for name, heard in sorted(present.items())
            if name not in accepting and (refusal := heard.ready.refused.get(station)) is not None
        ]
        overdue = now_ns >= proposal.by_ns
        for name, refusal in against:
            fresh = (name, station, refusal) not in self._used and refusal.bundle_sha256 in (proposal.bundle_sha256, "")
            if fresh or overdue:
                self._used.update((other, station, said) for other, said in against)
                return RolloutDecision(False, f"{name}: {refusal.why}")
        if not overdue:
            return None
        if not present:
            return RolloutDecision(False, "no worker is there to judge with it")
        missing = ", ".join(sorted(present.keys() - accepting))
        return RolloutDecision(
            False, f"{missing} did not load it within {self._patience_ns / 1e9:.0f} s; is its file the same?"
        )

    def _present(self, now_ns: int) -> dict[str, _Reported]:
        return {name: heard for name, heard in self._workers.items() if now_ns - heard.at_ns <= SILENT_NS}
