"""What the event store keeps: events, their pictures, alarms; and what an event is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.core.parts import PartResult


@dataclass(frozen=True, slots=True)
class Event:
    """One settled part. `stages` are milliseconds by stage; `event_id` is None until it is recorded.

    `preview_jpeg` is a JPEG (empty: none), `patch_distances` (h, w) float16 patch distances, `network_input` (S, S, 3)
    uint8 RGB, of a DEFECT only. Events read in pages come without them; `EventStore.picture` and
    `EventStore.network_input` have them. None takes part in comparisons.
    """

    part: PartResult
    decision: str
    captured_realtime_ns: int
    worker: str | None = None
    bundle_sha256: str | None = None
    stages: dict[str, float] = field(default_factory=dict)
    total_ms: float | None = None
    preview_jpeg: bytes = field(default=b"", compare=False, repr=False)
    patch_distances: NDArray[np.float16] | None = field(default=None, compare=False, repr=False)
    network_input: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)
    event_id: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class EventImages:
    """What people see of one event: `preview_jpeg` JPEG, `patch_distances` (h, w) float16 patch distances."""

    preview_jpeg: bytes
    patch_distances: NDArray[np.float16] | None


@dataclass(frozen=True, slots=True)
class AlarmRecord:
    """One call to a person; `subject` is a station, camera, worker, actuator or the store.

    `alarm_id` is None until it is recorded.
    """

    raised_realtime_ns: int
    kind: str
    subject: str
    text: str
    alarm_id: int | None = None
