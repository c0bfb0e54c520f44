"""What may stand in a log line: no control characters, no endless text, no line repeated without end.

Pure: the clock is passed in. `stream.line.log` writes the lines.
"""

from __future__ import annotations

import unicodedata
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, NamedTuple

#: Longest text of one line, characters.
MAX_CHARS: Final = 2_000
#: First and longest interval between two equal lines, ns.
_FIRST_NS, _LONGEST_NS = 1_000_000_000, 60_000_000_000
#: Different lines that are remembered.
_REMEMBERED = 1_000

#: `extra` of a log call whose text comes from a peer: its lines count as equal to each other, whatever their text.
FROM_PEER: Final = {"from_peer": True}


def printable(text: str) -> str:
    r"""Return a text on one line, in which control, format and separator characters are escaped (`\n`, `\x1b`).

    So neither a second line nor a terminal's escape sequence, nor a change of writing direction, can be forged.
    """
    if text.isprintable():
        return text
    return "".join(character if _shown(character) else _escaped(character) for character in text)


def bounded(text: str, max_chars: int = MAX_CHARS) -> str:
    """Return a text of at most `max_chars` characters and a note of how many were cut."""
    if len(text) <= max_chars:
        return text
    return f"{text[:max_chars]}… ({len(text) - max_chars} more characters)"


def _shown(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class _Line(NamedTuple):
    text: str
    next_ns: int
    interval_ns: int
    left_out: int


class RepeatedLines:
    """How often equal lines are written: at once, then at intervals that grow to a minute while they come."""

    def __init__(self) -> None:
        self._lines: OrderedDict[Hashable, _Line] = OrderedDict()

    def admit(self, key: Hashable, text: str, now_ns: int) -> int | None:
        """Return how many lines like this were left out since the last one; None: leave this one out, too."""
        line = self._lines.pop(key, None)
        if line is None:
            self._lines[key] = _Line(text, now_ns + _FIRST_NS, _FIRST_NS, 0)
            while len(self._lines) > _REMEMBERED:
                self._lines.popitem(last=False)
            return 0
        if now_ns < line.next_ns:
            self._lines[key] = line._replace(text=text, left_out=line.left_out + 1)
            return None
        interval_ns = min(2 * line.interval_ns, _LONGEST_NS) if line.left_out else _FIRST_NS
        self._lines[key] = _Line(text, now_ns + interval_ns, interval_ns, 0)
        return line.left_out

    def due(self, now_ns: int | None) -> list[tuple[str, int]]:
        """Return (newest text, number) of the lines left out whose interval is over, and count them as written.

        None: of all lines, since the process ends.
        """
        due = [
            (key, line)
            for key, line in self._lines.items()
            if line.left_out and (now_ns is None or now_ns >= line.next_ns)
        ]
        for key, line in due:
            interval_ns = min(2 * line.interval_ns, _LONGEST_NS)
            next_ns = line.next_ns if now_ns is None else now_ns + interval_ns
            self._lines[key] = line._replace(next_ns=next_ns, interval_ns=interval_ns, left_out=0)
        return [(line.text, line.left_out) for _, line in due]
