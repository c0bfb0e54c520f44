"""Where the processes of a line spend their time at a given rate, by py-spy, for line.py --profile."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from stream.cli.bench.report import SHARE
from stream.cli.bench.standstill import Probe
from stream.cli.bench.trial import Trial, make_bundle, make_images, summarise, write_line
from stream.cli.bench.watch import COOL_DOWN_S, LOOK_S, WARM_UP_S, Watch, running_roles
from stream.cli.terminal import tracking
from stream.cli.trial_line import run_trial
from stream.core.parts import LedgerCounts
from stream.line.config import load

_SAMPLES_HZ = 250
#: Where a thread waits, as the end of a stack; without stopping the process py-spy takes some of these for busy.
_WAITS = (
    *("Condition.wait (threading.py", "_PollLikeSelector.select (selectors.py", "Poller.poll (zmq/sugar/poll.py"),
    "_worker (concurrent/futures/thread.py",
)
_FUNCTIONS = 8


class Profiling:
    """Watches a line and, in its measured time, has py-spy sample each role; called by `run_trial`."""

    def __init__(self, watch: Watch, seconds: float, folder: Path, sampler: str) -> None:
        self._watch = watch
        self._seconds = seconds
        self._folder = folder
        self._sampler = sampler
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __call__(self, ledger: dict[str, LedgerCounts], supervisor: int) -> None:
        self._watch(ledger, supervisor)
        if self._watch.measuring and not self._running:
            for role, process in running_roles(supervisor).items():
                # Without stopping the process for each sample: a few stacks are torn, and none of its parts is late.
                command = [self._sampler, "record", "--nonblocking", "--format", "raw", "--rate", str(_SAMPLES_HZ)]
                command += ["--duration", str(max(1, round(self._seconds - 1))), "--pid", str(process.pid)]
                command += ["--output", str(self._folder / role)]
                self._running[role] = subprocess.Popen(
                    command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
                )

    def stacks(self) -> dict[str, Counter[tuple[str, ...]]]:
        """Return how often each role was seen in each stack, outermost function first."""
        found: dict[str, Counter[tuple[str, ...]]] = {}
        for role, process in self._running.items():
            _, complaint = process.communicate(timeout=30)
            file = self._folder / role
            if not file.exists():
                sys.exit(f"py-spy cannot read {role}: {complaint.decode(errors='replace').strip()[-300:]}")
            found[role] = Counter()
            for line in file.read_text().splitlines():
                stack, _, count = line.rpartition(" ")
                found[role][tuple(stack.split(";"))] += int(count)
        return found


def profile(rate_hz: float, seconds: float, deadline_ms: float) -> tuple[Table, Trial]:
    """Run one station at a rate; return what its processes did, the functions with the most time, and how it went."""
    sampler = shutil.which("py-spy") or shutil.which(str(Path(sys.executable).with_name("py-spy")))
    if sampler is None:
        sys.exit("py-spy is missing: pip install 'patchline[bench]'")
    with tempfile.TemporaryDirectory(prefix="patchline-profile-") as scratch:
        folder = Path(scratch)
        with tracking(Console(stderr=True)) as track:
            bundle = make_bundle(folder, track)
        images, stacks_folder = make_images(folder / "images"), folder / "stacks"
        stacks_folder.mkdir()
        parts = round(rate_hz * (WARM_UP_S + seconds + COOL_DOWN_S))
        path = write_line(folder / "line", bundle, images, 1, 1, rate_hz, parts, deadline_ms)
        config = load(path)
        watch = Watch(config, parts, seconds, lambda _done, _total: None)
        profiling = Profiling(watch, seconds, stacks_folder, sampler)
        run_trial(path, config, folder / "line.log", profiling, look_s=LOOK_S)
        stacks = profiling.stacks()
        trial = summarise(
            config, watch, Probe(), rate_hz=rate_hz, seconds=seconds, deadline_ms=deadline_ms, share=SHARE
        )
    table = Table("process", "CPU, % of a core", "ms for each part", "share", "function of PatchLine")
    for role, used in sorted(watch.cpu_percent.items(), key=lambda item: -item[1]):
        owners = Counter[str]()
        for stack, count in stacks[role].items():
            if not stack[-1].startswith(_WAITS):
                owners[owner(stack)] += count
        total = owners.total()
        for place, (name, count) in enumerate(owners.most_common(_FUNCTIONS)):
            share = count / total
            first = (role, f"{used:.0f}") if place == 0 else ("", "")
            table.add_row(*first, f"{share * used * 10 / rate_hz:.2f}", f"{share:.0%}", name)
    return table, trial


def owner(stack: tuple[str, ...]) -> str:
    """Return the innermost function of a stack that is PatchLine's: what libraries do is done for it."""
    ours = [frame for frame in stack if "stream/" in frame]
    function, _, place = (ours or stack)[-1].partition(" (")
    return f"{function}, {place.rsplit(':', 1)[0]}"
