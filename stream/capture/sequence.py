"""A camera's frame numbers and its run, kept on disk so that a restarted capture process goes on counting."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import msgspec

from stream.core.errors import CameraError, DiskError
from stream.core.files import write_atomically

_NUMBER = struct.Struct("<q")


class _Run(msgspec.Struct, frozen=True):
    """The present run: its name, its first number, and when it began on the monotonic clock."""

    run: str
    first_seq: int
    origin_ns: int


def run_has_begun(folder: Path, camera: str, run: str) -> bool:
    """Return whether an earlier process of this run has opened the camera."""
    try:
        return msgspec.json.decode((folder / f"{camera}.run.json").read_bytes(), type=_Run).run == run
    except (OSError, ValueError):
        return False  # `FrameSequence` reports a damaged file


class FrameSequence:
    """The numbers of one camera's frames, which survive its process, and the beginning of the run.

    Attributes:
        next_seq: number of the next frame.
        first_seq: number with which the run began.
        origin_ns: when the run began, on this host's monotonic clock.
    """

    def __init__(self, folder: Path, camera: str, run: str, now_ns: int) -> None:
        """Continue the camera's numbers; begin a new run unless `run` is the one on disk.

        Raises:
            CameraError: a file is damaged or cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(folder / f"{camera}.seq", os.O_RDWR | os.O_CREAT, 0o644)
            stored = os.pread(self._file, _NUMBER.size, 0)
            if len(stored) not in (0, _NUMBER.size):
                raise ValueError(
                    f"{camera}.seq is damaged; write the next number of the event store into it, or remove both"
                )
            self.next_seq: int = _NUMBER.unpack(stored)[0] if stored else 0
            path = folder / f"{camera}.run.json"
            begun = msgspec.json.decode(path.read_bytes(), type=_Run) if path.exists() else None
            if begun is None or begun.run != run:
                begun = _Run(run, self.next_seq, now_ns)
                write_atomically(path, msgspec.json.encode(begun))
        except (OSError, ValueError, DiskError) as error:
            raise CameraError(f"{folder}: cannot keep the numbers of camera {camera}: {error}") from None
        self.first_seq = begun.first_seq
        self.origin_ns = begun.origin_ns

    @property
    def frames_done(self) -> int:
        """Number of frames in this run so far."""
        return self.next_seq - self.first_seq

    def take(self) -> int:
        """Return the next number, marked on disk as used before it is sent anywhere."""
        seq = self.next_seq
        self.next_seq = seq + 1
        # Without fsync: 1 µs for each frame instead of 90 µs on a fast disk, and seconds on a busy one. The page cache
        # outlives a killed process; a power failure ends the run anyway.
        os.pwrite(self._file, _NUMBER.pack(self.next_seq), 0)
        return seq
