"""The disk below a running line is full, hangs, or refuses to open files; the wall clock is stepped meanwhile."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from campaigns.invariants import Violation
from campaigns.kill import EPISODE, Episode, Outcome, Try
from campaigns.material import Material
from campaigns.namespaces import set_wall_clock, wall_clock

#: Size of the disk: enough for the events of an episode, not for its pictures and a ballast.
_SIZE = "48M"
#: What may be done, and how often in comparison. `slow` is a disk that hangs again and again for a moment.
DEEDS: dict[str, float] = {"full": 4, "hang": 2, "slow": 2, "read-only": 2, "clock": 3}
#: Rules that lost events break, which a full disk may cost if each of them is counted.
_OF_LOST_EVENTS = {"event missing", "counts"}
_PROGRAMS = ("mkfs.ext4", "mount", "umount", "fsfreeze")


def why_not() -> str | None:
    """Return why this machine cannot have such disks, or None."""
    if os.geteuid() != 0:
        return "mounting a disk image needs root"
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    missing = [program for program in _PROGRAMS if shutil.which(program, path=path) is None]
    if missing:
        return f"needs the programs {', '.join(missing)}"
    try:
        with disk(Path("/dev/shm") / f"campaign-{os.getpid()}"):
            return None
    except subprocess.CalledProcessError as error:
        return f"the kernel or container does not permit it: {error.stderr.strip()}"


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """Mount a small disk of its own on a folder, which need not exist."""
    image = folder.with_suffix(".disk")
    folder.mkdir(parents=True)
    _run("truncate", "--size", _SIZE, str(image))
    try:
        _run("mkfs.ext4", "-q", "-m", "0", str(image))
        _run("mount", "-o", "loop", str(image), str(folder))
        try:
            yield folder
        finally:
            _run("umount", "--lazy", str(folder))
    finally:
        image.unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()


def drawn_tries(seed: int, count: int) -> Iterator[Try]:
    """Draw what is done to disk and clock, a second or two apart."""
    dice = random.Random(seed)
    for _ in range(count):
        (deed,) = dice.choices(list(DEEDS), list(DEEDS.values()))
        yield Try(dice.uniform(0.2, 1.5), "disk", deed, dice.choice((0.3, 1.0, 2.0)))


class DiskEpisode(Episode):
    """A line whose store is on a disk of its own, and whose wall clock can be stepped."""

    def __init__(self, folder: Path, material: Material, seed: int) -> None:
        super().__init__(folder, material, seed)
        self._dice = random.Random(seed)
        self._clock = folder / "clock"
        set_wall_clock(self._clock, 0.0)
        self.line.prefix = wall_clock(self._clock)
        self._dropped = 0.0

    @property
    def _store(self) -> Path:
        return self.line.config.store.path

    def _do(self, each: Try) -> None:
        self.done[each.deed] += 1
        if each.deed == "clock":
            steps_s = (-3_600.0, -1.0, 1.0, 3_600.0, 1e6)
            set_wall_clock(self._clock, self._dice.choice(steps_s))
        elif each.deed == "full":
            ballast = self._store / "ballast"
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(b"\0" * 65_536)
            time.sleep(each.for_s)
            ballast.unlink()
        elif each.deed == "hang":
            self._freeze(each.for_s)
        elif each.deed == "slow":
            for _ in range(int(each.for_s / 0.1)):
                self._freeze(0.07)
                time.sleep(0.03)
        else:
            # Files that are open stay writable; nothing can be opened for writing.
            _run("mount", "--bind", str(self._store), str(self._store))
            _run("mount", "-o", "remount,bind,ro", str(self._store))
            time.sleep(each.for_s)
            _run("umount", "--lazy", str(self._store))

    def _freeze(self, for_s: float) -> None:
        """Let every write to the disk wait. Thawed by a process of its own: whoever writes meanwhile cannot act."""
        script = f"fsfreeze --freeze {self._store} && sleep {for_s}; fsfreeze --unfreeze {self._store}"
        subprocess.run(["sh", "-c", script], capture_output=True, check=False, timeout=for_s + 60)

    def _stop(self) -> int:
        dropped = self.line.metric("sink", "patchline_dropped_total", what="event")
        self._dropped += dropped or 0.0
        return super()._stop()

    def excused(self, found: list[Violation]) -> list[Violation]:
        """Return the violations without those that counted losses explain."""
        return [violation for violation in found if violation.rule not in _OF_LOST_EVENTS or not self._dropped]


def campaign(folder: Path, material: Material, *, seed: int, tries: int, seconds: float) -> Iterator[Outcome]:
    """Run episode after episode, each on a new disk, until the tries are done or the time is over."""
    until = time.monotonic() + seconds
    for number, first in enumerate(range(0, tries, EPISODE)):
        if time.monotonic() > until:
            return
        place = folder / f"seed-{seed + number}"
        with disk(place / "store"):
            episode = DiskEpisode(place, material, seed + number)
            outcome = episode.run(drawn_tries(seed + number, min(EPISODE, tries - first)))
        yield outcome


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
