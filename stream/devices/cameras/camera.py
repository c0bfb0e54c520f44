"""The protocol of every camera: the frames it yields, and how it starts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stream.core.errors import FrameFault
from stream.core.options import ConfigPath, Options


class Frame(NamedTuple):
    """One picture, or the reason why there is none although a part was there.

    Attributes:
        image: (H, W, 3) uint8 BGR, or (H, W) uint8 of a grey camera; None exactly when `fault` is set.
        captured_ns: moment of exposure on this host's monotonic clock.
        part_id: name given from outside, if any.
        fault: why the picture cannot be judged.
    """

    image: NDArray[np.uint8] | None
    captured_ns: int
    part_id: str | None = None
    fault: FrameFault | None = None


class Start(NamedTuple):
    """Where a camera begins: 0 frames done in a new run, more after a restart within one.

    Attributes:
        frames_done: frames this run has had already.
        origin_ns: when the run began, on this host's monotonic clock.
    """

    frames_done: int
    origin_ns: int


#: What becomes of a camera's frames before the whole line is ready: `held`, it is not asked for the first one yet;
#: `dropped`, they show no part that has come; `counted`, each may be a part, which is to have its verdict.
BeforeReady = Literal["held", "dropped", "counted"]


class Camera(Protocol):
    """A camera that is open. `frames` ends when the camera does, or soon after `stop` is set."""

    @property
    def before_ready(self) -> BeforeReady:
        """What becomes of frames before the whole line is ready."""
        ...

    def frames(self, start: Start, stop: threading.Event) -> Iterator[Frame]:
        """Yield frames in order. A frame that was lost is yielded with its fault, never left out."""
        ...

    @property
    def fault(self) -> str | None:
        """Why no frames come at present, or None while the camera is well."""
        ...

    @property
    def stall_ns(self) -> int | None:
        """Time without a frame that is a fault of the camera; None: frames may take any time."""
        ...

    @property
    def reconnects(self) -> int:
        """How often it was opened again."""
        ...

    @property
    def frozen_frames(self) -> int | None:
        """Identical images in a row that mean a frozen camera; None: no number of them does."""
        ...


class RecordOptions(Options):
    """Keep the frames as the camera gave them, for `patchline replay`."""

    path: ConfigPath  # folder of the recording, one for each camera
    keep: Annotated[int, Field(ge=1)] | Literal["all"] = 200  # the newest frames, or all of them


class CommonCameraOptions(Options):
    """Options of every camera."""

    record: RecordOptions | None = None
