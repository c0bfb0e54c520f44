"""Where a worker judges: threads that take batches while its loop goes on hearing and answering."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from stream.core.clock import now_ns
from stream.core.verdict import Cause
from stream.inference.policy.batching import QueuedFrame
from stream.model.cpu_lanes import Lanes
from stream.model.patchcore.health import Measures, measure
from stream.model.station_model import InspectedPart, StationModel, inspect_batch

log = logging.getLogger(__name__)


class InspectionOutcome(NamedTuple):
    """What became of one frame.

    Attributes:
        frame, judge: as they were handed in.
        seen: light, focus and colour of its picture; None when it was not even measured.
        judged: None when it is not to be GOOD or DEFECT.
        cause, detail: why not.
        taken_ns, preprocess_ns, judged_ns: when its batch began, how long that was measured, when this was known.
    """

    frame: QueuedFrame
    judge: StationModel
    seen: Measures | None
    judged: InspectedPart | None
    cause: Cause | None
    detail: str
    taken_ns: int
    preprocess_ns: int
    judged_ns: int


class InferenceExecutor:
    """Judges one part in each of OpenVINO's lanes, or one batch after the other on a GPU or in torch."""

    def __init__(self, lanes: Lanes | None, threads: int) -> None:
        """Use the lanes of the extractors; None: one batch at a time, with so many CPU threads."""
        self._lanes = lanes or Lanes(threads, single=True)
        self._running: list[int] = []
        self._outcomes: deque[InspectionOutcome] = deque()
        self._ended: deque[int] = deque()
        self.wake = os.eventfd(0, os.EFD_NONBLOCK)

    @property
    def count(self) -> int:
        """How many batches are judged side by side."""
        return self._lanes.count

    @property
    def free(self) -> bool:
        """Whether a batch begins as soon as it is handed in, or, of several lanes, as soon as the first is free."""
        return len(self._running) < self._lanes.count + (self._lanes.count > 1)

    @property
    def begun_ns(self) -> int | None:
        """When the oldest batch began that is not finished; None: all are."""
        return min(self._running, default=None)

    def start(self, batch: list[QueuedFrame], judges: list[StationModel], *, alone: bool) -> None:
        """Judge a batch of frames, each by its station's judge; `alone`: nothing else is waiting for a core."""
        begun_ns = now_ns()
        self._running.append(begun_ns)
        self._lanes.submit(lambda: self._judge(batch, judges, begun_ns), alone=alone)

    def call(self, function: Callable[[], object]) -> None:
        """Call a function in a lane as if it judged a part, and wait for its end; raises what it raises."""
        list(self._lanes.map(lambda _: function(), (None,)))

    def outcomes(self) -> tuple[list[InspectionOutcome], list[int]]:
        """Return what has been found since, and how long each batch took that ended since, in ns."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.wake)
        ended = [self._ended.popleft() for _ in range(len(self._ended))]
        for begun_ns in ended:
            self._running.remove(begun_ns)
        # Read after the ends, so that a worker without a running batch has no outcome left to send.
        now = now_ns()
        found = [self._outcomes.popleft() for _ in range(len(self._outcomes))]
        return found, [now - begun_ns for begun_ns in ended]

    def _judge(self, batch: list[QueuedFrame], judges: list[StationModel], begun_ns: int) -> None:
        untold = dict.fromkeys(range(len(batch)))
        taken_ns, preprocess_ns = now_ns(), 0

        def tell(
            index: int,
            seen: Measures | None,
            judged: InspectedPart | None,
            cause: Cause | None = None,
            detail: str = "",
        ) -> None:
            del untold[index]
            times = (taken_ns, preprocess_ns, now_ns())
            self._tell(
                InspectionOutcome(batch[index], judges[index], seen, judged, cause, detail, *times), last=not untold
            )

        try:
            size_px = batch[0].header.height_px
            images = [np.frombuffer(frame.pixels, np.uint8).reshape(size_px, size_px, 3) for frame in batch]
            measured = [measure(image) for image in images]
            faults = [judge.fault_of(seen) for judge, seen in zip(judges, measured, strict=True)]
            sound = [index for index, fault in enumerate(faults) if fault is None]
            preprocess_ns = now_ns() - taken_ns
            for index, fault in enumerate(faults):
                if fault is not None:
                    tell(index, measured[index], None, Cause.BAD_FRAME, fault)
            if sound:
                answers = inspect_batch(
                    [judges[index] for index in sound], np.stack([images[index] for index in sound])
                )
                for index, judged in zip(sound, answers, strict=True):
                    tell(index, measured[index], judged)
        except Exception as error:
            log.exception("inspection failed")
            for index in list(untold):
                tell(index, None, None, Cause.WORKER_ERROR, f"{type(error).__name__}: {error}")
        finally:
            self._ended.append(begun_ns)
            os.eventfd_write(self.wake, 1)

    def _tell(self, outcome: InspectionOutcome, *, last: bool) -> None:
        self._outcomes.append(outcome)
        if not last:  # the end of the batch follows at once
            os.eventfd_write(self.wake, 1)
