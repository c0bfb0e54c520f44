"""When a camera's first part may come: once the whole line is ready, or after a bounded wait without it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stream.transport.messages import CreditGrant, StartState


class LineStart:
    """What one capture process waits for: each worker's credit for its bundles, and the sink's word on all others."""

    def __init__(self, workers: Iterable[str], *, give_up_ns: int | None) -> None:
        """Wait for these workers and the sink until `give_up_ns`; None: the run has begun already."""
        self._give_up_ns = give_up_ns
        self._accepting = dict.fromkeys(workers, False)
        #: Whether the sink has said that the line is ready.
        self.line_ready = False
        self.state: StartState = "begun" if give_up_ns is None else "waiting"

    def on_credit(self, grant: CreditGrant, bundles: Mapping[str, str]) -> None:
        """Note whether a worker inspects frames for the bundles in use, given by station."""
        if grant.worker in self._accepting:
            self._accepting[grant.worker] = all(
                bundle_sha256 in grant.accepts.get(station, ()) for station, bundle_sha256 in bundles.items()
            )

    @property
    def lacks(self) -> tuple[str, ...]:
        """The workers that do not inspect frames of this process yet."""
        return tuple(name for name, accepts in self._accepting.items() if not accepts)

    def begins(self, now_ns: int) -> bool:
        """Whether the first part may come now: True once.

        The sink's word means that every camera had all workers at once. A worker that has died since must not hold up
        a camera that starts later, so one worker is enough then.
        """
        if self._give_up_ns is None or self.state != "waiting":
            return False
        if self.line_ready and any(self._accepting.values()):
            self.state = "begun"
        elif now_ns >= self._give_up_ns:
            self.state = "alone"
        return self.state != "waiting"
