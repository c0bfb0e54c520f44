"""Bodies of requests: counted as they arrive, whatever their headers say, and read before any route."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from starlette.types import Message, Receive

#: Largest body, in bytes, and longest time in which it must have arrived, in seconds.
MOST_BYTES = 64 * 1024
BODY_S = 10.0
#: Of a body that is refused, so much is still read, for so many seconds: from an honest client that is all of it.
DISCARDED_BYTES, DISCARD_S = 1024 * 1024, 1.0

Headers = Sequence[tuple[bytes, bytes]]


def refuse_framing(headers: Headers) -> tuple[int, str] | None:
    """Return the status and the reason where the length of a body is ambiguous or too large; None: it may be read."""
    lengths = {value for name, value in headers if name == b"content-length"}
    chunked = any(name == b"transfer-encoding" for name, _ in headers)
    if chunked and lengths:
        return 400, "send either Content-Length or Transfer-Encoding"
    if len(lengths) > 1 or not all(length.isdigit() for length in lengths):
        return 400, "Content-Length must be one number of bytes"
    # Digits alone are compared: a number of thousands of them is not converted.
    if any(len(length) > 9 or int(length) > MOST_BYTES for length in (text.lstrip(b"0") or b"0" for text in lengths)):
        return 413, f"a body has at most {MOST_BYTES} bytes"
    return None


def has_body(headers: Headers) -> bool:
    """Whether a body follows."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0")) for name, value in headers
    )


class BodyRefused(Exception):  # noqa: N818 - said of the request
    """A body that is too large or too slow.

    Attributes:
        status: of the response.
        reason: in plain words.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


async def read_body(receive: Receive, *, most_bytes: int = MOST_BYTES, within_s: float = BODY_S) -> Receive:
    """Read a body whole; returns what gives it to the application. Raises BodyRefused."""
    body = bytearray()
    try:
        async with asyncio.timeout(within_s):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return _first(message, receive)
                body += message.get("body", b"")
                if len(body) > most_bytes:
                    raise BodyRefused(413, f"a body has at most {most_bytes} bytes")
                if not message.get("more_body", False):
                    return _first({"type": "http.request", "body": bytes(body), "more_body": False}, receive)
    except TimeoutError:
        raise BodyRefused(408, f"the body did not arrive within {within_s:g} s") from None


async def discard(receive: Receive, *, most_bytes: int = DISCARDED_BYTES, within_s: float = DISCARD_S) -> None:
    """Read what is left of a body that is refused, within limits, and keep none of it.

    A connection that is closed while data arrives is reset, and the client may lose the answer.
    """
    read = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while read < most_bytes:
                message = await receive()
                read += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return


def _first(message: Message, receive: Receive) -> Receive:
    """Return what receives `message` and then whatever follows."""
    pending = [message]

    async def receive_next() -> Message:
        return pending.pop() if pending else await receive()

    return receive_next
