"""Cameras: one file per kind. The union below is the registry; a new camera is one file and one line."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stream.sources.conveyor import ConveyorOptions
from stream.sources.folder import FolderOptions
from stream.sources.genicam import GenicamOptions
from stream.sources.rtsp import RtspOptions
from stream.sources.v4l2 import V4l2Options
from stream.sources.video import VideoOptions

SourceOptions = Annotated[
    FolderOptions | VideoOptions | ConveyorOptions | RtspOptions | V4l2Options | GenicamOptions,
    Field(discriminator="kind"),
]
