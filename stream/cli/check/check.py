"""The result of one check."""

from __future__ import annotations

from typing import NamedTuple


class Check(NamedTuple):
    """The result of a check.

    Attributes:
        what: was checked: an option, or what it stands for.
        found: and, if it is wrong or doubtful, what to do.
        wrong: the line would not run, or not inspect.
        doubtful: it would, but perhaps not as wanted.
    """

    what: str
    found: str
    wrong: bool = False
    doubtful: bool = False
