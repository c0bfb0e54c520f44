"""Names of hosts that cannot be resolved, as distinct from hosts that do not answer."""

from __future__ import annotations

import asyncio
import socket

#: Longest wait for the name service.
_RESOLVE_S = 1.5


async def resolve(host: str) -> None:
    """Look a host's name up, for a connection that follows; raises ConnectionError that names it and what to check."""
    try:
        async with asyncio.timeout(_RESOLVE_S):
            await asyncio.get_running_loop().getaddrinfo(host, None)
    except socket.gaierror as error:
        raise ConnectionError(unknown_host(host, error)) from None
    except TimeoutError:
        raise ConnectionError(f"host name '{host}': the name service (DNS) of this host does not answer") from None


def why_unreachable(host: str, otherwise: str = "no connection") -> str:
    """Return why a host could not be connected to: its name is unknown, or `otherwise`. Waits for the name service."""
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror as error:
        return unknown_host(host, error)
    return otherwise


def unknown_host(host: str, error: socket.gaierror) -> str:
    """Return what to tell of a name that could not be resolved."""
    return (
        f"host name '{host}' is unknown ({error.strerror}); check its spelling and this host's DNS, or give its address"
    )
