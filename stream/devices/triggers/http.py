"""`kind: http`: a small HTTP endpoint; `POST /trigger`, with {"part_id": …} if the part has a name."""

from __future__ import annotations

import hmac
import json
import logging
import queue
import threading
import time
from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from stream.core.backoff import LogPace
from stream.core.errors import CameraError
from stream.core.http_server import HttpHandler, HttpServer
from stream.core.options import PositiveHz
from stream.core.token_bucket import TokenBuckets
from stream.devices.triggers.trigger import CommonTriggerOptions, TriggerEvent, TriggerSource, part_id_in

log = logging.getLogger(__name__)

#: Longest body of a request, bytes.
_LONGEST_BODY = 64 * 1024
#: How long refused triggers are the trigger's fault.
_REFUSED_SHOWN_NS = 2_000_000_000
_LOOPBACK = ("127.0.0.1", "localhost")


class HttpTriggerOptions(CommonTriggerOptions):
    """A server of one path, for controllers and scripts that speak HTTP."""

    kind: Literal["http"]
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"  # address to listen on
    port: Annotated[int, Field(ge=1, le=65535)] = 8765
    token: SecretStr | None = None  # asked for as `Authorization: Bearer …`
    max_rate_hz: PositiveHz = 200.0  # more triggers a second are answered 429, with an alarm

    @model_validator(mode="after")
    def _nobody_else_triggers(self) -> Self:
        if self.host not in _LOOPBACK and self.token is None:
            raise ValueError(f"token: required, since '{self.host}' can be reached from other hosts")
        return self

    def open(self) -> TriggerSource:
        """Listen; raises CameraError when the address is taken."""
        try:
            return _Endpoint(self)
        except OSError as error:
            raise CameraError(
                f"trigger.port: cannot listen on {self.host}:{self.port}: {error.strerror}; choose another one"
            ) from None


class _Endpoint:
    def __init__(self, options: HttpTriggerOptions) -> None:
        self._triggers: queue.SimpleQueue[TriggerEvent] = queue.SimpleQueue()
        self._options = options
        self._token = options.token.get_secret_value() if options.token else None
        self._lock = threading.Lock()
        # A second's worth may come at once.
        self._rate = TokenBuckets(max(1.0, options.max_rate_hz), options.max_rate_hz / 1e9)
        self._pace = LogPace()
        self._refused = 0
        self._refused_ns: int | None = None
        self._server = HttpServer("trigger", (options.host, options.port), _handler(self))

    @property
    def fault(self) -> str | None:
        """What was refused a moment ago: parts that passed without a trigger."""
        refused_ns = self._refused_ns
        if refused_ns is None or time.monotonic_ns() - refused_ns > _REFUSED_SHOWN_NS:
            return None
        return f"more than {self._options.max_rate_hz:g} triggers/s, {self._refused} were refused so far"

    def events(self, stop: threading.Event) -> Iterator[TriggerEvent]:
        """Yield a trigger for every request."""
        self._server.start("http-trigger")
        try:
            while not stop.is_set():
                try:
                    yield self._triggers.get(timeout=0.1)
                except queue.Empty:
                    continue
        finally:
            self._server.close()

    def accepts(self, authorization: str) -> bool:
        """Whether the client knows the token, if there is one."""
        given = authorization.encode("latin-1", "replace")
        return self._token is None or hmac.compare_digest(given, f"Bearer {self._token}".encode())

    def trigger(self, event: TriggerEvent) -> bool:
        """Take an event; False, counted, when there are too many."""
        with self._lock:
            if self._rate.available("", event.at_ns) >= 1:
                self._rate.take("", 1)
                self._triggers.put(event)
                return True
            self._refused += 1
            self._refused_ns = time.monotonic_ns()
        self._server.count_refused("rate")
        return False

    def log_answer(self, client: str, status: int, problem: str) -> None:
        """Log a request that was not accepted, at growing intervals."""
        with self._lock:
            silent = self._pace.due(time.monotonic_ns())
        if silent is not None:
            log.warning("trigger: %s was answered %d: %s (%d more before)", client, status, problem, silent)


def _handler(endpoint: _Endpoint) -> type[HttpHandler]:
    """Return the class that answers one connection."""

    class Handler(HttpHandler):
        protocol_version = "HTTP/1.1"  # a client that keeps its connection saves the handshake

        def do_POST(self) -> None:  # noqa: N802 - the library's name
            at_ns = time.monotonic_ns()
            length, *others = self.headers.get_all("Content-Length", ["0"])
            if "Transfer-Encoding" in self.headers or others:  # a proxy may go by the other one
                self.close_connection = True
                self._answer(411, "expected one Content-Length, not Transfer-Encoding")
                return
            if not (length.isascii() and length.isdigit()) or int(length) > _LONGEST_BODY:
                self.close_connection = True
                self._answer(413, f"expected a body of {_LONGEST_BODY} bytes at most")
                return
            body = self.rfile.read(int(length))
            if len(body) < int(length):  # the client has hung up: half a name is none
                self.close_connection = True
                return
            if not endpoint.accepts(self.headers.get("Authorization", "")):
                self._answer(401, "expected Authorization: Bearer TOKEN")
                return
            self.note_whole()
            if self.path != "/trigger":
                self._answer(404, "expected POST /trigger")
                return
            try:
                part_id = part_id_in(body)
            except ValueError as error:
                self._answer(400, str(error))
                return
            if endpoint.trigger(TriggerEvent(at_ns, part_id)):
                self._answer(202, None)
            else:
                self._answer(429, "more triggers a second than max_rate_hz of the trigger; the part is not inspected")

        def _answer(self, status: int, problem: str | None) -> None:
            if problem is not None:
                endpoint.log_answer(self.client_address[0], status, problem)
            data = json.dumps({"triggered": problem is None} | ({"error": problem} if problem else {})).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if status == 429:
                self.send_header("Retry-After", "1")
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data)

    return Handler
