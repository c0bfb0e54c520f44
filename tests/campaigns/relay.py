"""A road between hosts whose weather can be changed: TCP connections that are delayed, and held up as by lost packets.

`python relay.py WEATHER_FILE HOST:PORT=HOST:PORT ...` passes each address on to another.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from pathlib import Path
from typing import NamedTuple

#: Chunks on their way in one direction of a connection; then the sender is slowed down.
_ON_THE_WAY = 256
#: Interval at which the weather is read, s.
_LOOK_S = 0.05


class Weather(NamedTuple):
    """How long a chunk takes: `delay_ms`, up to `jitter_ms` more; a share `loss` of them `resend_ms` more, as TCP's.

    Bytes of a connection stay in order, so a late chunk holds up those behind it.
    """

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    resend_ms: float = 200.0


def delay_s(weather: Weather, dice: random.Random) -> float:
    """Draw how long one chunk takes, s."""
    lost = weather.resend_ms if dice.random() < weather.loss else 0.0
    return (weather.delay_ms + dice.uniform(0.0, weather.jitter_ms) + lost) / 1e3


def set_weather(file: Path, weather: Weather) -> None:
    """Change the weather of a running relay."""
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(weather._asdict()))
    partial.replace(file)


class _Road:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._dice = random.Random(0)
        self.weather = Weather()

    async def watch(self) -> None:
        while True:
            with contextlib.suppress(OSError, ValueError):
                self.weather = Weather(**json.loads(self._file.read_text()))
            await asyncio.sleep(_LOOK_S)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction until its end or the other side's."""
        loop = asyncio.get_running_loop()
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_ON_THE_WAY)

        async def deliver() -> None:
            while True:
                due_s, data = await on_the_way.get()
                await asyncio.sleep(max(0.0, due_s - loop.time()))
                if not data:
                    return
                writer.write(data)
                await writer.drain()

        delivering = asyncio.create_task(deliver())
        last_s = 0.0
        with contextlib.suppress(OSError):
            while not delivering.done():
                data = await reader.read(65_536)
                last_s = max(last_s, loop.time() + delay_s(self.weather, self._dice))
                await on_the_way.put((last_s, data))
                if not data:
                    await delivering
        delivering.cancel()
        writer.close()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str) -> None:
        """Connect a caller with its target."""
        host, port = target.split(":")
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.close()
            return
        await asyncio.gather(self.carry(reader, far_writer), self.carry(far_reader, writer), return_exceptions=True)


async def _serve(file: Path, routes: list[str]) -> None:
    road = _Road(file)
    for route in routes:
        source, target = route.split("=")
        host, port = source.split(":")

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str = target) -> None:
            await road.pass_on(reader, writer, target)

        await asyncio.start_server(answer, host, int(port))
    print("listening", flush=True)
    await road.watch()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), sys.argv[2:]))
