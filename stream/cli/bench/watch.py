"""What only a running line shows: its processes' use of CPU and memory, and what disturbed the machine meanwhile.

It reads the kernel's counters at both ends of the measured time and nothing that stops a process, which adding up its
pages would. The pages of metrics are read afterwards, while parts that do not count still pass.
"""

from __future__ import annotations

import contextlib
import time
import urllib.request
from collections.abc import Callable
from typing import NamedTuple

import psutil
from prometheus_client.parser import text_string_to_metric_families

from stream.cli.bench.standstill import CoreTimes, Disturbance, disturbance
from stream.core.parts import LedgerCounts
from stream.line.config import LineConfig

#: Parts that do not count: before the measured time, for the warm-up, and after it, s.
WARM_UP_S, COOL_DOWN_S = 2.0, 2.0
#: Interval at which the line is looked at, s: its ledger is read each time.
LOOK_S = 0.5


class _Reading(NamedTuple):
    """Counters at one moment: of the cores, of each role, of this process."""

    cores: CoreTimes
    roles_s: dict[str, float]
    own_s: float


class Watch:
    """Watches one line from its start to its end; called by `run_trial`."""

    def __init__(self, config: LineConfig, total: int, seconds: float, track: Callable[[int, int], None]) -> None:
        """Watch a line of `total` parts of which those of `seconds` count."""
        self._config = config
        self._total = total
        self._seconds = seconds
        self._track = track
        self._first_s: float | None = None
        self._roles: dict[str, psutil.Process] = {}
        self._begin: _Reading | None = None
        self._end: _Reading | None = None
        self._pages_read = False
        #: Use of CPU by role, in % of one core.
        self.cpu_percent: dict[str, float] = {}
        #: What was dropped to keep up, by kind.
        self.dropped: dict[str, int] = {}
        #: Memory of the workers without what comes from files, MiB.
        self.worker_mib = 0.0

    def __call__(self, ledger: dict[str, LedgerCounts], supervisor: int) -> None:
        """Take the readings whose time has come."""
        announced = sum(counts.announced for counts in ledger.values())
        self._track(min(announced, self._total), self._total)
        if announced and self._first_s is None:
            self._first_s = time.monotonic()
        if self._first_s is None or announced >= self._total:
            return
        measured_s = time.monotonic() - self._first_s - WARM_UP_S
        with contextlib.suppress(psutil.Error):
            if self._begin is None and measured_s >= 0:
                self._roles = running_roles(supervisor)
                self._begin = self._reading()
            elif self._end is None and self._begin is not None and measured_s >= self._seconds - LOOK_S:
                self._end = self._reading()
                self._compare(self._begin, self._end)
            elif self._end is not None and not self._pages_read and measured_s >= self._seconds:
                self._pages_read = True
                self.dropped = _dropped(self._config)

    @property
    def measuring(self) -> bool:
        """Whether the measured time has begun and not ended."""
        return self._begin is not None and self._end is None

    def disturbance(self, standstill_ms: float) -> Disturbance:
        """Return what disturbed the machine in the measured time, in which it stood still so long."""
        if self._begin is None or self._end is None or not self.cpu_percent:
            return Disturbance(standstill_ms)
        used_s = sum(self._end.roles_s.values()) - sum(self._begin.roles_s.values())
        own_s = used_s + self._end.own_s - self._begin.own_s
        return disturbance(self._begin.cores, self._end.cores, own_s, standstill_ms)

    def _reading(self) -> _Reading:
        roles_s = {role: sum(process.cpu_times()[:2]) for role, process in self._roles.items()}
        return _Reading(CoreTimes.now(), roles_s, sum(psutil.Process().cpu_times()[:2]))

    def _compare(self, begin: _Reading, end: _Reading) -> None:
        elapsed_s = end.cores.at_s - begin.cores.at_s
        self.cpu_percent = {role: 100 * (end.roles_s[role] - begin.roles_s[role]) / elapsed_s for role in end.roles_s}
        memory = [process.memory_info() for role, process in self._roles.items() if role.startswith("infer")]
        self.worker_mib = sum(each.rss - each.shared for each in memory) / 2**20


def running_roles(supervisor: int) -> dict[str, psutil.Process]:
    """Return the running processes of a line by role; those of several cameras or workers get a number."""
    roles = {"supervisor": psutil.Process(supervisor)}
    for child in psutil.Process(supervisor).children():
        try:
            arguments = child.cmdline()
        except psutil.Error:
            continue
        role = next((word for word in arguments if word in ("capture", "infer", "sink", "dashboard")), None)
        if role:
            roles[role if role in ("sink", "dashboard") else f"{role} {arguments[-1]}"] = child
    return roles


def _dropped(config: LineConfig) -> dict[str, int]:
    """Return what the processes dropped to keep up, from their metrics pages."""
    dropped: dict[str, int] = {}
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this host needs no proxy
    for role in config.roles:
        address = config.metrics_address(role)
        assert address is not None
        try:
            with direct.open(f"http://{address[0]}:{address[1]}/metrics", timeout=2) as page:
                families = list(text_string_to_metric_families(page.read().decode()))
        except OSError:
            continue
        for family in families:
            for sample in family.samples:
                if sample.name == "patchline_dropped_total" and sample.value:
                    dropped[sample.labels["what"]] = dropped.get(sample.labels["what"], 0) + int(sample.value)
    return dropped
