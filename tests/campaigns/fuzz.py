"""Readers are given damaged input: each input is read or refused in words; none crashes, hangs or fills the memory."""

from __future__ import annotations

import ctypes
import os
import random
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from campaigns.invariants import Violation
from campaigns.targets import Target

from stream.core.errors import PatchLineError

#: Longest text of a refusal, characters: it goes to a log, once for each message.
LONGEST_REFUSAL = 10_000
#: Violations of one kind that a report keeps.
_KEPT = 5
_SHOWN_BYTES = 400
#: Inputs from one look at the memory to the next.
_MEASURED_EVERY = 16


class Fuzzed(NamedTuple):
    """What a number of inputs came to."""

    inputs: int
    accepted: int
    refusals: Counter[str]
    growth_mib: float
    violations: list[Violation]


class _TooLong(BaseException):
    """The reader has used more CPU time than an input may take."""


def outcome_of(target: Target, data: bytes) -> tuple[str, Violation | None]:
    """Read one input; returns 'accepted' or the kind of the refusal, and what is wrong with either."""
    try:
        with _cpu_limit(target.longest_s):
            target.read(data)
    except PatchLineError as error:
        text = str(error)
        if not text or len(text) > LONGEST_REFUSAL:
            return type(error).__name__, Violation("refusal", f"of {len(text)} characters: {text[:200]!r}")
        return type(error).__name__, None
    except _TooLong:
        return "hung", Violation("hang", f"more than {target.longest_s} s of CPU time")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "crashed", Violation("crash", f"{type(error).__name__}: {str(error)[:300]}")
    return "accepted", None


def drawn(target: Target, seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield the corpus, then damaged inputs, each with a name by which it can be drawn again."""
    yield from ((f"corpus: {name}", data) for name, data in target.corpus.items())
    for number in range(count):
        yield f"seed {seed + number}", target.draw(random.Random(seed + number))


def campaign(target: Target, *, seed: int, count: int, seconds: float) -> Fuzzed:
    """Read the corpus and `count` damaged inputs, or as many as the time allows. For the main thread."""
    until = time.monotonic() + seconds
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak, which a fit may have left high
    before = _memory_mib("VmRSS")
    kinds: Counter[str] = Counter()
    found: list[Violation] = []
    seen: Counter[str] = Counter()
    growth = 0.0
    for number, (name, data) in enumerate(drawn(target, seed, count)):
        if number % _MEASURED_EVERY == 0:
            growth = _memory_mib("VmHWM") - before
        if time.monotonic() > until or growth > target.growth_mib:
            break
        with _silent():
            kind, violation = outcome_of(target, data)
        kinds[kind] += 1
        if violation is None:
            continue
        seen[violation.text[:60]] += 1
        if seen[violation.text[:60]] <= _KEPT:
            found.append(violation._replace(text=f"{target.name}: {name}: {violation.text}; {data[:_SHOWN_BYTES]!r}"))
    growth = _memory_mib("VmHWM") - before
    if growth > target.growth_mib:
        found.append(Violation("memory", f"{target.name}: grew by {growth:.0f} MiB, {target.growth_mib} are allowed"))
    accepted = kinds.pop("accepted", 0)
    return Fuzzed(kinds.total() + accepted, accepted, kinds, growth, found)


@contextmanager
def _silent() -> Iterator[None]:
    """Drop what libraries in C write of damaged input, past Python, to standard error."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _memory_mib(field: str) -> float:
    """Return this process's memory now (`VmRSS`), or its peak since the last reset (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))


class _Watch(threading.Thread):
    """Raises `_TooLong` in a thread that has used more CPU time than its input may take.

    Not by a timer's signal: libraries that a reader loads leave too small a stack for one on processors with wide
    registers, and the process would end.
    """

    _INTERVAL_S = 0.02

    def __init__(self) -> None:
        super().__init__(name="watch", daemon=True)
        self._thread_id = threading.get_ident()
        self._clock = time.pthread_getcpuclockid(self._thread_id)
        self._lock = threading.Lock()
        self._until_s: float | None = None
        self.start()

    def begin(self, seconds: float) -> None:
        self._until_s = time.clock_gettime(self._clock) + seconds

    def end(self) -> None:
        with self._lock:  # none is raised after this
            self._until_s = None
            _raise_in(self._thread_id, None)

    def run(self) -> None:
        while True:
            time.sleep(self._INTERVAL_S)
            with self._lock:
                if self._until_s is not None and time.clock_gettime(self._clock) > self._until_s:
                    self._until_s = None
                    _raise_in(self._thread_id, _TooLong)


def _raise_in(thread_id: int, kind: type[BaseException] | None) -> None:
    """Raise an exception between two bytecodes of a thread; None takes back one that it has not met yet."""
    exception = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), exception)


_watch: dict[int, _Watch] = {}


@contextmanager
def _cpu_limit(seconds: float) -> Iterator[None]:
    """Raise `_TooLong` in this thread when it has used so much CPU time."""
    watch = _watch.get(threading.get_ident()) or _watch.setdefault(threading.get_ident(), _Watch())
    watch.begin(seconds)
    try:
        yield
    finally:
        watch.end()
