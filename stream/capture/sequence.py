"""A camera's frame numbers and its run, kept on disk so that a restarted capture process goes on counting.

`CAMERA.seq` holds the next number twice, in decimal digits of a fixed length: each copy checks the other, and a person
can read and write it. A number that has no place on the wire is never taken, whatever the file says.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from stream.core.errors import CameraError, DiskError
from stream.core.files import write_atomically
from stream.core.parts import SEQ_END, Seq

_DIGITS = len(str(SEQ_END))
_CONTENT = re.compile(rb"\s*(\d{1,20})\s+(\d{1,20})\s*")


class _Run(msgspec.Struct, frozen=True):
    """The present run: its name, its first number, and when it began on the monotonic clock."""

    run: str
    first_seq: Seq
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
        seq_path, run_path = folder / f"{camera}.seq", folder / f"{camera}.run.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(seq_path, os.O_RDWR | os.O_CREAT, 0o644)
            begun = _run(run_path.read_bytes(), run_path) if run_path.exists() else None
            self.next_seq: int = _next_seq(os.pread(self._file, 256, 0), seq_path, first=begun is None)
            if begun is not None and begun.first_seq > self.next_seq:
                raise ValueError(
                    f"{run_path.name} says that the run began with number {begun.first_seq}, {seq_path.name} that the "
                    f"next one is {self.next_seq}; {_fix(seq_path)}"
                )
            if begun is None or begun.run != run:
                begun = _Run(run, self.next_seq, now_ns)
                write_atomically(run_path, msgspec.json.encode(begun))
            os.pwrite(self._file, _content(self.next_seq), 0)
            os.ftruncate(self._file, len(_content(self.next_seq)))
        except (OSError, ValueError, DiskError) as error:
            raise CameraError(f"{folder}: cannot keep the numbers of camera {camera}: {error}") from None
        self.first_seq = begun.first_seq
        self.origin_ns = begun.origin_ns

    @property
    def frames_done(self) -> int:
        """Number of frames in this run so far."""
        return self.next_seq - self.first_seq

    def take(self) -> int:
        """Return the next number, marked on disk as used before it is sent anywhere.

        Raises CameraError when there is none that the wire can carry.
        """
        seq = self.next_seq
        if seq + 1 >= SEQ_END:  # also the number after it is sent
            raise CameraError(f"the camera's frame numbers are used up ({seq}): remove store.path and begin at 0")
        self.next_seq = seq + 1
        # Without fsync: 1 µs for each frame instead of 90 µs on a fast disk, and seconds on a busy one. The page cache
        # outlives a killed process; a power failure ends the run anyway.
        os.pwrite(self._file, _content(self.next_seq), 0)
        return seq


def _content(next_seq: int) -> bytes:
    return b"%0*d %0*d\n" % (_DIGITS, next_seq, _DIGITS, next_seq)


def _next_seq(content: bytes, path: Path, *, first: bool) -> int:
    """Return the number in a file's content, 0 for a file that is new with the `first` run; raises ValueError."""
    if not content and first:
        return 0
    copies = _CONTENT.fullmatch(content)
    if copies is None or int(copies[1]) != int(copies[2]):
        raise ValueError(f"{path.name} is damaged, or of another release; {_fix(path)}")
    number = int(copies[1])
    if not 0 <= number < SEQ_END:
        raise ValueError(f"{path.name} is damaged: {number} is no number of a frame (0 to {SEQ_END - 1}); {_fix(path)}")
    return number


def _run(content: bytes, path: Path) -> _Run:
    try:
        return msgspec.json.decode(content, type=_Run)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is damaged ({error}); remove it") from None


def _fix(path: Path) -> str:
    return (
        f"write the number after the camera's last event into it twice (`echo N N > {path}`), or remove "
        "the whole store.path to begin at 0"
    )
