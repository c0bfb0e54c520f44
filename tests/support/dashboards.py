"""A running line with its dashboard, and a client of it, as a browser or a program would be."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher
from support.running import GATE, Line, belt, free_ports, station

#: Of the program chromium: nothing that asks the network.
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
#: How long a page may take, on a machine that has other work.
PATIENCE_MS = 30_000

#: One hash for all tests: quick to check, and none that anybody should use.
PASSWORD = "correct horse"
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
USERS = {role: {"password": HASH, "role": role} for role in ("viewer", "operator", "engineer")}


def watched_line(parts: Path, bundle: Path, **dashboard: Any) -> dict[str, Any]:
    """The configuration of a line of two stations that runs until it is stopped, with a dashboard."""
    return {
        "cameras": {"top": belt(parts, parts=1_000_000, rate_hz=10)},
        "stations": {"cap": station(bundle), "label": station(bundle)},
        "actuators": GATE,
        "alarms": {"defect": {"cooldown_s": 600}},
        "dashboard": {"listen": f"127.0.0.1:{free_ports(1)}"} | dashboard,
    }


def client_of(line: Line) -> httpx.Client:
    """A client of the line's dashboard, once that answers; it names its origin, as a page of the dashboard does."""
    url = line.config.dashboard.url
    client = httpx.Client(base_url=url, timeout=10, headers={"origin": url})

    def answers() -> bool:
        try:
            return client.get("/api/v1/me").status_code == 200
        except httpx.TransportError:
            return False

    line.wait_for(answers, "dashboard")
    return client


def log_in(client: httpx.Client, name: str, password: str = PASSWORD) -> httpx.Response:
    """Log in; the client keeps the session's cookie."""
    return client.post("/api/v1/login", json={"name": name, "password": password})


def frame_of(data: bytes) -> tuple[dict[str, Any], bytes]:
    """(header, map and JPEG) of a frame of the live feed."""
    (length,) = struct.unpack_from("<I", data)
    return json.loads(data[4 : 4 + length]), data[4 + length :]
