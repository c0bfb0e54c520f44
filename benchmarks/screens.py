"""Browsers that look at a dashboard, for browsers.py: a given number that read, and some that read nothing.

    python benchmarks/screens.py URL READING SILENT

They watch until standard input closes; then one line of JSON says what they got.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import sys
import time
from collections import Counter
from urllib.parse import urlsplit

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.typing import Origin

from stream.line.lifecycle import lower_priority

#: Between two drawings of a screen.
_DRAWING_S = 1 / 60
#: Pictures of rejects that the line view shows.
_THUMBNAILS = 12
_STATE_S = 0.25
_CHARTS_S = 1.0
_RETRY_S = 1.0
#: One that reads nothing comes again before it has been dropped, and leaves its old connection open.
_AGAIN_S = 35.0


class Screen:
    """One browser that draws all it is sent; every third has a station's view open, the others the line's."""

    def __init__(self, url: str, number: int) -> None:
        self._url = url
        self._phase_s = number * _DRAWING_S / 20
        self._look = self._ask_recent if number % 3 == 2 else self._ask_rejects
        self._rejects: set[str] = set()
        self._shown: set[str] = set()
        self._first_s = 0.0
        self._drawn: Counter[str] = Counter()
        self.bytes = 0
        self.lost = 0

    def drawn_hz(self) -> dict[str, float]:
        """Return what was drawn in a second, by channel; the line's state is the channel without name."""
        seconds = time.monotonic() - self._first_s
        return {channel: count / seconds for channel, count in self._drawn.items()}

    async def watch(self) -> None:
        """Look on, and connect again when the connection is lost."""
        async with httpx.AsyncClient(base_url=f"{self._url}/api/v1/", trust_env=False, timeout=30) as client:
            asking = asyncio.create_task(self._look(client))
            try:
                while True:
                    with contextlib.suppress(OSError, WebSocketException):
                        await self._draw()
                    self.lost += 1
                    await asyncio.sleep(_RETRY_S)
            finally:
                asking.cancel()

    async def _draw(self) -> None:
        live = f"{self._url.replace('http', 'ws', 1)}/api/v1/live"
        async with connect(
            live, origin=Origin(self._url), compression=None, max_size=None, ping_interval=None, proxy=None
        ) as feed:
            async for data in feed:
                self._first_s = self._first_s or time.monotonic()
                (length,) = struct.unpack_from("<I", data)
                header = json.loads(data[4 : 4 + length])
                channel = header["channel"]
                if channel == "":
                    shown = [each for each in header["rejects"][:_THUMBNAILS] if each["picture"]]
                    self._rejects = {f"rejects/{each['channel']}/{each['seq']}.jpg" for each in shown}
                # The page acknowledges what it has drawn, with the screen's next picture.
                await asyncio.sleep(_DRAWING_S - (time.monotonic() + self._phase_s) % _DRAWING_S)
                self._drawn[channel] += 1
                self.bytes += len(data)
                await feed.send(json.dumps({"ack": channel}))

    async def _ask_rejects(self, client: httpx.AsyncClient) -> None:
        while True:
            await asyncio.sleep(_STATE_S)
            for path in self._rejects - self._shown:
                await self._get(client, path)
            self._shown = self._rejects

    async def _ask_recent(self, client: httpx.AsyncClient) -> None:
        while True:
            await asyncio.sleep(_CHARTS_S)
            for station in [name for name in self._drawn if name][:1]:
                await self._get(client, f"stations/{station}/recent")

    async def _get(self, client: httpx.AsyncClient, path: str) -> None:
        with contextlib.suppress(httpx.TransportError):
            self.bytes += len((await client.get(path)).content)


async def stare(url: str) -> None:
    """Connect and never read a byte, with as small a window as can be had; come again, and leave the old ones open."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    hello = (
        f"GET /api/v1/live HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {url}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: cGF0Y2hsaW5lIHdhdGNoZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    opened: list[socket.socket] = []
    try:
        while True:
            with contextlib.suppress(OSError):
                silent = socket.socket()
                opened.append(silent)
                silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel makes it its least
                silent.connect((host, port))
                silent.sendall(hello.encode())
            await asyncio.sleep(_AGAIN_S)
    finally:
        for each in opened:
            each.close()


async def main(url: str, reading: int, silent: int) -> None:
    """Watch until standard input closes."""
    screens = [Screen(url, number) for number in range(reading)]
    watching = [*(screen.watch() for screen in screens), *(stare(url) for _ in range(silent))]
    tasks = [asyncio.create_task(work) for work in watching]
    await asyncio.to_thread(sys.stdin.read)
    result = {
        "drawn_hz": [screen.drawn_hz() for screen in screens],
        "bytes": sum(screen.bytes for screen in screens),
        "lost": sum(screen.lost for screen in screens),
        "cpu_s": time.process_time(),
    }
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps(result))


if __name__ == "__main__":
    os.setsid()
    lower_priority(19)  # in a plant they run on computers of their own
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
