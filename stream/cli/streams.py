"""Standard output and error as they may be: closed, full, a pipe that nobody reads any more, or without UTF-8."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import NoReturn

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from stream.core.log_lines import printable

#: Characters of our own texts that are written in other letters where the terminal's encoding has none for them.
_IN_ASCII = {
    **{"×": "x", "→": "->", "←": "<-", "◀": "<", "▶": ">", "…": "...", "·": "-", "•": "*", "≤": "<=", "≥": ">="},
    **{"–": "-", "—": "-", "−": "-", "±": "+-", "µ": "u", "μ": "u", "σ": "sigma", "÷": "/", "°": " deg", "²": "2"},
    **{"“": '"', "”": '"', "„": '"', "’": "'", "✓": "ok", "✗": "x", "ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"},
    **dict.fromkeys("│┃║╎╏┆┇┊┋", "|"),
    **dict.fromkeys("─━═╌╍┄┅┈┉╸╺╴╶", "-"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰┏┓┗┛┡┩╇╈┠┨╞╡╪", "+"),
}


class TerminalConsole(Console):
    """A console that prints texts as they are: [brackets] and :colons: in names of files are no markup.

    Control characters in them are escaped, wherever a text comes from and whatever prints it, so that no name drives
    the terminal; lines end where they do in the text.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the parts of what is printed, escaped; rich's own sequences are parts of another kind."""
        for part in super().render(renderable, options):
            if part.control or part.text.isprintable():
                yield part
            else:
                yield part._replace(text="\n".join(map(printable, part.text.split("\n"))))

    def on_broken_pipe(self) -> NoReturn:
        """Leave it to the command's end; rich would end the process with a code of its own."""
        raise BrokenPipeError


def prepare_streams() -> None:
    """Make the standard streams usable whatever they are; call it once, before anything is opened or printed."""
    _occupy_closed()
    codecs.register_error("patchline", _in_other_letters)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="patchline")


def flush_output() -> None:
    """Write out what is printed; raises OSError where that is impossible, once: what is left is discarded then."""
    try:
        sys.stdout.flush()
    except OSError:
        discard_output()
        raise


def discard_output() -> None:
    """Print to nowhere from now on: the interpreter would complain at its end of what it cannot write."""
    with suppress(OSError, ValueError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)


def _occupy_closed() -> None:
    """Open the null device in place of closed streams: the next file opened, say a database, would be printed to."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(number, True)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _in_other_letters(error: UnicodeError) -> tuple[str, int]:
    """Replace what an encoding lacks, for `codecs`: our signs by other ones, the rest by its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    shown = (_IN_ASCII.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in lacking)
    return "".join(shown), error.end
