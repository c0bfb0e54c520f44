"""Random processes of a running line are killed, stopped or frozen at random moments; nothing may be lost by that."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from campaigns.invariants import Run, Violation
from campaigns.material import Material
from campaigns.observed import line_violations, present_run, processes_of
from support.running import GATE, Line

#: What may be done to a process, and how often in comparison.
DEEDS: dict[str, float] = {"SIGKILL": 5, "SIGTERM": 2, "SIGSTOP": 3}
#: To which processes, and how often in comparison. A killed supervisor ends the line, which is then started again.
ROLES: dict[str, float] = {
    "sink": 5,
    "worker0": 4,
    "worker1": 3,
    "capture-top": 4,
    "capture-side": 2,
    "supervisor": 0.5,
}
#: Tries with one line, before its record is checked.
EPISODE = 25
#: How long everything of a line has to end after its supervisor was killed, s.
_END_S = 40.0


class Try(NamedTuple):
    """One deed.

    Attributes:
        after_s: since the one before.
        role: whose process.
        deed: the signal.
        for_s: how long a frozen process stays so.
        at_reject: wait for a reject to be fired first, for a second at most: its record is not on disk yet.
    """

    after_s: float
    role: str
    deed: str
    for_s: float
    at_reject: bool = False


class Outcome(NamedTuple):
    """What a number of deeds came to."""

    deeds: Counter[str]
    parts: int
    uninspected: Counter[str]
    fired: int
    late: int
    violations: list[Violation]


def drawn_tries(seed: int, count: int) -> Iterator[Try]:
    """Draw tries: most of them apart by a second, some within the restart that the one before has caused."""
    dice = random.Random(seed)
    for _ in range(count):
        (role,) = dice.choices(list(ROLES), list(ROLES.values()))
        (deed,) = dice.choices(list(DEEDS), list(DEEDS.values()))
        after_s = dice.choice((dice.uniform(0.0, 0.1), dice.uniform(0.1, 1.0), dice.uniform(0.5, 2.5)))
        for_s, at_reject = dice.choice((0.05, 0.4, 1.0, 2.5)), role == "sink" and dice.random() < 0.4
        yield Try(after_s, role, "SIGKILL" if role == "supervisor" else deed, for_s, at_reject)


def configuration(material: Material, seed: int) -> dict[str, Any]:
    """Return a line of two cameras and two workers; its times differ from seed to seed."""
    dice = random.Random(seed)

    def station(camera: str) -> dict[str, Any]:
        reject = {"actuator": "gate", "transport_delay_ms": 1_500, "tolerance_ms": dice.choice((30, 100, 1_000))}
        return {
            "camera": camera,
            "bundle": str(material.bundle),
            "roi": [20, 20, 160, 120],
            "deadline_ms": dice.choice((250, 1_000)),
            "reject": reject,
        }

    def belt(rate_hz: float) -> dict[str, Any]:
        path = str(material.parts)
        return {"kind": "conveyor", "path": path, "belt_px": [200, 160], "rate_hz": rate_hz, "parts": 10_000_000}

    return {
        "cameras": {"top": belt(10.0), "side": belt(4.0)},
        "stations": {"cap": station("top"), "label": station("side")},
        "actuators": GATE,
        "workers": [{"threads": 1}, {"threads": 1}],
        "restarts": {"limit": 100_000, "within_s": 0.5, "drain_s": 4.0},
    }


class Episode:
    """One line, what is done to it, and its record."""

    def __init__(self, folder: Path, material: Material, seed: int) -> None:
        self.line = Line(folder, configuration(material, seed))
        self.done: Counter[str] = Counter()
        self.runs: dict[str, list[Run]] = {"top": [], "side": []}

    def run(self, tries: Iterator[Try]) -> Outcome:
        """Do everything, then let the line run undisturbed for a moment and end in order; returns what was found."""
        try:
            self._start()
            for each in tries:
                time.sleep(each.after_s)
                self._do(each)
            self._stop()
            self._start()
            self.line.wait_for(self._going_on, "parts after the last try")
            code = self._stop()
            found = self.excused(line_violations(self.line, self.runs))
            if code != 0:
                found.append(Violation("exit", f"an undisturbed line ended with {code}"))
        except AssertionError as error:
            found = [Violation("line", str(error)[:4_000])]
        finally:
            for process in processes_of(self.line):
                process.kill()
        ledger = self.line.ledger()
        uninspected: Counter[str] = Counter()
        for counts in ledger.values():
            uninspected.update({str(cause): count for cause, count in counts.uninspected.items()})
        return Outcome(
            self.done,
            sum(counts.announced for counts in ledger.values()),
            uninspected,
            len(self.line.rejects()),
            self.line.output().count("late reject:"),
            found,
        )

    def excused(self, found: list[Violation]) -> list[Violation]:
        """Return the violations that count: all of them."""
        return found

    def _start(self) -> None:
        before = self.line.output().count("capture-top ready")
        self.line.start()
        self.line.wait_for(lambda: self.line.output().count("capture-top ready") > before, "a running line")

    def _going_on(self) -> bool:
        """Whether both stations have parts of the present run in the store."""
        ledger = self.line.ledger()
        stations = self.line.config.stations
        runs = {name: present_run(self.line.config.store.path, station.camera) for name, station in stations.items()}
        return all(
            run is not None and name in ledger and ledger[name].announced >= run.first_seq + 5
            for name, run in runs.items()
        )

    def _stop(self) -> int:
        """Stop the line in order, whatever is left of it; returns its exit code."""
        assert self.line.process is not None
        self.line.process.send_signal(signal.SIGTERM)
        code = self.line.finish(_END_S)
        self._note_runs()
        return code

    def _note_runs(self) -> None:
        """Read the runs that have begun; a run ends with its supervisor, so none is overlooked."""
        for camera, runs in self.runs.items():
            run = present_run(self.line.config.store.path, camera)
            if run is not None and run not in runs:
                runs.append(run)

    def _do(self, each: Try) -> None:
        assert self.line.process is not None
        self.done[f"{each.deed}, {each.role}"] += 1
        if each.role == "supervisor":
            self.line.process.kill()
            self.line.process.wait()
            _, alive = psutil.wait_procs(processes_of(self.line), timeout=_END_S)
            assert not alive, f"outlived their supervisor: {[process.cmdline() for process in alive]}"
            self._note_runs()
            self._start()
            return
        pid = self._pid(each.role)
        if each.at_reject:
            self._await_reject()
        # It may end between the look and the signal, or while it is frozen.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, getattr(signal, each.deed))
            if each.deed == "SIGSTOP":
                try:
                    time.sleep(each.for_s)
                finally:
                    os.kill(pid, signal.SIGCONT)

    def _await_reject(self) -> None:
        path, until = self.line.folder / "rejects.jsonl", time.monotonic() + 1.0
        size = path.stat().st_size if path.exists() else 0
        while time.monotonic() < until and (path.stat().st_size if path.exists() else 0) == size:
            time.sleep(0.001)

    def _pid(self, role: str) -> int:
        """Return the process of a role; if it is being restarted, as soon as there is one."""

        def found() -> int | None:
            with contextlib.suppress(AssertionError):
                return self.line.child(role)
            return None

        return self.line.wait_for(found, f"process {role}", _END_S)


def campaign(
    folder: Path, material: Material, *, seed: int, tries: int, seconds: float, lines: int = 1
) -> Iterator[Outcome]:
    """Run episodes, several lines side by side, until the tries are done or the time is over; yields the outcomes.

    Episode n of a seed does the same as `tries=EPISODE` of seed `seed + n`.
    """
    until = time.monotonic() + seconds

    def episode(number: int) -> Outcome | None:
        if time.monotonic() > until:
            return None
        count = min(EPISODE, tries - number * EPISODE)
        return Episode(folder / f"seed-{seed + number}", material, seed + number).run(drawn_tries(seed + number, count))

    with ThreadPoolExecutor(lines) as pool:
        yield from itertools.takewhile(bool, pool.map(episode, range(-(-tries // EPISODE))))
