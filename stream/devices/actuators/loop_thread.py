"""An asyncio event loop in a thread, for outputs whose library is asynchronous.

Not anyio's BlockingPortal: leaving that waits for its running tasks, and these may hang on a dead device; this one ends
within half a second.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as WaitTimeout
from contextlib import suppress
from typing import Any, TypeVar

from stream.core.clock import now_ns

T = TypeVar("T")

#: Time beyond a call's limit for a busy loop to return its result.
_HANDOVER_S = 0.1


class LoopThread:
    """Runs coroutines for a thread that waits for them, or beside it."""

    def __init__(self, name: str) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"{name}-io", daemon=True)
        self._thread.start()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine beside the caller until the loop ends."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def soon(self, function: Callable[[], object]) -> None:
        """Call a function within the loop; returns at once."""
        self._loop.call_soon_threadsafe(function)

    def call(self, function: Callable[[], Awaitable[T]], until_ns: int) -> T:
        """Return what `function` returns, by `until_ns` at the latest.

        Raises:
            TimeoutError: it took longer and was cancelled, or was not begun at all.
            OSError: any other error.
        """
        future = asyncio.run_coroutine_threadsafe(_within(function, until_ns), self._loop)
        try:
            return future.result(max(0.0, (until_ns - now_ns()) / 1e9) + _HANDOVER_S)
        except (WaitTimeout, CancelledError):
            future.cancel()
            raise TimeoutError("no answer in time") from None

    def end(self) -> None:
        """Cancel what runs and end the thread; returns after half a second at the latest."""

        async def stop() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=0.3) if others else None
            self._loop.stop()

        self.start(stop())
        self._thread.join(timeout=0.5)
        if not self._thread.is_alive():
            with suppress(RuntimeError):
                self._loop.close()


async def _within(function: Callable[[], Awaitable[T]], until_ns: int) -> T:
    left_ns = until_ns - now_ns()
    if left_ns <= 0:
        raise TimeoutError("no time left")
    try:
        async with asyncio.timeout(left_ns / 1e9):
            return await function()
    except TimeoutError:
        raise TimeoutError("no answer in time") from None
    except OSError:
        raise
    except Exception as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from error
