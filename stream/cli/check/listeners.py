"""Whether a line can listen where it should: ports of metrics, dashboard and sockets; the dashboard's certificate."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from typing import NamedTuple

from stream.cli.check.check import Check
from stream.line.config import LineConfig
from stream.line.locks import lock_owner


class _Listener(NamedTuple):
    """An address that a role binds.

    Attributes:
        what: the check's name.
        option: of the configuration, to be changed where the port is taken.
        role: that binds it.
        host, port: where.
        elsewhere: the role may run on another host, whose address this is.
    """

    what: str
    option: str
    role: str
    host: str
    port: int
    elsewhere: bool = False


def check_listeners(line: LineConfig) -> Iterator[Check]:
    """Yield a check of every port that this line binds, and of what the dashboard encrypts with."""
    for listener in (*_metrics(line), *_transport(line)):
        yield _free(line, listener)
    if line.dashboard.enabled:
        host, port = line.dashboard.address
        yield _free(line, _Listener("dashboard.listen", "dashboard.listen", "dashboard", host, port))
        if line.dashboard.certificate is not None:
            yield _certificate(line)


def _metrics(line: LineConfig) -> Iterator[_Listener]:
    for role in line.roles:
        address = line.metrics_address(role)
        if address is not None and (role != "dashboard" or line.dashboard.enabled):
            yield _Listener(f"metrics of {role}", "metrics.listen", role, *address)


def _transport(line: LineConfig) -> Iterator[_Listener]:
    addresses = [
        ("transport.announcements", "sink", line.announcements_address()),
        ("transport.results", "sink", line.results_address()),
        ("transport.feed", "sink", line.feed_address()),
        *((f"transport.frames.{name}", f"capture-{name}", line.frames_address(name)) for name in line.cameras),
    ]
    for option, role, address in addresses:
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        if address.startswith("tcp://") and port.isdigit():
            yield _Listener(option, option, role, "" if host == "*" else host.strip("[]"), int(port), elsewhere=True)


def _free(line: LineConfig, listener: _Listener) -> Check:
    what, _, role, host, port, elsewhere = listener
    shown = f"{host or '*'}:{port}"
    if lock_owner(role, line.state) is not None:
        return Check(what, f"{shown}, held by the running line")
    try:
        family, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        return Check(what, f"host name '{host}': {error.strerror}; correct {listener.option}", wrong=True)
    except OSError as error:
        if elsewhere and error.errno == errno.EADDRNOTAVAIL:
            return Check(what, f"{shown} is no address of this host: {role} has to run on the one whose it is")
        return Check(what, f"{shown}: {error.strerror}; end what is there, or change {listener.option}", wrong=True)
    return Check(what, f"{shown} is free")


def _certificate(line: LineConfig) -> Check:
    certificate, key = line.dashboard.certificate, line.dashboard.key
    assert certificate is not None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        return Check("dashboard.certificate", f"{certificate}, {key}: {error}", wrong=True)
    return Check("dashboard.certificate", f"{certificate} belongs to its key")
