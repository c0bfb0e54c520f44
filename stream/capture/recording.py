"""A recording: a folder that holds frames as a camera gave them, for `patchline replay`.

Each frame is `SEQ.npy`, its pixels without loss or compression (a PNG takes ten times as long to write,
on a core that verdicts need), and then `SEQ.json`, one line of what else is known of it. A frame that a
crash cut short has no line, or pixels that do not match it: it is skipped.
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

#: Pixels that may wait for the disk; what does not fit is dropped and counted.
WAITING_BYTES = 256 * 2**20
WAITING_FRAMES = 256


class Fault(msgspec.Struct, frozen=True):
    """Why a frame has no picture."""

    cause: Cause
    detail: str


class RecordedLine(msgspec.Struct, frozen=True):
    """What a recording says of one frame, beside its pixels.

    Attributes:
        captured_ns: on the monotonic clock of the host that recorded.
        realtime_ns: the same moment since 1970.
        crc32: of the pixels.
    """

    seq: Seq
    captured_ns: int
    realtime_ns: int
    part_id: str | None = None
    fault: Fault | None = None
    crc32: int | None = None


class Recorded(NamedTuple):
    """One frame read back."""

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
    """Writes frames in a thread of its own; capture never waits for it."""

    def __init__(self, options: RecordOptions) -> None:
        """Continue the recording in the folder, or begin it; raises CameraError when it cannot be written."""
        super().__init__(name="recording", daemon=True)
        self._folder = options.path
        self._keep = None if options.keep == "all" else options.keep
        self._kept: deque[Path] = deque()  # of a ring, the oldest first
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._ending = False
        self._failing = False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (probe := self._folder / ".probe").touch()
            probe.unlink()
            lines = list(self._folder.glob("*.json"))
            for cut_short in {path.stem for path in self._folder.glob("*.npy")} - {path.stem for path in lines}:
                (self._folder / f"{cut_short}.npy").unlink()
            if self._keep is not None:
                self._kept.extend(sorted(lines, key=lambda path: path.stat().st_mtime_ns))
        except OSError as error:
            raise CameraError(f"record.path: {self._folder}: cannot be written: {error.strerror}") from None

    def add(self, seq: int, frame: Frame) -> None:
        """Queue a frame; one that does not fit is dropped and counted."""
        waiting = _Waiting(seq, frame, time.time_ns() - time.monotonic_ns() + frame.captured_ns)
        with self._changed:
            full = self._waiting_bytes + waiting.size > WAITING_BYTES or len(self._waiting) >= WAITING_FRAMES
            if full and self._waiting:  # a single picture may be larger than the limit
                metrics.DROPPED.labels("recording").inc()
                return
            self._waiting.append(waiting)
            self._waiting_bytes += waiting.size
            self._changed.notify()

    def end(self, timeout_s: float) -> None:
        """Write what waits, then stop."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        if self.ident is None:  # the process ends before it began
            return
        self.join(timeout_s)
        if self.is_alive():
            log.error("recording: %s: the disk hangs, %d frames are lost", self._folder, len(self._waiting))

    def run(self) -> None:
        """Write frames until told to end."""
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
        if path.exists():  # of numbers that began anew
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
            line = RecordedLine(waiting.seq, frame.captured_ns, waiting.realtime_ns, frame.part_id, fault, crc32)
            path.write_bytes(msgspec.json.encode(line) + b"\n")
        except BaseException:
            _remove(path)  # half a frame only takes room
            raise
        if self._keep is not None:
            self._kept.append(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_suffix(".npy").unlink(missing_ok=True)


class Recording:
    """A recording to read: its frames in the order of their numbers."""

    def __init__(self, folder: Path) -> None:
        """Look into the folder; raises CameraError when it holds no recording."""
        self.folder = folder
        #: Frames that were skipped because they are cut short or damaged.
        self.damaged: list[str] = []
        self._lines = sorted(folder.glob("*.json")) if folder.is_dir() else []
        if not self._lines:
            raise CameraError(f"{folder}: no recording in it; name the folder of cameras.NAME.record.path")

    def __len__(self) -> int:
        return len(self._lines)

    def frames(self) -> Iterator[Recorded | None]:
        """Yield every frame, or None for one that is skipped."""
        for path in self._lines:
            try:
                yield _read(path)
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                self.damaged.append(f"{path.name}: {error}")
                yield None


def _read(path: Path) -> Recorded:
    """Read one frame back; raises OSError, ValueError or MsgspecError when it is not whole."""
    line = msgspec.json.decode(path.read_bytes(), type=RecordedLine)
    image: NDArray[np.uint8] | None = None
    if line.crc32 is not None:
        image = np.load(io.BytesIO(path.with_suffix(".npy").read_bytes()), allow_pickle=False)
        if zlib.crc32(image.data) != line.crc32 or image.dtype != np.uint8:
            raise ValueError("the pixels are not those that were written")
    fault = None if line.fault is None else FrameFault(line.fault.cause, line.fault.detail)
    return Recorded(line.seq, line.realtime_ns, Frame(image, line.captured_ns, line.part_id, fault))
