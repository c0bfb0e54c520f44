"""What one logger says, whatever other tests have done to the root of all loggers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Kept(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.getMessage())


@contextmanager
def warnings_of(name: str) -> Iterator[list[str]]:
    """Keep the warnings and errors of the logger `name` while the block runs."""
    messages: list[str] = []
    logger, handler = logging.getLogger(name), _Kept(messages)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    try:
        yield messages
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
