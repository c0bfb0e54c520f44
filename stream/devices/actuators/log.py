"""An actuator that writes what it would have done: one JSON line per pulse."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from typing import Literal

from stream.core.errors import ConfigError
from stream.core.options import ConfigPath, Options
from stream.devices.actuators.actuator import RejectCommand


class LogActuatorOptions(Options):
    """Write every pulse to a JSON-lines file; it is appended to."""

    kind: Literal["log"]
    path: ConfigPath

    def open(self) -> LogActuator:
        """Open the file for appending; raises ConfigError when that is not possible."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return LogActuator(os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644))
        except OSError as error:
            raise ConfigError(f"actuators: cannot write {self.path}: {error.strerror}") from None


class LogActuator:
    """The acknowledgement of this actuator is that the line has reached the operating system."""

    heartbeat_ns: int | None = None
    fault: str | None = None

    def __init__(self, file: int) -> None:
        """Take over the descriptor of a file that is open for appending."""
        self._file = file

    def check(self, _until_ns: int) -> None:
        """Do nothing: a file has no device behind it."""

    def begin(self, command: RejectCommand, fired_ns: int) -> None:
        """Append one line with planned and actual time in monotonic nanoseconds.

        Raises OSError when the file does not take all of it, as on a full disk; none of it stays then.
        """
        line = {
            "station": command.station,
            "seq": command.seq,
            "part_id": command.part_id,
            "verdict": command.verdict,
            "cause": command.cause,
            "score": command.score,
            "planned_ns": command.planned_ns,
            "actual_ns": fired_ns,
            "error_ms": (fired_ns - command.planned_ns) / 1e6,
            "pulse_ms": command.pulse_ns / 1e6,
            "realtime_s": time.time(),
        }
        data = json.dumps(line).encode() + b"\n"
        # Without a buffer, which would keep the line and write it at some later pulse.
        before = os.fstat(self._file).st_size
        written = os.write(self._file, data)
        if written < len(data):
            with contextlib.suppress(OSError):  # a pipe cannot take it back
                os.ftruncate(self._file, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def end(self) -> None:
        """A line has no end."""

    def beat(self, _level: bool, _until_ns: int) -> None:
        """A file has no heartbeat."""

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
