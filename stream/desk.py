"""Where a worker judges: threads that take batches while its loop goes on hearing and answering."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from stream.clock import now_ns
from stream.judges import Judge, Judged, judge_batch
from stream.line.inbox import Queued
from stream.patchcore.lanes import Lanes

log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """What became of one frame.

    Attributes:
        frame, judge: as they were handed in.
        judged: None when there was an error.
        error: for people.
        taken_ns, preprocess_ns, judged_ns: when its batch began, how long that was put together, when this was known.
    """

    frame: Queued
    judge: Judge
    judged: Judged | None
    error: str
    taken_ns: int
    preprocess_ns: int
    judged_ns: int


class Desk:
    """Judges one part in each of OpenVINO's lanes, or one batch after the other on a GPU or in torch."""

    def __init__(self, lanes: Lanes | None, threads: int) -> None:
        """Use the lanes of the extractors; None: one batch at a time, with so many CPU threads."""
        self._lanes = lanes or Lanes(threads, single=True)
        self._running: list[int] = []
        self._outcomes: deque[Outcome] = deque()
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

    def start(self, batch: list[Queued], judges: list[Judge], *, alone: bool) -> None:
        """Judge a batch of frames, each by its station's judge; `alone`: nothing else is waiting for a core."""
        begun_ns = now_ns()
        self._running.append(begun_ns)
        self._lanes.submit(lambda: self._judge(batch, judges, begun_ns), alone=alone)

    def call(self, function: Callable[[], object]) -> None:
        """Call a function in a lane as if it judged a part, and wait for its end; raises what it raises."""
        list(self._lanes.map(lambda _: function(), (None,)))

    def outcomes(self) -> tuple[list[Outcome], list[int]]:
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

    def _judge(self, batch: list[Queued], judges: list[Judge], begun_ns: int) -> None:
        known = 0
        taken_ns, preprocess_ns = now_ns(), 0
        try:
            size_px = batch[0].header.height_px
            images = np.stack([np.frombuffer(frame.pixels, np.uint8).reshape(size_px, size_px, 3) for frame in batch])
            preprocess_ns = now_ns() - taken_ns
            for judged in judge_batch(judges, images):
                self._tell(
                    Outcome(batch[known], judges[known], judged, "", taken_ns, preprocess_ns, now_ns()), batch[-1]
                )
                known += 1
        except Exception as error:
            log.exception("inspection failed")
            text = f"{type(error).__name__}: {error}"
            for frame, judge in zip(batch[known:], judges[known:], strict=True):
                self._tell(Outcome(frame, judge, None, text, taken_ns, preprocess_ns, now_ns()), batch[-1])
        finally:
            self._ended.append(begun_ns)
            os.eventfd_write(self.wake, 1)

    def _tell(self, outcome: Outcome, last: Queued) -> None:
        self._outcomes.append(outcome)
        if outcome.frame is not last:  # the end of the batch follows at once
            os.eventfd_write(self.wake, 1)
