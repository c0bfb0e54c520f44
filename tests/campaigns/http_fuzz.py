"""Servers are sent damaged requests over real sockets: none crashes, answers 500, or triggers by a doubtful request."""

from __future__ import annotations

import contextlib
import json
import random
import re
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from campaigns.flooded import Watch
from campaigns.invariants import Violation
from campaigns.material import Material
from campaigns.mutations import damaged_bytes, damaged_tree, nested
from support.running import GATE, Line, belt, free_ports, station

from stream.devices.triggers.http import HttpTriggerOptions

#: How long an answer may take on a busy machine, s.
_PATIENCE_S = 10.0
#: How long a server may take to answer a damaged request before its end is shown to it, s.
_QUIET_S = 0.15


class Answered(NamedTuple):
    """What a number of requests came to; `statuses` counts 0 where nothing was answered."""

    requests: int
    statuses: Counter[int]
    growth_mib: float
    violations: list[Violation]


def ask(port: int, request: bytes, *, patient: bool = False) -> list[int]:
    """Send bytes to a server of this host and return the statuses of its answers; it may hang up at any time."""
    answer = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S) as connection:
        connection.sendall(request)
        if not patient and not select.select([connection], [], [], _QUIET_S)[0]:
            connection.shutdown(socket.SHUT_WR)  # the server waits for more of a request that has no end
        while chunk := connection.recv(65_536):
            answer += chunk
            connection.settimeout(_QUIET_S)  # a connection that is kept open has no end
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", answer)]


def request(line: str, body: bytes = b"", **headers: str) -> bytes:
    """Return the bytes of one request."""
    given = {"Host": "127.0.0.1", "Connection": "close"} | ({"Content-Length": str(len(body))} if body else {})
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"{line} HTTP/1.1\r\n{head}\r\n".encode("latin-1", "replace") + body


def doubtful(path: str, body: bytes, **headers: str) -> dict[str, bytes]:
    """Return requests whose end or meaning two readers may see in different places: none may be carried out."""
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    both = request(f"POST {path}", chunked, Transfer_Encoding="chunked", Content_Length=str(len(body)), **headers)
    once = request(f"POST {path}", body, **headers)
    length = f"Content-Length: {len(body)}\r\n".encode()
    return {
        "both lengths": both,
        "two lengths": once.replace(length, length + b"Content-Length: 0\r\n"),
        "two lengths in one": once.replace(length, f"Content-Length: {len(body)}, 0\r\n".encode()),
        "a negative length": once.replace(length, b"Content-Length: -1\r\n"),
        "a length with a sign": once.replace(length, f"Content-Length: +{len(body)}\r\n".encode()),
        "a length in other digits": once.replace(length, "Content-Length: ٤٢\r\n".encode()),
        "an unknown transfer encoding": once.replace(length, b"Transfer-Encoding: gzip\r\n" + length),
    }


def bodies() -> dict[str, bytes]:
    """Return odd bodies of JSON, by what is odd about them."""
    return {
        "50,000 brackets": b"[" * 50_000,
        "deep lists": json.dumps(nested(900)).encode(),
        "NaN": b'{"part_id": NaN, "kind": Infinity}',
        "a lone surrogate": b'{"part_id": "\\ud800", "name": "\\udfff", "password": "\\udc00"}',
        "2^53": b'{"part_id": 9007199254740993, "raised_realtime_ns": 99999999999999999999999999}',
        "a number of 5,000 digits": b'{"part_id": ' + b"9" * 5_000 + b"}",
        "NUL": b'{"part_id": "a\\u0000b", "kind": "\\u0000"}',
        "not UTF-8": b'{"part_id": "\xff\xfe"}',
        "a key twice": b'{"part_id": "a", "part_id": "b"}',
        "UTF-16": '{"part_id": "a"}'.encode("utf-16"),
        "empty": b"",
    }


def fuzz_trigger(_folder: Path, _material: Material, *, seed: int, count: int, seconds: float) -> Answered:
    """Send the HTTP trigger damaged requests: as many events as answers 202, none of a doubtful request."""
    port = free_ports(1)
    source = HttpTriggerOptions(kind="http", port=port).open()
    stop, events = threading.Event(), []

    def collect() -> None:
        events.extend(source.events(stop))

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    found: list[Violation] = []
    genuine = [request("POST /trigger"), request("POST /trigger", b'{"part_id": "pallet 7"}')]
    statuses: Counter[int] = Counter()
    try:
        for name, data in doubtful("/trigger", b'{"part_id": "x"}').items():
            if 202 in (given := ask(port, data)):
                found.append(Violation("doubtful", f"trigger: {name}: {given}; {data!r}"))
            statuses.update(given or [0])
        for name, body in bodies().items():
            statuses.update(given := ask(port, request("POST /trigger", body)) or [0])
            if set(given) - {202, 400, 413}:
                found.append(Violation("status", f"trigger: {name}: {given}"))
        _draw(genuine, port, seed, count, seconds, statuses, found, "trigger")
        before = len(events)
        if ask(port, genuine[1], patient=True) != [202] or not _soon(lambda: len(events) > before):
            found.append(Violation("death", "the trigger answers no genuine request any more"))
        if len(events) != statuses[202] + 1:
            found.append(Violation("events", f"{len(events)} triggers for {statuses[202] + 1} answers 202"))
    finally:
        stop.set()
        thread.join(10)
    return Answered(statuses.total(), statuses, 0.0, found)


def fuzz_dashboard(folder: Path, material: Material, *, seed: int, count: int, seconds: float) -> Answered:
    """Send a dashboard damaged requests of its API."""
    port = free_ports(1)
    configuration = {
        "cameras": {"top": belt(material.parts, parts=1_000_000)},
        "stations": {"cap": station(material.bundle)},
        "actuators": GATE,
        "dashboard": {"listen": f"127.0.0.1:{port}"},
    }
    line = Line(folder, configuration)
    line.start("dashboard", str(line.path))
    found: list[Violation] = []
    statuses: Counter[int] = Counter()
    own = {"Origin": f"http://127.0.0.1:{port}", "Host": f"127.0.0.1:{port}", "Content_Type": "application/json"}
    try:
        line.wait_for(lambda: ask(port, request("GET /api/v1/me"), patient=True) == [200], "dashboard")
        watch = Watch(line)
        paths = ("login", "logout", "alarms/acknowledge", "events/1/mark", "stations/cap/threshold", "changes/1/undo")
        alarm = {"kind": "defect", "subject": "cap", "raised_realtime_ns": 1_700_000_000_123_456_789, "text": "part 3"}
        user = {"name": "anna", "password": "horse", "image": 1.5, "events": [1, 2], "mark": "good"} | alarm
        genuine = [
            *(request(f"GET /api/v1/{path}", **own) for path in ("me", "line", "alarms?limit=5", "audit", "jobs")),
            *(
                request(f"GET /api/v1/events?{query}", **own)
                for query in ("station=cap&limit=5", "before=9&verdict=GOOD")
            ),
            *(request(f"GET /{path}", **own) for path in ("", "app.js", "api/v1/events/1/map", "api/v1/events.zip")),
            *(request(f"POST /api/v1/{path}", json.dumps(user).encode(), **own) for path in paths),
            request("GET /api/v1/live", **(own | {"Connection": "Upgrade", "Upgrade": "websocket"})),
        ]
        dice = random.Random(seed)
        odd = [request(f"POST /api/v1/{path}", body, **own) for path in paths for body in bodies().values()]
        odd += [
            request(f"POST /api/v1/{path}", json.dumps(damaged_tree(dice, user)).encode(), **own)
            for path in paths
            for _ in range(min(20, count // 20))
        ]
        for data in odd:
            _note(port, data, statuses, found, "dashboard")
        for name, data in doubtful("/api/v1/alarms/acknowledge", json.dumps(alarm).encode(), **own).items():
            if 200 in (given := ask(port, data)):
                found.append(Violation("doubtful", f"dashboard: {name}: {given}; {data[:300]!r}"))
            statuses.update(given or [0])
        _draw(genuine, port, seed, count, seconds, statuses, found, "dashboard")
        if ask(port, request("GET /api/v1/me", **own), patient=True) != [200]:
            found.append(Violation("death", "the dashboard answers no genuine request any more"))
        outcome = watch.outcome(statuses.total(), 1, found)
    finally:
        line.kill_everything()
    return Answered(statuses.total(), statuses, outcome.growth_mib, outcome.violations)


SERVERS: dict[str, Callable[..., Answered]] = {"trigger": fuzz_trigger, "dashboard": fuzz_dashboard}


def _draw(
    genuine: list[bytes],
    port: int,
    seed: int,
    count: int,
    seconds: float,
    statuses: Counter[int],
    found: list[Violation],
    name: str,
) -> None:
    until = time.monotonic() + seconds
    for number in range(count):
        if time.monotonic() > until:
            return
        dice = random.Random(seed + number)
        _note(
            port, damaged_bytes(dice, dice.choice(genuine), genuine), statuses, found, f"{name}: seed {seed + number}"
        )


def _note(port: int, data: bytes, statuses: Counter[int], found: list[Violation], name: str) -> None:
    given = ask(port, data)
    statuses.update(given or [0])
    if 500 in given and len(found) < 20:
        found.append(Violation("status", f"{name}: {given}: {data[:400]!r}"))


def _soon(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + _PATIENCE_S
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()
