"""What every camera can be told, whatever its kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stream.options import ConfigPath, Options


class Record(Options):
    """Keep the frames as the camera gave them, for `patchline replay`."""

    path: ConfigPath  # folder of the recording, one for each camera
    keep: Annotated[int, Field(ge=1)] | Literal["all"] = 200  # the newest frames, or all of them


class CameraOptions(Options):
    """Options of every camera."""

    record: Record | None = None
