"""Put in front of the path of a process under test: its wall clock is as far off as a file says, and can be stepped.

The product reads real time through these two functions only, from Python; the monotonic clock, by which it waits, and
this machine's own clocks stay as they are. (libfaketime is no alternative: it breaks absolute sleeps, `time.sleep`.)
"""

import mmap
import os
import struct
import time
from pathlib import Path

with Path(os.environ["CAMPAIGN_WALL_CLOCK"]).open("r+b") as _file:
    _ahead = mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)
_real_time_ns = time.time_ns


def _time_ns() -> int:
    return _real_time_ns() + struct.unpack_from("<q", _ahead)[0]


def _time() -> float:
    return _time_ns() / 1e9


time.time_ns, time.time = _time_ns, _time
