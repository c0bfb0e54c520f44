"""A host that reaches nothing but itself: whatever its processes send elsewhere is recorded, and answered by nobody.

It is a network namespace whose loopback device takes the packets for all addresses of the world. The recorder reads
that device, so that it sees native code as well as Python, and look-ups of names as well as connections.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

#: Name server of the lone host; an address that documentation may use and nobody has (RFC 5737).
_NAME_SERVER = "192.0.2.53"
#: Ports of name servers: DNS, DNS over TLS, multicast DNS, LLMNR.
_NAME_PORTS = (53, 853, 5353, 5355)
_NAMESPACES = ("unshare", "--map-root-user", "--net", "--mount")


class LoneRun(NamedTuple):
    """How a command ended on the lone host, and what it sent to others: `udp 192.0.2.53:53 example.org`."""

    returncode: int
    output: str
    sent: list[str]


def refusal() -> str | None:
    """Return why this host makes no such namespace, or None."""
    probe = subprocess.run([*_NAMESPACES, "true"], capture_output=True, text=True, check=False)
    return None if probe.returncode == 0 else f"no network namespace may be made here: {probe.stderr.strip()}"


def run_alone(*arguments: object, home: Path) -> LoneRun:
    """Run `python ARGUMENTS` on the lone host, as a user with an empty home whose libraries ask nobody's leave."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "HF_", "NNCF_"))}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "sent.json")
        command = [*_NAMESPACES, sys.executable, __file__, str(report), sys.executable, *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=230, check=False)
        output = done.stdout + done.stderr
        assert report.is_file(), output
        return LoneRun(done.returncode, output, json.loads(report.read_text()))


def _main() -> int:
    report, *command = sys.argv[1:]
    _cut_off(Path(report).parent)
    sent: dict[str, None] = {}
    recorder = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(0x0003))  # ETH_P_ALL
    recorder.bind(("lo", 0))
    recorder.settimeout(0.2)
    ended = threading.Event()
    thread = threading.Thread(target=_record, args=(recorder, sent, ended))
    thread.start()
    code = subprocess.run(command, check=False).returncode
    ended.set()
    thread.join()
    Path(report).write_text(json.dumps(list(sent)))
    return code


def _cut_off(scratch: Path) -> None:
    """Bring up loopback, for every address there is, and name a server of names that does not answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(control, 0x8914, request)  # SIOCSIFFLAGS
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    for family in ("-4", "-6"):
        route = ["ip", family, "route", "add", "local", "default", "dev", "lo"]
        subprocess.run(route, env=os.environ | {"PATH": path}, check=family == "-4")
    for file, content in (("resolv.conf", f"nameserver {_NAME_SERVER}\n"), ("nsswitch.conf", "hosts: files dns\n")):
        own = scratch / file
        own.write_text(content)
        subprocess.run(["mount", "--bind", str(own), f"/etc/{file}"], check=True)


def _record(recorder: socket.socket, sent: dict[str, None], ended: threading.Event) -> None:
    while True:
        try:
            packet = recorder.recv(65_536)
        except TimeoutError:
            if ended.is_set():
                return
            continue
        if (line := _to_others(packet)) is not None:
            sent[line] = None


def _to_others(packet: bytes) -> str | None:
    """Return what an Ethernet packet of loopback sends to another host or to a name server, if it does."""
    kind = int.from_bytes(packet[12:14], "big")
    if kind == 0x0800:
        protocol, target, segment = packet[23], packet[30:34], packet[14 + 4 * (packet[14] & 15) :]
    elif kind == 0x86DD:
        protocol, target, segment = packet[20], packet[38:54], packet[54:]
    else:
        return None
    if protocol not in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        return None
    address = ipaddress.ip_address(target)
    (port,) = struct.unpack("!H", segment[2:4])
    if address.is_loopback and port not in _NAME_PORTS:
        return None
    name = "udp" if protocol == socket.IPPROTO_UDP else "tcp"
    asked = f" {_question(segment[8:])}" if name == "udp" and port == 53 else ""
    return f"{name} {address}:{port}{asked}"


def _question(message: bytes) -> str:
    """Return the first name that a DNS message asks for."""
    labels, at = [], 12
    while at < len(message) and message[at]:
        labels.append(message[at + 1 : at + 1 + message[at]].decode(errors="replace"))
        at += 1 + message[at]
    return ".".join(labels)


if __name__ == "__main__":
    sys.exit(_main())
