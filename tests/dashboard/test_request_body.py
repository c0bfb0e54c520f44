from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stream.dashboard.request_body import BodyRefused, discard, has_body, read_body, refuse_framing


def receiving(*pieces: bytes, ends: bool = True) -> Any:
    """A client that sends these; afterwards it is silent."""
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if ends:
        messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Any:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    return receive


def test_a_body_in_pieces_reaches_the_application_whole():
    async def whole() -> Any:
        return await (await read_body(receiving(b"ab", b"", b"c")))()

    assert asyncio.run(whole()) == {"type": "http.request", "body": b"abc", "more_body": False}


def test_a_body_is_counted_as_it_arrives():
    with pytest.raises(BodyRefused) as refused:
        asyncio.run(read_body(receiving(*[b"x" * 400] * 3, ends=False), most_bytes=1000))
    assert refused.value.status == 413
    asyncio.run(read_body(receiving(b"x" * 1000), most_bytes=1000))


def test_a_body_that_does_not_arrive_is_refused_in_time():
    with pytest.raises(BodyRefused) as refused:
        asyncio.run(read_body(receiving(b"x", ends=False), within_s=0.01))
    assert refused.value.status == 408


@pytest.mark.parametrize("ends", [True, False])
def test_what_is_left_of_a_refused_body_is_read_within_limits(ends: bool):
    receive = receiving(*[b"x" * 400] * 5, ends=ends)
    asyncio.run(discard(receive, most_bytes=1000, within_s=5.0))
    assert len([asyncio.run(receive()) for _ in range(2)]) == 2, "after the third piece it reads no more"
    asyncio.run(discard(receiving(b"x", ends=ends), most_bytes=1000, within_s=0.01))


def test_a_client_that_leaves_is_passed_on():
    async def gone() -> Any:
        async def receive() -> Any:
            return {"type": "http.disconnect"}

        return await (await read_body(receive))()

    assert asyncio.run(gone()) == {"type": "http.disconnect"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], None),
        ([(b"content-length", b"0")], None),
        ([(b"content-length", b"65536")], None),
        ([(b"content-length", b"65537")], 413),
        ([(b"content-length", b"0" * 5000 + b"1")], None),
        ([(b"content-length", b"5"), (b"content-length", b"5")], None),
        ([(b"content-length", b"5"), (b"content-length", b"6")], 400),
        ([(b"content-length", b"1e3")], 400),
        ([(b"transfer-encoding", b"chunked")], None),
        ([(b"transfer-encoding", b"chunked"), (b"content-length", b"5")], 400),
    ],
)
def test_what_the_headers_say_of_a_body(headers: list[tuple[bytes, bytes]], status: int | None):
    refusal = refuse_framing(headers)
    assert (None if refusal is None else refusal[0]) == status


def test_a_body_is_announced_by_either_header():
    assert has_body([(b"content-length", b"5")])
    assert has_body([(b"transfer-encoding", b"chunked")])
    assert not has_body([(b"content-length", b"00")])
    assert not has_body([])
