"""A real line under test: its configuration, its processes, its store and its metrics."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil
from prometheus_client.parser import text_string_to_metric_families

from stream.core.errors import StoreError
from stream.core.parts import LedgerCounts
from stream.line.config import LineConfig, load
from stream.store.event_reader import FILE_NAME, EventReader
from stream.store.event_store import EventStore
from stream.store.records import AlarmRecord, Event

T = TypeVar("T")


class Line:
    """`patchline run` (or one role) on a configuration of the test's own, in a folder of its own."""

    def __init__(self, folder: Path, configuration: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.path = folder / "line.yaml"
        self.log = folder / "line.log"
        defaults = {
            "line": "test",
            "store": {"path": "store", "record": "all"},
            "metrics": {"listen": f"127.0.0.1:{free_ports(8)}"},
            "dashboard": {"enabled": False},
        }
        self.path.write_text(json.dumps(defaults | configuration))
        #: Before every command of the line, such as one that enters another host's namespaces.
        self.prefix: tuple[str, ...] = ()
        self._read_config: tuple[str, LineConfig] | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def config(self) -> LineConfig:
        text = self.path.read_text()  # some tests change it
        if self._read_config is None or self._read_config[0] != text:
            self._read_config = text, load(self.path)
        return self._read_config[1]

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `patchline run`, or another command on this configuration."""
        command = [*self.prefix, sys.executable, "-m", "stream", *(arguments or ("run", str(self.path)))]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self._started.append(self.process)
        return self.process

    def finish(self, timeout_s: float = 90.0) -> int:
        """Wait for the normal end and return the exit code."""
        assert self.process is not None
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the line did not end within {timeout_s} s:\n{self.output()}") from None

    def stop_with_every_part_inspected(self, station: str = "cap") -> LedgerCounts:
        """Stop the line in order and see that a station's ledger is closed and that all its parts were inspected."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.finish() == 0, self.output()
        counts = self.ledger()[station]
        assert counts.closed
        assert (counts.pending, counts.uninspected) == ((), {}), self.output()
        return counts

    def reload(self) -> subprocess.CompletedProcess[str]:
        """Run `patchline reload` on this line and return its exit code and what it said."""
        command = [sys.executable, "-m", "stream", "reload", str(self.path), "--timeout", "60"]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=120, env=os.environ | {"COLUMNS": "300"}
        )

    def kill_everything(self) -> None:
        """Leave nothing behind, whatever the test did."""
        for process in self._started:
            if process.poll() is not None:
                continue
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            for member in family:
                member.kill()
            psutil.wait_procs(family, timeout=10)

    def child(self, role: str) -> int:
        """Return the process id of a running role."""
        assert self.process is not None
        words = {
            "sink": ["sink"],
            "dashboard": ["dashboard"],
            "worker0": ["infer", "0"],
            "worker1": ["infer", "1"],
        }.get(role, ["capture", role.removeprefix("capture-")])
        for child in psutil.Process(self.process.pid).children():
            try:
                command = child.cmdline()
            except psutil.Error:  # it has just been killed
                continue
            if all(word in command for word in words):
                return child.pid
        raise AssertionError(f"no process {role}:\n{self.output()}")

    def kill(self, role: str) -> int:
        """kill -9 a role; returns the process id it had."""
        pid = self.child(role)
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_for(self, condition: Callable[[], T | None], what: str, timeout_s: float = 60.0) -> T:
        """Return the condition's value as soon as there is one that is not None or False."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            value = condition()
            if value:
                return value
            if self.process is not None and self.process.poll() is not None:
                value = condition()
                if value:
                    return value
                raise AssertionError(f"the line ended before {what}:\n{self.output()}")
            time.sleep(0.02)
        raise AssertionError(f"no {what} within {timeout_s} s:\n{self.output()}")

    def announced(self, station: str) -> int:
        """Return how many parts the store knows of."""
        counts = self.ledger().get(station)
        return counts.announced if counts else 0

    def ledger(self) -> dict[str, LedgerCounts]:
        return self._read(lambda store: store.ledger()) or {}

    def events(self, station: str | None = None) -> list[Event]:
        """Return the events in the order of the parts' numbers; the store has them in that of their settlement."""
        events = self._read(lambda store: list(store.events(station=station))) or []
        return sorted(events, key=lambda event: event.part.seq)

    def alarms(self) -> list[AlarmRecord]:
        return self._read(lambda store: list(store.alarms())) or []

    def _read(self, question: Callable[[EventStore], T]) -> T | None:
        try:
            store = EventReader.open(self.config.store.path / FILE_NAME)
        except StoreError:
            return None
        try:
            return question(store)
        finally:
            store.close()

    def rejects(self) -> list[dict[str, Any]]:
        """Return what the log actuator has written."""
        path = self.folder / "rejects.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def metric(self, process: str, name: str, **labels: str) -> float | None:
        """Return one sample of a process's /metrics; None when it is not there (yet)."""
        address = self.config.metrics_address(process)
        assert address is not None
        try:
            with urllib.request.urlopen(f"http://{address[0]}:{address[1]}/metrics", timeout=2) as answer:
                text = answer.read().decode()
        except OSError:
            return None
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return None

    def output(self) -> str:
        """Return the log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def belt(folder: Path, **options: Any) -> dict[str, Any]:
    """A conveyor camera over a folder of parts of at most 160×120 px."""
    return {"kind": "conveyor", "path": str(folder), "belt_px": [200, 160], "rate_hz": 20} | options


def station(bundle: Path, **options: Any) -> dict[str, Any]:
    """A station that cuts the 160×120 px part from the belt's picture."""
    return {
        "camera": "top",
        "bundle": str(bundle),
        "roi": [20, 20, 160, 120],
        "deadline_ms": 2000,
        "reject": {"actuator": "gate", "transport_delay_ms": 2500, "tolerance_ms": 100},
    } | options


GATE = {"gate": {"kind": "log", "path": "rejects.jsonl"}}


# Test files run side by side, each process of pytest in a range of its own.
_next_port = itertools.count(21_000 + 2_000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")), 20)


def free_ports(count: int) -> int:
    """Return the first of up to 20 free ports in a row; no row is given out twice."""
    for first in _next_port:
        sockets = []
        try:
            for port in range(first, first + count):
                probe = socket.socket()
                sockets.append(probe)
                probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        else:
            return first
        finally:
            for probe in sockets:
                probe.close()
    raise AssertionError("no free ports")


def patchline(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person would, in a terminal 200 columns wide; one that hangs says in which lines."""
    command = [sys.executable, "-X", "faulthandler", "-m", "stream", *map(str, arguments)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "200", "TERM": "dumb"} | environment,
    )
    try:
        stdout, stderr = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # faulthandler writes the stack of every thread
        stdout, stderr = process.communicate(timeout=20)
        raise AssertionError(f"{command} hangs:\n{stdout}\n{stderr}") from None
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a mistake deserves."""
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr
    return line
