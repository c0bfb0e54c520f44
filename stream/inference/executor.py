"""Runs inference batches in threads while the worker's loop keeps receiving and sending."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from stream.core.clock import now_ns
from stream.core.spots import Ruling
from stream.core.verdict import Cause
from stream.inference.policy.batching import QueuedFrame
from stream.model.cpu_lanes import Lanes
from stream.model.patchcore.health import Measures, measure
from stream.model.station_model import InspectedPart, StationModel, inspect_batch

log = logging.getLogger(__name__)


class InspectionOutcome(NamedTuple):
    """What became of one frame.

    Attributes:
        frame, model: as passed to `start`.
        measures: light, focus and colour of its network input; None when it could not be measured.
        inspected: the inspection; None when the part is UNINSPECTED.
        ruling: the verdict on it; None as `inspected`.
        cause, detail: of UNINSPECTED.
        taken_ns: when its batch began.
        preprocess_ns: how long preparing and measuring the batch took.
        inspected_ns: when this outcome was known.
    """

    frame: QueuedFrame
    model: StationModel
    measures: Measures | None
    inspected: InspectedPart | None
    ruling: Ruling | None
    cause: Cause | None
    detail: str
    taken_ns: int
    preprocess_ns: int
    inspected_ns: int


class InferenceExecutor:
    """Inspects one part in each of OpenVINO's lanes, or one batch after the other on a GPU or in torch.

    Its methods are for the worker's loop; `call` may be used by any thread.
    """

    def __init__(self, lanes: Lanes | None, threads: int) -> None:
        """Use the extractors' lanes; None: one batch at a time, with this number of CPU threads."""
        self._lanes = lanes or Lanes(threads, single=True)
        #: When each running batch began.
        self._running: list[int] = []
        self._outcomes: deque[InspectionOutcome] = deque()
        #: When each batch began that has ended since the last `outcomes`.
        self._ended: deque[int] = deque()
        #: Event file descriptor, readable when there are outcomes.
        self.wake = os.eventfd(0, os.EFD_NONBLOCK)

    @property
    def count(self) -> int:
        """Number of batches that run in parallel."""
        return self._lanes.count

    @property
    def free(self) -> bool:
        """Whether the next batch begins at once or, with several lanes, as soon as the first lane is free."""
        return len(self._running) < self._lanes.count + (self._lanes.count > 1)

    @property
    def begun_ns(self) -> int | None:
        """When the oldest running batch began; None: none is running."""
        return min(self._running, default=None)

    def start(self, batch: list[QueuedFrame], models: list[StationModel], *, alone: bool) -> None:
        """Inspect a batch of frames, each by its station's model; `alone`: no other batch needs a core."""
        begun_ns = now_ns()
        self._running.append(begun_ns)
        self._lanes.submit(lambda: self._inspect(batch, models, begun_ns), alone=alone)

    def call(self, function: Callable[[], object]) -> None:
        """Call a function in a lane, in turn with the batches, and wait for its end; raises what it raises."""
        list(self._lanes.map(lambda _: function(), (None,)))

    def outcomes(self) -> tuple[list[InspectionOutcome], list[int]]:
        """Remove and return the new outcomes, and the durations in ns of the batches that have ended."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.wake)
        ended = [self._ended.popleft() for _ in range(len(self._ended))]
        for begun_ns in ended:
            self._running.remove(begun_ns)
        # Drain outcomes after the ends: when no batch runs, no outcome may be left unsent.
        now = now_ns()
        outcomes = [self._outcomes.popleft() for _ in range(len(self._outcomes))]
        return outcomes, [now - begun_ns for begun_ns in ended]

    def _inspect(self, batch: list[QueuedFrame], models: list[StationModel], begun_ns: int) -> None:
        """Publish one outcome for each frame of the batch; runs in a lane."""
        pending = dict.fromkeys(range(len(batch)))
        taken_ns, preprocess_ns = now_ns(), 0

        def publish(
            index: int,
            measures: Measures | None,
            inspected: InspectedPart | None,
            ruling: Ruling | None = None,
            cause: Cause | None = None,
            detail: str = "",
        ) -> None:
            del pending[index]
            times = (taken_ns, preprocess_ns, now_ns())
            outcome = InspectionOutcome(batch[index], models[index], measures, inspected, ruling, cause, detail, *times)
            self._outcomes.append(outcome)
            if pending:  # after the last outcome the end of the batch wakes the loop
                os.eventfd_write(self.wake, 1)

        try:
            shape = (batch[0].header.height_px, batch[0].header.width_px, 3)
            images = [np.frombuffer(frame.pixels, np.uint8).reshape(shape) for frame in batch]
            measured = [measure(image) for image in images]
            faults = [model.fault_of(measures) for model, measures in zip(models, measured, strict=True)]
            sound = [index for index, fault in enumerate(faults) if fault is None]
            preprocess_ns = now_ns() - taken_ns
            for index, fault in enumerate(faults):
                if fault is not None:
                    publish(index, measured[index], None, cause=Cause.BAD_FRAME, detail=fault)
            if sound:
                parts = inspect_batch([models[index] for index in sound], np.stack([images[index] for index in sound]))
                for index, part in zip(sound, parts, strict=True):
                    ruling = models[index].judge(part.inspection, batch[index].header.region_px)
                    publish(index, measured[index], part, ruling)
        except Exception as error:
            log.exception("inspection failed")
            for index in list(pending):
                publish(index, None, None, cause=Cause.WORKER_ERROR, detail=f"{type(error).__name__}: {error}")
        finally:
            self._ended.append(begun_ns)
            os.eventfd_write(self.wake, 1)
