"""`kind: http`: a small HTTP endpoint; `POST /trigger`, with {"part_id": …} if the part has a name."""

from __future__ import annotations

import hmac
import json
import logging
import queue
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from stream.core.errors import CameraError
from stream.devices.triggers.trigger import CommonTriggerOptions, TriggerEvent, TriggerSource, part_id_in

log = logging.getLogger(__name__)

_LONGEST_BODY = 64 * 1024
_LOOPBACK = ("127.0.0.1", "localhost")


class HttpTriggerOptions(CommonTriggerOptions):
    """A server of one path, for controllers and scripts that speak HTTP."""

    kind: Literal["http"]
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"  # address to listen on
    port: Annotated[int, Field(ge=1, le=65535)] = 8765
    token: SecretStr | None = None  # asked for as `Authorization: Bearer …`

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
    fault = None

    def __init__(self, options: HttpTriggerOptions) -> None:
        self._asked: queue.SimpleQueue[TriggerEvent] = queue.SimpleQueue()
        token = options.token.get_secret_value() if options.token else None
        self._server = _Server((options.host, options.port), _handler(self._asked, token))

    def events(self, stop: threading.Event) -> Iterator[TriggerEvent]:
        """Yield a trigger for every request."""
        serving = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="http-trigger", daemon=True)
        serving.start()
        try:
            while not stop.is_set():
                try:
                    yield self._asked.get(timeout=0.1)
                except queue.Empty:
                    continue
        finally:
            self._server.shutdown()
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        log.debug("trigger: the connection to %s broke", client_address, exc_info=True)


def _handler(asked: queue.SimpleQueue[TriggerEvent], token: str | None) -> type[BaseHTTPRequestHandler]:
    """Return the class that answers one connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # a client that keeps its connection saves the handshake
        timeout = 30.0
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            at_ns = time.monotonic_ns()
            length = self.headers.get("Content-Length", "0")
            if not length.isdigit() or int(length) > _LONGEST_BODY:
                self.close_connection = True
                self._answer(413, f"expected a body of {_LONGEST_BODY} bytes at most")
                return
            body = self.rfile.read(int(length))
            if len(body) < int(length):  # the client has hung up: half a name is none
                self.close_connection = True
                return
            given = self.headers.get("Authorization", "").encode("latin-1", "replace")
            if token is not None and not hmac.compare_digest(given, f"Bearer {token}".encode()):
                self._answer(401, "expected Authorization: Bearer TOKEN")
                return
            if self.path != "/trigger":
                self._answer(404, "expected POST /trigger")
                return
            try:
                part_id = part_id_in(body)
            except ValueError as error:
                self._answer(400, str(error))
                return
            asked.put(TriggerEvent(at_ns, part_id))
            self._answer(202, None)

        def _answer(self, status: int, problem: str | None) -> None:
            if problem is not None:
                log.warning("trigger: %s was answered %d: %s", self.client_address[0], status, problem)
            data = json.dumps({"triggered": problem is None} | ({"error": problem} if problem else {})).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            log.debug(format, *args)

    return Handler
