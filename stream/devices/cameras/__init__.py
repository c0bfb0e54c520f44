"""Cameras: one file per kind. The union below is the registry; a new camera is one file and one line."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stream.devices.cameras.conveyor.camera import ConveyorOptions
from stream.devices.cameras.folder import FolderOptions
from stream.devices.cameras.genicam.camera import GenicamOptions
from stream.devices.cameras.rtsp import RtspOptions
from stream.devices.cameras.v4l2.camera import V4l2Options
from stream.devices.cameras.video import VideoOptions

CameraOptions = Annotated[
    FolderOptions | VideoOptions | ConveyorOptions | RtspOptions | V4l2Options | GenicamOptions,
    Field(discriminator="kind"),
]
