"""When a station switches to another bundle, decided by capture.

It switches once every active worker accepts the new bundle. Until then and a while longer the workers hold both. Pure:
the clock is passed in.
"""

from __future__ import annotations

from typing import NamedTuple

from stream.transport.messages import CreditGrant, Refusal

#: A worker without a grant for this long is away and not waited for; when it is back, its grant says what it accepts.
SILENT_NS = 10_000_000_000
#: Time after a proposal from which on a worker's grant counts: by then the worker knows that it has to hold the bundle.
SETTLE_NS = 1_000_000_000


class RolloutDecision(NamedTuple):
    """What becomes of a proposed bundle: `switch`, or the `reason` for keeping the old one."""

    switch: bool
    reason: str = ""


class _Proposal(NamedTuple):
    bundle_sha256: str
    settled_ns: int
    deadline_ns: int


class _TimedGrant(NamedTuple):
    grant: CreditGrant
    received_ns: int


class Rollout:
    """What one capture process knows of its workers' bundles."""

    def __init__(self, *, timeout_ns: int) -> None:
        """Wait `timeout_ns` for workers that neither accept nor refuse."""
        self._timeout_ns = timeout_ns
        self._workers: dict[str, _TimedGrant] = {}
        self._proposals: dict[str, _Proposal] = {}
        #: (worker, station, refusal) that a decision was based on; a later decision needs another refusal.
        self._used_refusals: set[tuple[str, str, Refusal]] = set()

    def on_credit(self, grant: CreditGrant, now_ns: int) -> None:
        """Note what a worker accepts. A restarted worker replaces its predecessor."""
        self._workers[grant.worker] = _TimedGrant(grant, now_ns)

    def propose(self, station: str, bundle_sha256: str, now_ns: int) -> None:
        """Propose a bundle for a station; it replaces an earlier proposal."""
        self._proposals[station] = _Proposal(bundle_sha256, now_ns + SETTLE_NS, now_ns + self._timeout_ns)

    def withdraw(self, station: str) -> None:
        """Withdraw a station's proposal, if there is one."""
        self._proposals.pop(station, None)

    def proposed(self, station: str) -> str | None:
        """Return the bundle that is proposed for a station, if any."""
        proposal = self._proposals.get(station)
        return proposal.bundle_sha256 if proposal else None

    def decide(self, now_ns: int) -> dict[str, RolloutDecision]:
        """Return the decisions that have become possible, by station, and end these proposals."""
        decisions: dict[str, RolloutDecision] = {}
        for station, proposal in self._proposals.items():
            decision = self._decision(station, proposal, now_ns)
            if decision is not None:
                decisions[station] = decision
        for station in decisions:
            del self._proposals[station]
        return decisions

    def no_worker_accepts(self, station: str, bundle_sha256: str, now_ns: int) -> bool:
        """Whether there are workers, but none that inspects frames prepared for this bundle: they hold another."""
        grants = self._active_workers(now_ns)
        return bool(grants) and not any(
            bundle_sha256 in timed.grant.accepts.get(station, ()) for timed in grants.values()
        )

    def _decision(self, station: str, proposal: _Proposal, now_ns: int) -> RolloutDecision | None:
        active = self._active_workers(now_ns)
        accepting = {
            name
            for name, timed in active.items()
            if timed.received_ns >= proposal.settled_ns
            and proposal.bundle_sha256 in timed.grant.accepts.get(station, ())
        }
        if active and len(accepting) == len(active):
            return RolloutDecision(True)
        refusals = [
            (name, refusal)
            for name, timed in sorted(active.items())
            if name not in accepting and (refusal := timed.grant.refused.get(station)) is not None
        ]
        overdue = now_ns >= proposal.deadline_ns
        for name, refusal in refusals:
            is_of_proposal = refusal.bundle_sha256 in (proposal.bundle_sha256, "")
            is_new = (name, station, refusal) not in self._used_refusals
            if (is_new and is_of_proposal) or overdue:
                self._used_refusals.update((other, station, used) for other, used in refusals)
                return RolloutDecision(False, f"{name}: {refusal.reason}")
        if not overdue:
            return None
        if not active:
            return RolloutDecision(False, "no worker is connected")
        missing = ", ".join(sorted(active.keys() - accepting))
        return RolloutDecision(
            False, f"{missing} did not load it within {self._timeout_ns / 1e9:.0f} s; is its file the same?"
        )

    def _active_workers(self, now_ns: int) -> dict[str, _TimedGrant]:
        return {name: timed for name, timed in self._workers.items() if now_ns - timed.received_ns <= SILENT_NS}
