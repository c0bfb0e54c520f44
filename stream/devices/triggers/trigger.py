"""What every trigger yields, what all kinds share, and how a part's name is read from a message."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Annotated, ClassVar, NamedTuple, Protocol

from pydantic import Field

from stream.core.options import Options, PositiveMs

#: A longer name of a part is cut: it travels with every message about the part.
LONGEST_PART_ID = 200


class TriggerEvent(NamedTuple):
    """One event from outside: a part is in front of the camera now.

    Attributes:
        at_ns: when, on this host's monotonic clock.
        part_id: the part's name, if the trigger gave one.
        fault: why the moment is not known (the connection was lost meanwhile); the part cannot be inspected then.
    """

    at_ns: int
    part_id: str | None = None
    fault: str = ""


class TriggerSource(Protocol):
    """A trigger that is open. `events` runs in its own thread and ends soon after `stop` is set."""

    def events(self, stop: threading.Event) -> Iterator[TriggerEvent]:
        """Yield events as they come, connecting again for as long as it takes."""
        ...

    @property
    def fault(self) -> str | None:
        """Why no events can come at present, or None while the trigger is well."""
        ...


class CommonTriggerOptions(Options):
    """Options of every kind of trigger."""

    #: Whether a part has come with each event; False: the events are this process's own.
    of_parts: ClassVar[bool] = True

    wait_ms: PositiveMs | None = None  # a part without a frame by then is UNINSPECTED; None: the camera's stall_ms
    debounce_ms: Annotated[float, Field(ge=0)] = 0.0  # an event of the same part so soon after another is none


def part_id_in(payload: bytes) -> str | None:
    """Return the part's name in a message: a JSON object's field `part_id`, or the plain text; None without one.

    Raises ValueError when the payload begins like a JSON object and is none.
    """
    text = payload.decode("utf-8", errors="replace").strip()
    if not text.startswith("{"):
        return clean_part_id(text)
    try:
        found = json.loads(text).get("part_id")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a JSON object: {error}") from None
    return None if found is None else clean_part_id(str(found))


def clean_part_id(text: str) -> str | None:
    """Return a name as it may travel: printable, not too long; None when nothing is left of it."""
    printable = "".join(character for character in text if character.isprintable())
    return printable.strip()[:LONGEST_PART_ID] or None
