"""Camera, workers and sink on three hosts: processes die, cables are pulled, the network is slow, clocks are wrong."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from campaigns.invariants import Run, Violation, violations
from campaigns.kill import Outcome
from campaigns.material import Material
from campaigns.namespaces import Host, hosts_on_a_bridge, set_wall_clock, wall_clock
from campaigns.observed import crashes, present_run, record_of, taken_numbers
from campaigns.relay import Weather, set_weather
from support.running import GATE, Line, belt

from stream.transport.sockets import make_keys

#: Seconds that each host's monotonic clock is ahead of this machine's; `road` only passes messages on.
CLOCKS_S = {"capture": 1_000.0, "worker": 50_000.0, "sink": 777_777.0, "road": 0.0}
_ANNOUNCEMENTS, _RESULTS, _FRAMES, _FEED, _TAP = 9500, 9501, 9502, 9503, 9504
RATE_HZ = 5.0
#: The sink knows a moment of exposure through readings of two clocks, between which a busy machine may pause, ns; less
#: than half the distance of two parts.
CLOCK_ERROR_NS = 80_000_000
#: Deeds with one set of hosts.
EPISODE = 8


class Deed(NamedTuple):
    """What is done to a host, after a pause and for how long; `value` is of the weather or of the clock, s."""

    after_s: float
    kind: str
    host: str
    for_s: float
    value: float = 0.0


#: Kinds of deeds, and how often in comparison.
KINDS = {"kill": 4, "freeze": 2, "partition": 4, "slow": 2, "loss": 2, "skew": 2}


def drawn_deeds(seed: int, count: int, kinds: dict[str, int] = KINDS) -> Iterator[Deed]:
    """Draw deeds."""
    dice = random.Random(seed)
    for _ in range(count):
        (kind,) = dice.choices(list(kinds), list(kinds.values()))
        host = dice.choice(("capture", "worker", "sink"))
        value = dice.choice((-0.4, -0.2, 0.2, 0.4, 3_600.0)) if kind == "skew" else dice.uniform(0.005, 0.1)
        yield Deed(dice.uniform(0.5, 2.0), kind, host, dice.choice((0.5, 1.5, 3.0)), value)


class Plant:
    """Three hosts with a line on them."""

    def __init__(self, folder: Path, material: Material) -> None:
        """Prepare each host's own copy of keys and configuration; nothing is started."""
        folder.mkdir(parents=True)
        self._folder, self._stack = folder, ExitStack()
        self.hosts: dict[str, Host] = {}
        self.lines: dict[str, Line] = {}
        self.deeds: Counter[str] = Counter()
        self._runs: list[Run] = []
        self._material = material

    def __enter__(self) -> Plant:
        self.hosts = self._stack.enter_context(hosts_on_a_bridge(CLOCKS_S, self._folder))
        address = {name: host.address for name, host in self.hosts.items()}
        self._weather = self._folder / "weather"
        set_weather(self._weather, Weather())
        routes = [
            f"{address['road']}:{port}={address[host]}:{port}"
            for host, port in (("sink", _ANNOUNCEMENTS), ("sink", _RESULTS), ("capture", _FRAMES))
        ]
        script = str(Path(__file__).with_name("relay.py"))
        command = [*self.hosts["road"].prefix, sys.executable, script, str(self._weather), *routes]
        relay = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._stack.callback(relay.wait)
        self._stack.callback(relay.kill)
        assert relay.stdout is not None
        assert relay.stdout.readline() == "listening\n"
        for name in ("capture", "worker", "sink"):
            line = Line(self._folder / name, self._configuration(name, address))
            if not self.lines:
                make_keys(line.folder / "keys")
            else:
                first = next(iter(self.lines.values())).folder / "keys"
                (line.folder / "keys").mkdir(mode=0o700)
                for key in first.iterdir():
                    (line.folder / "keys" / key.name).write_bytes(key.read_bytes())
                    (line.folder / "keys" / key.name).chmod(0o600)
            set_wall_clock(line.folder / "clock", 0.0)
            line.prefix = (*self.hosts[name].prefix, *wall_clock(line.folder / "clock"))
            self.lines[name] = line
            self._stack.callback(line.kill_everything)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, host: str) -> None:
        """Start a host's process."""
        line = self.lines[host]
        options = {"capture": ("--camera", "top"), "worker": ("--worker", "0"), "sink": ()}[host]
        role = "infer" if host == "worker" else host
        line.start(role, str(line.path), *options)

    def run(self, deeds: Iterator[Deed]) -> Outcome:
        """Run the line, do everything, heal everything, end in order; returns what was found."""
        found: list[Violation] = []
        try:
            for host in ("sink", "worker"):
                self.start(host)
            time.sleep(5.0)  # nothing makes a camera wait for a worker of another host
            self.start("capture")
            self.lines["sink"].wait_for(lambda: self.lines["sink"].announced("cap") > 5, "parts")
            for deed in deeds:
                time.sleep(deed.after_s)
                self._do(deed)
            self._end()
        except AssertionError as error:
            found.append(Violation("line", str(error)[:4_000]))
        return self._outcome(found)

    def _configuration(self, name: str, address: dict[str, str]) -> dict[str, Any]:
        """The copy of one host, which reaches the others over the road."""

        def at(host: str, port: int) -> str:
            return f"tcp://{address[host if host == name else 'road']}:{port}"

        station = {
            "camera": "top",
            "bundle": str(self._material.bundle),
            "roi": [20, 20, 160, 120],
            "deadline_ms": 800,
            "reject": {"actuator": "gate", "transport_delay_ms": 1_500, "tolerance_ms": 50},
        }
        return {
            "cameras": {"top": belt(self._material.parts, parts=10_000_000, rate_hz=RATE_HZ)},
            "stations": {"cap": station},
            "actuators": GATE,
            "workers": [{"threads": 1}],
            "restarts": {"drain_s": 5.0},
            "transport": {
                "keys": "keys",
                "announcements": at("sink", _ANNOUNCEMENTS),
                "results": at("sink", _RESULTS),
                "feed": f"tcp://{address['sink']}:{_FEED}",
                "frames": {"top": at("capture", _FRAMES)},
                "taps": {"top": f"tcp://{address['capture']}:{_TAP}"},
            },
        }

    def _do(self, deed: Deed) -> None:
        self.deeds[f"{deed.kind}, {deed.host}" if deed.kind not in ("slow", "loss") else deed.kind] += 1
        line, host = self.lines[deed.host], self.hosts[deed.host]
        if deed.kind == "kill":
            self._pid(deed.host, signal.SIGKILL)
            assert line.process is not None
            line.process.wait()
            self._note_run()
            time.sleep(deed.for_s)
            self.start(deed.host)
        elif deed.kind == "freeze":
            self._pid(deed.host, signal.SIGSTOP)
            time.sleep(deed.for_s)
            self._pid(deed.host, signal.SIGCONT)
        elif deed.kind == "partition":
            host.connect(False)
            time.sleep(deed.for_s)
            host.connect(True)
        elif deed.kind == "skew":
            set_wall_clock(line.folder / "clock", deed.value)
            time.sleep(deed.for_s)
            set_wall_clock(line.folder / "clock", 0.0)
        else:
            slow = (
                Weather(delay_ms=1e3 * deed.value, jitter_ms=20.0) if deed.kind == "slow" else Weather(loss=deed.value)
            )
            set_weather(self._weather, slow)
            time.sleep(deed.for_s)
            set_weather(self._weather, Weather())

    def _pid(self, host: str, number: signal.Signals) -> None:
        """Send a signal to a host's process: the programs before it have become it."""
        process = self.lines[host].process
        assert process is not None
        if process.poll() is None:
            os.kill(process.pid, number)

    def _note_run(self) -> None:
        run = present_run(self.lines["capture"].config.store.path, "top")
        if run is not None:
            ahead_ns = self.hosts["sink"].clock_ns - self.hosts["capture"].clock_ns
            moved = run._replace(origin_ns=run.origin_ns + ahead_ns)
            if moved not in self._runs:
                self._runs.append(moved)

    def _end(self) -> None:
        """Let the line go on undisturbed for a moment, then stop it in the order of the data."""
        sink = self.lines["sink"]
        before = taken_numbers(self.lines["capture"].config.store.path, "top")
        sink.wait_for(lambda: sink.announced("cap") > before + 10, "parts after the last deed")
        for host in ("capture", "worker", "sink"):
            process = self.lines[host].process
            assert process is not None
            process.send_signal(signal.SIGTERM)
            code = self.lines[host].finish(60)
            assert code == 0, f"{host} ended with {code}: {self.lines[host].output()[-3_000:]}"
        self._note_run()

    def _outcome(self, found: list[Violation]) -> Outcome:
        sink = self.lines["sink"]
        counts = sink.ledger().get("cap")
        if counts is not None and not found:
            record = dataclasses.replace(
                record_of(sink, "cap", self._runs),
                taken=taken_numbers(self.lines["capture"].config.store.path, "top"),
                clock_error_ns=CLOCK_ERROR_NS,
            )
            found += violations(record)
        for line in self.lines.values():
            found += crashes(line.output())
        uninspected = {} if counts is None else {str(cause): count for cause, count in counts.uninspected.items()}
        return Outcome(
            self.deeds,
            0 if counts is None else counts.announced,
            Counter(uninspected),
            len(sink.rejects()),
            sink.output().count("late reject:"),
            found,
        )


def campaign(
    folder: Path, material: Material, *, seed: int, count: int, seconds: float, kinds: dict[str, int] = KINDS
) -> Iterator[Outcome]:
    """Run plant after plant until the deeds are done or the time is over; yields the outcome of each."""
    until = time.monotonic() + seconds
    for number, first in enumerate(range(0, count, EPISODE)):
        if time.monotonic() > until:
            return
        with Plant(folder / f"seed-{seed + number}", material) as plant:
            yield plant.run(drawn_deeds(seed + number, min(EPISODE, count - first), kinds))
