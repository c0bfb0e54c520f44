"""Cameras: one file per kind. The union below is the registry; a new camera is one file and one line."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stream.devices.cameras.conveyor.camera import ConveyorCameraOptions
from stream.devices.cameras.folder import FolderCameraOptions
from stream.devices.cameras.genicam.camera import GenicamCameraOptions
from stream.devices.cameras.rtsp import RtspCameraOptions
from stream.devices.cameras.v4l2.camera import V4l2CameraOptions
from stream.devices.cameras.video import VideoCameraOptions

CameraOptions = Annotated[
    FolderCameraOptions
    | VideoCameraOptions
    | ConveyorCameraOptions
    | RtspCameraOptions
    | V4l2CameraOptions
    | GenicamCameraOptions,
    Field(discriminator="kind"),
]
