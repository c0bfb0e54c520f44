"""The memory that a fit may take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from stream.core.errors import ConfigError


@dataclass(frozen=True)
class MemoryBudget:
    """How large the process may become.

    Attributes:
        limit_bytes: resident memory of the process, libraries included.
        asked_for: whether the user set the limit; then nothing may exceed it.
    """

    limit_bytes: int
    asked_for: bool

    @classmethod
    def of(cls, limit_bytes: int | None) -> Self:
        """Take the limit given, or the present size and half of what is free."""
        if limit_bytes is not None:
            return cls(limit_bytes, asked_for=True)
        return cls(_resident_bytes() + _free_bytes() // 2, asked_for=False)

    def left_bytes(self) -> int:
        """Return how much may still be allocated; 0 when the limit is reached."""
        return max(0, self.limit_bytes - _resident_bytes())

    def demand(self, needed_bytes: int) -> None:
        """Raise ConfigError if the user's limit leaves less than `needed_bytes`, which cannot go to disk."""
        if self.asked_for and self.left_bytes() < needed_bytes:
            raise ConfigError(
                f"--max-memory: {gib(self.limit_bytes)} are too little: libraries and backbone hold "
                f"{gib(_resident_bytes())}, choosing the coreset takes {gib(needed_bytes)} more; "
                f"give {gib(1.15 * (_resident_bytes() + needed_bytes))} or a smaller --coreset"
            )


def gib(number: float) -> str:
    """Return a number of bytes as text, in GiB."""
    return f"{number / 2**30:.2f} GiB"


def _free_bytes() -> int:
    """Return the free memory of the machine, or of the container if that is less."""
    free = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no container, other control groups, or no limit ("max")
        return free
    return min(free, max(0, limit - used))


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)
