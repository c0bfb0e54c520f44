"""The newest overlays of every station as JPEG files, as the recorder writes them."""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.core import metrics
from stream.core.backoff import LogPace
from stream.core.files import write_atomically
from stream.core.verdict import Verdict
from stream.model.visualization import draw
from stream.sink.policy.time_budget import TimeBudget
from stream.store.overlay import overlay
from stream.store.records import Event, EventImages

log = logging.getLogger(__name__)

#: Share of one core for the overlays of each station and verdict: a large one takes 50 ms, and verdicts need the core.
_SHARE = 0.01


#: What of a station's parts a bundle does not judge, by the names of both; None: everything is judged.
UnjudgedArea = Callable[[str, str | None], NDArray[np.bool_] | None]


class Overlays:
    """The folder of overlays; used by the recorder's thread."""

    def __init__(self, folder: Path, keep: int, unjudged: UnjudgedArea) -> None:
        """Keep the newest `keep` files of each station, those that are there already included."""
        self._unjudged = unjudged
        self._folder = folder
        self._keep = keep
        self._budget = TimeBudget(_SHARE)
        self._pace = LogPace()
        self._files: dict[str, deque[Path]] = defaultdict(deque)
        for station in folder.glob("*/"):
            self._files[station.name] = deque(sorted(station.glob("*.jpg")))

    def warm_up(self) -> None:
        """Draw a blank: the first text drawn by a thread loads a font, which takes as long as thirty overlays."""
        cv2.setNumThreads(1)
        blank = np.zeros((64, 64, 3), np.uint8)
        measures = {"score": None, "threshold": None, "pixel_threshold": None}
        draw(blank, None, verdict=Verdict.GOOD, title="", cause=None, **measures)

    def save(self, event: Event) -> None:
        """Draw and write one part; skipped without a preview, or once the budget of its verdict is spent.

        What cannot be drawn or written is counted, and logged at growing intervals.
        """
        if not self._keep or not event.preview_jpeg:
            return
        key = (event.part.station, event.part.verdict, event.part.within_spec)
        if not self._budget.allows(key, time.monotonic_ns()):
            metrics.DROPPED.labels("overlay_pace").inc()
            return
        started_ns = time.thread_time_ns()
        try:
            self._draw(event)
            self._pace.over()
        except Exception as error:  # noqa: BLE001
            # Damaged previews and full disks raise many kinds; all that is lost is an overlay.
            metrics.DROPPED.labels("overlay").inc()
            silent = self._pace.due(time.monotonic_ns())
            if silent is not None:
                part = event.part
                log.warning("overlay of %s %d not written: %s (%d more before)", part.station, part.seq, error, silent)
        finally:
            self._budget.spend(key, time.thread_time_ns() - started_ns)

    def _draw(self, event: Event) -> None:
        unjudged = self._unjudged(event.part.station, event.bundle_sha256)
        data = overlay(event, EventImages(event.preview_jpeg, event.patch_distances), unjudged)
        if data is None:
            raise ValueError("the preview is no JPEG")
        path = self._folder / event.part.station / f"{event.part.seq:09d}_{event.part.verdict}.jpg"
        write_atomically(path, data, durable=False)
        files = self._files[event.part.station]
        files.append(path)
        while len(files) > self._keep:
            files.popleft().unlink(missing_ok=True)
