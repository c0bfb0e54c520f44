"""Requests that a proxy passes on: whose they are, and below which path the dashboard is. Pure.

A header counts only if the proxy that sent it is named in `dashboard.proxies`: any client can write one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import NamedTuple

from stream.line.sections import PAGE_FOLDERS

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Headers = Sequence[tuple[bytes, bytes]]

_ROOT_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")


class Origin(NamedTuple):
    """Where a request comes from.

    Attributes:
        address: of the client, as far as the named proxies know it.
        scheme: by which the browser sent it: http or https.
        root_path: path of the dashboard as the browser sees it, such as /line1; empty: it has the whole host.
    """

    address: str
    scheme: str
    root_path: str


def origin_of(
    peer: str, scheme: str, headers: Headers, proxies: Sequence[Network], root_path: str = ""
) -> Origin | None:
    """Return where a request comes from; None where a named proxy gives a sub-path that cannot be one.

    Args:
        peer: address of the other end of the connection.
        scheme: of the connection: http or https.
        headers: of the request, names in lower case.
        proxies: the ones whose headers count.
        root_path: of the configuration; it counts more than that of a proxy.
    """
    address = _address(peer)
    if address is None or not _within(address, proxies):
        return Origin(_name(peer), scheme, root_path)
    given = _values(headers, b"x-forwarded-proto")
    if given and given[0].lower() in ("http", "https"):
        scheme = given[0].lower()
    prefix = "".join(_values(headers, b"x-forwarded-prefix")[:1]).rstrip("/")
    if not root_path and prefix and not is_root_path(prefix):
        return None
    return Origin(str(_client(address, _values(headers, b"x-forwarded-for"), proxies)), scheme, root_path or prefix)


def is_root_path(text: str) -> bool:
    """Whether the dashboard can be below this path."""
    return _ROOT_PATH.fullmatch(text) is not None and text.split("/")[1] not in PAGE_FOLDERS


def route_of(path: str, root_path: str) -> str | None:
    """Return a request's path without the sub-path, whether or not a proxy removed it; None: the sub-path itself."""
    if not root_path or not (path + "/").startswith(root_path + "/"):
        return path
    return path[len(root_path) :] or None


def throttled(address: str) -> str:
    """Return what counts as one sender of passwords: an address, of IPv6 the network of a customer (/64)."""
    parsed = _address(address)
    if parsed is None or parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def _client(peer: Address, chain: list[str], proxies: Sequence[Network]) -> Address:
    """Return the last address that no named proxy has: those before it may be the client's own words."""
    client = peer
    for text in reversed(chain):
        if not _within(client, proxies):
            break
        address = _address(text)
        if address is None:
            break
        client = address
    return client


def _values(headers: Headers, name: bytes) -> list[str]:
    given = (value.decode("latin-1") for key, value in headers if key == name)
    return [part.strip() for text in given for part in text.split(",") if part.strip()]


def _address(text: str) -> Address | None:
    """Read an address, also with a port, as some proxies write it; None: it is none."""
    bare = text.strip('"')
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _name(peer: str) -> str:
    address = _address(peer)
    return peer if address is None else str(address)


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
