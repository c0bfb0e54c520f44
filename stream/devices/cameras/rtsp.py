"""`kind: rtsp`: a network camera."""

from __future__ import annotations

import math
import socket
import struct
import time
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field

from stream.core.addresses import ENCODE, url_problem
from stream.core.errors import FrameFault
from stream.core.options import PositiveMs
from stream.core.redaction import without_password
from stream.devices.cameras.camera import Camera, Frame
from stream.devices.cameras.decoding import Decoder, bgr, video_stream
from stream.devices.cameras.reconnecting import CameraLost, FrozenFrames, ReconnectingCamera, ReconnectingCameraOptions

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

#: A sender's time stamp further in the past is that of a wrong clock, not of a slow network.
OLDEST_NS = 3_000_000_000


class RtspCameraOptions(ReconnectingCameraOptions):
    """A free-running network camera."""

    kind: Literal["rtsp"]
    url: Annotated[str, Field(pattern=r"^rtsps?://[^\s/]\S*$")]  # rtsp://user:password@host:554/path
    transport: Literal["tcp", "udp"] = "tcp"  # udp loses pictures, and distrusts those that build on them
    open_timeout_ms: PositiveMs = 3000.0  # to connect, and then again for the first key frame
    sender_clock: bool = True  # the camera's time stamps, where they are plausible; False: the moment of arrival
    # H.264 of a still scene repeats itself exactly for a while.
    frozen_frames: FrozenFrames = 25

    def open(self) -> Camera:
        """Return the camera once it delivers pictures; raises CameraError when it does not."""
        return ReconnectingCamera(without_password(self.url), self, lambda: _RtspConnection(self))


class _RtspConnection:
    def __init__(self, options: RtspCameraOptions) -> None:
        """Connect and wait for the first picture; raises CameraLost."""
        import av

        self._options = options
        self._silent_ns = int(options.stall_ms * 1e6)
        open_s = options.open_timeout_ms / 1e3
        low_latency = {
            "rtsp_transport": options.transport,
            "fflags": "nobuffer",
            "probesize": "32768",
            "analyzeduration": "0",
            # Packets that wait for one that was lost on the way of UDP; 0.5 s would be the default.
            "max_delay": "50000",
        }
        try:
            # Without a timeout FFmpeg waits without limit.
            self._container = av.open(options.url, options=low_latency, timeout=(open_s, options.stall_ms / 1e3))
        except av.FFmpegError as error:
            raise CameraLost(f"does not open: {_why_not(options.url, open_s, error.strerror)}") from None
        try:
            stream = video_stream(self._container)
            if stream is None:
                raise CameraLost("has no pictures at this address; is the path of the URL that of the video?")
            self._decoder = Decoder(stream, lossy=options.transport == "udp")
            self._packets = self._container.demux(stream)
            self._first = self._first_pictures(open_s)
        except BaseException:
            self._container.close()
            raise

    def read(self) -> list[Frame]:
        """Return the frames of the next packet; raises CameraLost."""
        if self._first:
            frames, self._first = self._first, []
            return frames
        return self._next()

    def close(self) -> None:
        """Say goodbye to the camera."""
        self._container.close()

    def _first_pictures(self, within_s: float) -> list[Frame]:
        """Wait for the first key frame: what comes before it cannot be decoded, and is no fault."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            frames = [frame for frame in self._next() if frame.image is not None]
            if frames:
                return frames
        raise CameraLost(
            f"sends no complete picture within {within_s * 1e3:.0f} ms; raise open_timeout_ms, "
            "or have the camera send key frames (I-frames) more often"
        )

    def _next(self) -> list[Frame]:
        import av

        begun_ns = time.monotonic_ns()
        try:
            packet = next(self._packets, None)
        except av.error.ExitError:
            packet = None
        except av.FFmpegError as error:
            raise CameraLost(f"the connection broke: {error.strerror}") from None
        arrived_ns = time.monotonic_ns()
        if arrived_ns - begun_ns >= self._silent_ns:
            # FFmpeg knows only by the next picture that one is complete. At a timeout it hands out what it
            # has, perhaps half a picture, and its connection is of no more use.
            raise CameraLost(f"sent nothing for {self._options.stall_ms:.0f} ms or more")
        if packet is None or packet.size == 0:
            raise CameraLost("the camera ended the stream")
        return [self._frame(picture, packet, arrived_ns) for picture in self._decoder.decode(packet)]

    def _frame(self, picture: VideoFrame | FrameFault, packet: Packet[VideoStream], arrived_ns: int) -> Frame:
        if isinstance(picture, FrameFault):
            return Frame(None, arrived_ns, fault=picture)
        sent_ns = _sent_ns(packet) if self._options.sender_clock else None
        if sent_ns is not None and picture.pts is not None and packet.pts is not None:
            # Where pictures are reordered, this one came with an earlier packet.
            sent_ns += int((picture.pts - packet.pts) * packet.time_base * 10**9)
        captured_ns = exposed_ns(sent_ns, time.time_ns() - time.monotonic_ns(), arrived_ns)
        return Frame(bgr(picture), captured_ns)


def exposed_ns(sent_ns: int | None, realtime_offset_ns: int, arrived_ns: int) -> int:
    """Return when a picture was taken on this host's monotonic clock: the sender's time where plausible, else now.

    Args:
        sent_ns: real time by the sender's clock; None: unknown.
        realtime_offset_ns: this host's real time less its monotonic time.
        arrived_ns: when the picture arrived, monotonic.
    """
    if sent_ns is None:
        return arrived_ns
    here_ns = sent_ns - realtime_offset_ns
    return here_ns if arrived_ns - OLDEST_NS <= here_ns <= arrived_ns else arrived_ns


def _sent_ns(packet: Packet[VideoStream]) -> int | None:
    """Return the sender's real time of a packet, which FFmpeg works out from the last RTCP sender report."""
    if not packet.has_sidedata("prft"):
        return None
    wallclock_us = struct.unpack_from("q", bytes(packet.get_sidedata("prft")))[0]
    return int(wallclock_us) * 1000


def _why_not(url: str, timeout_s: float, reason: str | None) -> str:
    """Say what keeps a camera from opening; FFmpeg's own words are the same for most of it."""
    try:
        address = urlsplit(url)
        port = address.port or (322 if address.scheme == "rtsps" else 554)
        socket.create_connection((address.hostname or "", port), math.ceil(timeout_s)).close()
    except TimeoutError:
        return "nothing answers at its address; is it switched on and in this network?"
    except ValueError:  # its text may hold a part of the password
        return url_problem(url) or f"its URL cannot be read; {ENCODE}"
    except OSError as error:
        return f"{error.strerror or 'no such host'}; are host and port of the URL right?"
    return f"it answers, but with no stream ({reason}); check path, user and password of the URL"
