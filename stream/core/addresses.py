"""What is wrong with the address of a host, before anybody connects to it. Pure; no message shows any of it."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from urllib.parse import urlsplit

_HOST = "expected a host of names with 1 to 63 letters between its dots, or an IP address"
#: What to do about a password that hides the host.
ENCODE = "in user and password write @ : / ? # [ ] as %40 %3A %2F %3F %23 %5B %5D"
_PORT = "expected a port from 1 to 65535 behind the host's colon"


def host_of(address: str) -> str:
    """Return the host of `host`, `host:port` or a URL; empty where there is none."""
    with suppress(ValueError):
        return urlsplit(address if "://" in address else f"//{address}").hostname or ""
    return ""


def is_host(name: str) -> bool:
    """Return whether a name can be looked up at all: libraries raise what nobody expects for a label of 64 letters."""
    if any(sign.isspace() or not sign.isprintable() for sign in name):
        return False
    if re.fullmatch(r"\d+\.\d+\.\d+\.\d+", name):
        return _is_ip(name)
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return True


def host_problem(address: str) -> str | None:
    """Return what is wrong with the host of `host` or `host:port`; None: nothing."""
    return None if is_host(host_of(address)) else _HOST


def url_problem(url: str) -> str | None:
    """Return what is wrong with host or port of a URL, or with its password if that hides them; None: nothing."""
    rest = url.partition("://")[2]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    path = rest[len(authority) :]
    _, at, place = authority.rpartition("@")
    if not place:
        return f"expected a host {'behind the @' if at else 'behind ://'}"
    name, port, rest_of_place = _parted(place)
    if rest_of_place or (port is not None and not (re.fullmatch(r"\d{1,5}", port) and 1 <= int(port) <= 65535)):
        # What looks like a port may be the first part of a password.
        if not at and "@" in path:
            return f"host and port cannot be told from user and password: {ENCODE}"
        return _PORT if name and is_host(name) else _HOST
    if place.startswith("["):
        return None if "]" in place and _is_ip(name) else "expected an IPv6 address in the brackets"
    return None if name and is_host(name) else _HOST


def _parted(place: str) -> tuple[str, str | None, str]:
    """Return host, port, and what is too much, of HOST:PORT or [IPv6]:PORT."""
    found = re.fullmatch(r"(\[[^\]]*\]?|[^:]*)(?::([^:]*))?(.*)", place, re.DOTALL)
    assert found is not None
    return found[1].strip("[]"), found[2], found[3]


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
