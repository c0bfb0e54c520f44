"""The log of a process: one line for each record, on standard error, whatever a peer, camera or file name contains."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
import traceback
from typing import TextIO

from stream.core import metrics
from stream.core.errors import ConfigError
from stream.core.log_lines import RepeatedLines, bounded, printable
from stream.core.token_bucket import TokenBuckets

#: Different lines that one place in the code may write at once, and per second; beyond that they count as equal.
_BURST, _PER_S = 300, 20
#: Longest traceback, lines: the last ones.
_TRACEBACK_LINES = 60
#: Interval at which repeated lines are summed up, ns.
_SWEEP_NS = 1_000_000_000


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes records as lines with time, role and level; escapes, cuts and counts. Any thread may log."""

    def __init__(self, role: str, stream: TextIO) -> None:
        """Write the lines of a role."""
        super().__init__(stream)
        self._role = role
        self._repeated = RepeatedLines()
        self._sites = TokenBuckets(_BURST, _PER_S / 1e9)
        self._next_sweep_ns = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, unless its like was written a moment ago."""
        try:
            now_ns = time.monotonic_ns()
            if now_ns >= self._next_sweep_ns:
                self._next_sweep_ns = now_ns + _SWEEP_NS
                self._sum_up(now_ns)
            message = record.getMessage()
            text = _clean(message)
            site = (record.name, record.lineno)
            alike = getattr(record, "from_peer", False) or self._sites.available(site, now_ns) < 1
            left_out = self._repeated.admit(site if alike else (*site, text), text, now_ns)
            if left_out is None:
                metrics.LOG_LINES.labels("left_out").inc()
                return
            if not alike:
                self._sites.take(site, 1)
            more = f" ({left_out} more like this before)" if left_out else ""
            self._write(record.created, record.levelname, text + more)
            if record.exc_info and record.exc_info[0] is not None:
                self._write_traceback(record)
            self.flush()
        except Exception:  # noqa: BLE001 - logging must not end a process
            self.handleError(record)

    def close(self) -> None:
        """Sum up what was left out."""
        with contextlib.suppress(OSError, ValueError):  # standard error may be closed already
            self._sum_up(None)
        super().close()

    def _sum_up(self, now_ns: int | None) -> None:
        for text, left_out in self._repeated.due(now_ns):
            self._write(time.time(), "WARNING", f"{left_out} more like this: {text}")

    def _write(self, created_s: float, level: str, text: str) -> None:
        clock = time.strftime("%H:%M:%S", time.localtime(created_s))
        self.stream.write(f"{clock}.{int(created_s * 1e3) % 1000:03d} {self._role:<14} {level:<7} {text}\n")

    def _write_traceback(self, record: logging.LogRecord) -> None:
        assert record.exc_info is not None
        lines = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n").split("\n")
        for line in lines[-_TRACEBACK_LINES:]:
            self.stream.write(f"    | {_clean(line)}\n")  # no line of it looks like a line of the log


def _clean(message: str) -> str:
    text = printable(message)
    if text != message:
        metrics.LOG_LINES.labels("escaped").inc()
    short = bounded(text)
    if short != text:
        metrics.LOG_LINES.labels("cut").inc()
    return short


def configure_logging(role: str, level: str) -> None:
    """Write the log of this process to standard error from `level` on; raises ConfigError for an unknown level."""
    if level not in logging.getLevelNamesMapping():
        raise ConfigError(f"PATCHLINE_LOG: expected DEBUG, INFO, WARNING or ERROR, got '{printable(level)}'")
    logging.basicConfig(level=level, handlers=[LineHandler(role, sys.stderr)], force=True)
