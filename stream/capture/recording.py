"""A recording: a folder of frames as the camera delivered them, for `patchline replay`.

Each frame is `SEQ.npy`, its pixels without loss or compression (a PNG takes ten times as long to write, on a core that
inference needs), and then `SEQ.json`, one line of metadata. A frame that a crash cut short has no metadata, or pixels
that do not match them: it is skipped.
"""

from __future__ import annotations

import io
import logging
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.core import metrics
from stream.core.errors import CameraError, FrameFault
from stream.core.parts import Seq
from stream.core.verdict import Cause
from stream.devices.cameras.camera import Frame, RecordOptions

log = logging.getLogger(__name__)

#: Bytes of pixels that may wait for the disk; a frame that does not fit is dropped and counted.
WAITING_BYTES = 256 * 2**20
#: Frames that may wait for the disk.
WAITING_FRAMES = 256


class Fault(msgspec.Struct, frozen=True):
    """Why a frame has no image."""

    cause: Cause
    detail: str


class FrameMetadata(msgspec.Struct, frozen=True):
    """What a recording holds of one frame besides its pixels.

    Attributes:
        captured_ns: on the monotonic clock of the host that recorded.
        realtime_ns: the same moment as Unix time.
        crc32: of the pixels; None without an image.
    """

    seq: Seq
    captured_ns: int
    realtime_ns: int
    part_id: str | None = None
    fault: Fault | None = None
    crc32: int | None = None


class Recorded(NamedTuple):
    """One frame as read from a recording; its `captured_ns` is on the clock of the host that recorded."""

    seq: int
    realtime_ns: int
    frame: Frame


class _Waiting(NamedTuple):
    seq: int
    frame: Frame
    realtime_ns: int

    @property
    def size(self) -> int:
        return 0 if self.frame.image is None else self.frame.image.nbytes


class RecordingThread(threading.Thread):
    """Writes frames to disk; capture never waits for it."""

    def __init__(self, options: RecordOptions) -> None:
        """Continue the recording in the folder, or begin one; raises CameraError when it cannot be written."""
        super().__init__(name="recording", daemon=True)
        self._folder = options.path
        self._keep = None if options.keep == "all" else options.keep
        self._kept: deque[Path] = deque()  # metadata files of a ring, oldest first
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._ending = False
        self._failing = False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (probe := self._folder / ".probe").touch()
            probe.unlink()
            paths = list(self._folder.glob("*.json"))
            for incomplete in {path.stem for path in self._folder.glob("*.npy")} - {path.stem for path in paths}:
                (self._folder / f"{incomplete}.npy").unlink()
            if self._keep is not None:
                self._kept.extend(sorted(paths, key=lambda path: path.stat().st_mtime_ns))
        except OSError as error:
            raise CameraError(f"record.path: {self._folder}: cannot be written: {error.strerror}") from None

    def add(self, seq: int, frame: Frame) -> None:
        """Queue a frame; one that does not fit is dropped and counted. Any thread may call it."""
        waiting = _Waiting(seq, frame, time.time_ns() - time.monotonic_ns() + frame.captured_ns)
        with self._changed:
            full = self._waiting_bytes + waiting.size > WAITING_BYTES or len(self._waiting) >= WAITING_FRAMES
            if full and self._waiting:  # a single image may be larger than the limit
                metrics.DROPPED.labels("recording").inc()
                return
            self._waiting.append(waiting)
            self._waiting_bytes += waiting.size
            self._changed.notify()

    def end(self, timeout_s: float) -> None:
        """Write the waiting frames, then stop; gives up after `timeout_s`."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        if self.ident is None:  # the process ended before it started the thread
            return
        self.join(timeout_s)
        if self.is_alive():
            log.error("recording: %s: the disk hangs, %d frames are lost", self._folder, len(self._waiting))

    def run(self) -> None:
        """Write frames until `end` is called and none waits."""
        while True:
            with self._changed:
                while not self._waiting and not self._ending:
                    self._changed.wait()
                if not self._waiting:
                    return
                waiting = self._waiting[0]
            try:
                self._write(waiting)
                self._failing = False
            except Exception as error:  # noqa: BLE001 - full disks and broken file systems raise many kinds
                metrics.DROPPED.labels("recording").inc()
                if not self._failing:
                    log.error("recording: %s: frames are lost: %s", self._folder, error)  # noqa: TRY400
                self._failing = True
            with self._changed:
                self._waiting.popleft()
                self._waiting_bytes -= waiting.size

    def _write(self, waiting: _Waiting) -> None:
        frame, path = waiting.frame, self._folder / f"{waiting.seq:012d}.json"
        while self._keep is not None and len(self._kept) >= self._keep:
            _remove(self._kept.popleft())
        if path.exists():  # the numbers have been reset
            if path in self._kept:
                self._kept.remove(path)
            _remove(path)
        crc32 = None
        try:
            if frame.image is not None:
                image = np.ascontiguousarray(frame.image)
                crc32 = zlib.crc32(image.data)
                np.save(path.with_suffix(".npy"), image, allow_pickle=False)
            fault = None if frame.fault is None else Fault(frame.fault.cause, frame.fault.detail)
            metadata = FrameMetadata(waiting.seq, frame.captured_ns, waiting.realtime_ns, frame.part_id, fault, crc32)
            path.write_bytes(msgspec.json.encode(metadata) + b"\n")
        except BaseException:
            _remove(path)  # an incomplete frame is of no use
            raise
        if self._keep is not None:
            self._kept.append(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_suffix(".npy").unlink(missing_ok=True)


class Recording:
    """A recording to read: its frames in the order of their numbers."""

    def __init__(self, folder: Path) -> None:
        """List the frames in the folder; raises CameraError when there is none."""
        self.folder = folder
        #: Frames skipped because they are incomplete or damaged: file name and error.
        self.damaged: list[str] = []
        self._paths = sorted(folder.glob("*.json")) if folder.is_dir() else []
        if not self._paths:
            raise CameraError(f"{folder}: no recording in it; name the folder of cameras.NAME.record.path")

    def __len__(self) -> int:
        return len(self._paths)

    def frames(self) -> Iterator[Recorded | None]:
        """Yield every frame, or None in place of a skipped one."""
        for path in self._paths:
            try:
                yield _read(path)
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                self.damaged.append(f"{path.name}: {error}")
                yield None


def _read(path: Path) -> Recorded:
    """Read one frame; raises OSError, ValueError or MsgspecError when it is incomplete or damaged."""
    metadata = msgspec.json.decode(path.read_bytes(), type=FrameMetadata)
    image: NDArray[np.uint8] | None = None
    if metadata.crc32 is not None:
        image = np.load(io.BytesIO(path.with_suffix(".npy").read_bytes()), allow_pickle=False)
        if zlib.crc32(image.data) != metadata.crc32 or image.dtype != np.uint8:
            raise ValueError("the pixels differ from those that were written")
    fault = None if metadata.fault is None else FrameFault(metadata.fault.cause, metadata.fault.detail)
    return Recorded(metadata.seq, metadata.realtime_ns, Frame(image, metadata.captured_ns, metadata.part_id, fault))
