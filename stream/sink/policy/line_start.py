"""Whether the whole line is ready for its first part, from the reports of its cameras and workers. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from stream.transport.messages import StartState


class LineStart:
    """Who is still missing at the start of a line; once ready, it stays so, whoever dies later."""

    def __init__(self, cameras: Iterable[str], workers: Iterable[str]) -> None:
        """Expect reports of these cameras and workers."""
        #: By camera, its state and the workers that it lacks; None before its first report.
        self._cameras: dict[str, tuple[StartState, tuple[str, ...]] | None] = dict.fromkeys(cameras)
        self._workers = set(workers)
        self._ready = False

    def camera_reported(self, camera: str, state: StartState, lacks: tuple[str, ...]) -> None:
        """Note a camera's report. One that has begun on a sink's word says that the line was ready once."""
        self._cameras[camera] = state, lacks
        self._ready = self._ready or state == "begun"

    def camera_ended(self, camera: str) -> None:
        """Note that a camera has ended on purpose: nobody waits for it."""
        self._cameras[camera] = "alone", ()

    def worker_reported(self, worker: str) -> None:
        """Note that a worker is connected to the sink."""
        self._workers.discard(worker)

    @property
    def missing(self) -> tuple[str, ...]:
        """What the line still needs, in words; empty once it was ready."""
        if self._ready:
            return ()
        missing = [f"camera {name}" for name, report in self._cameras.items() if report is None]
        lacked = {name for report in self._cameras.values() if report is not None for name in report[1]}
        missing += [f"worker {name}" for name in sorted(self._workers | lacked)]
        self._ready = not missing
        return tuple(missing)

    @property
    def waiting(self) -> tuple[str, ...]:
        """The cameras that wait for the sink's word and may have it."""
        if self.missing:
            return ()
        return tuple(name for name, report in self._cameras.items() if report is not None and report[0] == "waiting")

    def fault(self, camera: str) -> str | None:
        """Return what is wrong with a camera that began without the line; None once the line is ready."""
        report = self._cameras[camera]
        if report is None or report[0] != "alone" or not self.missing:
            return None
        return (
            f"camera {camera} takes parts without {', '.join(self.missing)}, not ready within restarts.ready_s: "
            "parts that nobody inspects in time are UNINSPECTED"
        )
