"""Records of the event store: events, their images, alarms."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from stream.core.good_parts import KeptAs
from stream.core.parts import PartResult, Placement


@dataclass(frozen=True, slots=True)
class Event:
    """One settled part. `stages` are milliseconds by stage; `event_id` is None until it is recorded.

    `placement` is how an aligned part lay in its frame. `kept_as` says why a GOOD part has its images: its score is
    among the highest of its hour, or it is one of a sample.

    Its images: `preview_jpeg` (empty: none), `patch_distances` (h, w) float16, `network_input` (H, W, 3) uint8 RGB, of
    a DEFECT or a kept GOOD part. Comparisons ignore them. Events read from the store come without them:
    `EventStore.images` and `EventStore.network_input` return them.
    """

    part: PartResult
    decision: str
    captured_realtime_ns: int
    worker: str | None = None
    bundle_sha256: str | None = None
    stages: dict[str, float] = field(default_factory=dict)
    total_ms: float | None = None
    kept_as: KeptAs | None = None
    placement: Placement | None = None
    preview_jpeg: bytes = field(default=b"", compare=False, repr=False)
    patch_distances: NDArray[np.float16] | None = field(default=None, compare=False, repr=False)
    network_input: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)
    event_id: int | None = None

    def without_images(self) -> Self:
        """Return it without its images."""
        return replace(self, preview_jpeg=b"", patch_distances=None, network_input=None)


@dataclass(frozen=True, slots=True, eq=False)
class EventImages:
    """Images of one event for display: `preview_jpeg`, and `patch_distances` (h, w) float16 or None."""

    preview_jpeg: bytes
    patch_distances: NDArray[np.float16] | None


@dataclass(frozen=True, slots=True)
class AlarmRecord:
    """One alarm; `subject` is a station, camera, worker, actuator, encoder or the store.

    `alarm_id` is None until it is recorded.
    """

    raised_realtime_ns: int
    kind: str
    subject: str
    text: str
    alarm_id: int | None = None
