"""Hosts on one machine: each a process with its own network, boot id, and monotonic clock, joined by a bridge.

Everything hangs on the processes that hold the namespaces: when these end, nothing of it is left. Needs root, and a
kernel with network, mount and time namespaces, veth and bridge.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

#: Hosts have the addresses NETWORK.1, NETWORK.2 …
NETWORK = "10.77.0"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_WALL_CLOCK = Path(__file__).parent / "wall_clock"
_PROGRAMS = ("ip", "unshare", "nsenter")


def why_not() -> str | None:
    """Return why this machine cannot have such hosts, or None."""
    if os.geteuid() != 0:
        return "network and time namespaces with a bind mount over the boot id need root"
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"needs the programs {', '.join(missing)}"
    try:
        with hosts_on_a_bridge({"first": 1.0, "second": 2.0}, Path("/dev/shm")):
            return None
    except (OSError, subprocess.SubprocessError) as error:
        return f"the kernel or container does not permit it: {error}"


class Host:
    """One host: its address, and how far its monotonic clock is ahead of this machine's."""

    def __init__(self, name: str, number: int, clock_s: float, boot_id: Path, switch: int) -> None:
        """Start the process that holds the namespaces."""
        self.name = name
        self.address = f"{NETWORK}.{number}"
        self.clock_ns = int(clock_s * 1e9)
        self._port = f"port{number}"
        boot_id.write_text(f"{uuid.uuid4()}\n")
        # The shell stays a child of `unshare`, since a process only enters a new time namespace by being born in it.
        script = f"mount --bind {boot_id} {_BOOT_ID} && ip link set lo up && echo $$ && exec sleep infinity"
        whole, part = divmod(self.clock_ns, 10**9)
        assert part == 0, "unshare takes whole seconds"
        self._holder = subprocess.Popen(
            [
                *("unshare", "--mount", "--net", "--time", "--monotonic", str(whole), "--boottime", str(whole)),
                *("--fork", "--kill-child", "sh", "-c", script),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        line = self._holder.stdout.readline().strip()
        if not line.isdigit():
            assert self._holder.stderr is not None
            raise OSError(self._holder.stderr.read().strip())
        self.pid = int(line)
        self._switch = switch
        _ip(switch, "link", "add", self._port, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid))
        _ip(switch, "link", "set", self._port, "master", "bridge", "up")
        _ip(self.pid, "addr", "add", f"{self.address}/24", "dev", "eth0")
        _ip(self.pid, "link", "set", "eth0", "up")

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command so that it runs on this host."""
        return ("nsenter", "--target", str(self.pid), "--mount", "--net", "--time", "--no-fork", "--")

    def connect(self, connected: bool) -> None:
        """Plug its cable in, or pull it out."""
        _ip(self._switch, "link", "set", self._port, "up" if connected else "down")

    def end(self) -> None:
        """End the host; whatever still runs there loses its network."""
        self._holder.kill()
        self._holder.wait()


@contextlib.contextmanager
def hosts_on_a_bridge(clocks_s: dict[str, float], folder: Path) -> Iterator[dict[str, Host]]:
    """Make hosts by name, each with its monotonic clock so many seconds ahead; `folder` takes their boot ids.

    Raises OSError or SubprocessError where that is not permitted.
    """
    holder = subprocess.Popen(
        [
            "unshare",
            "--net",
            "sh",
            "-c",
            "ip link add bridge type bridge && ip link set bridge up && echo $$ && exec cat",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    hosts: dict[str, Host] = {}
    try:
        assert holder.stdout is not None
        line = holder.stdout.readline().strip()
        if not line.isdigit():
            assert holder.stderr is not None
            raise OSError(holder.stderr.read().strip())
        for number, (name, clock_s) in enumerate(clocks_s.items(), start=1):
            hosts[name] = Host(name, number, clock_s, folder / f"boot-{uuid.uuid4().hex}", int(line))
        yield hosts
    finally:
        for host in hosts.values():
            host.end()
        holder.kill()
        holder.wait()
        for path in folder.glob("boot-*"):
            path.unlink(missing_ok=True)


def wall_clock(file: Path) -> tuple[str, ...]:
    """Return what to put before a Python command so that its wall clock is as far off as `set_wall_clock` says."""
    path = os.pathsep.join([str(_WALL_CLOCK), *filter(None, [os.environ.get("PYTHONPATH")])])
    return ("env", f"PYTHONPATH={path}", f"CAMPAIGN_WALL_CLOCK={file}")


def set_wall_clock(file: Path, ahead_s: float) -> None:
    """Step the wall clock of the processes that were started with this file: so far ahead of the real one."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    os.pwrite(descriptor, struct.pack("<q", round(ahead_s * 1e9)), 0)
    os.close(descriptor)


def clocks_seen(prefix: tuple[str, ...]) -> tuple[float, float, str]:
    """Return (monotonic, wall clock, boot id) as a process with this prefix sees them, each less this process's."""
    code = f"import time; print(time.monotonic(), time.time(), open({_BOOT_ID!r}).read())"
    before = time.monotonic(), time.time()
    done = subprocess.run([*prefix, sys.executable, "-c", code], capture_output=True, text=True, check=True)
    monotonic, wall, boot_id = done.stdout.split()
    return float(monotonic) - before[0], float(wall) - before[1], boot_id


def _ip(of: int, *arguments: str) -> None:
    command = ["nsenter", "--target", str(of), "--net", "--", "ip", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
