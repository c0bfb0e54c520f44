"""Progress of long work, reported by stage."""

from __future__ import annotations

from collections.abc import Callable

#: Called with the name of a stage, how much of it is done, and of how much.
Track = Callable[[str, int, int], None]


def silent(_stage: str, _done: int, _total: int) -> None:
    """Report nothing."""
