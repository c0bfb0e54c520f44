"""Events with something changed."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec

from stream.core.parts import PartResult
from stream.store.records import Event


def changed(event: Event, **changes: Any) -> Event:
    """Return a copy with other values; those of its part are given beside those of the event."""
    of_part = {name: changes.pop(name) for name in PartResult.__struct_fields__ if name in changes}
    return dataclasses.replace(event, part=msgspec.structs.replace(event.part, **of_part), **changes)
