"""Settings of a GenICam camera: each one is set, read back, and refused in one line with the accepted values."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from stream.devices.cameras.reconnecting import CameraLost

Value = bool | int | float | str


class Setting(NamedTuple):
    """A node and the value it is to hold.

    Attributes:
        nodes: its name and, behind it, those that older cameras give it; the first that exists is set.
        needed: whether a camera without it is refused; otherwise it is passed over.
    """

    nodes: tuple[str, ...]
    value: Value
    needed: bool = True


def needed(node: str, value: Value) -> Setting:
    """Return a setting without which the camera is refused."""
    return Setting((node,), value)


def if_there(node: str, value: Value) -> Setting:
    """Return a setting for cameras that have the node."""
    return Setting((node,), value, needed=False)


def apply(node_map: Any, settings: Iterable[Setting]) -> None:
    """Set one node after the other; raises CameraLost naming the node, the value and what the camera accepts."""
    for setting in settings:
        name = next((name for name in setting.nodes if exists(node_map, name)), None)
        if name is None:
            if setting.needed:
                raise CameraLost(_missing(node_map, setting))
            continue
        _set(node_map.get_node(name), name, setting.value)


def exists(node_map: Any, name: str) -> bool:
    """Return whether the camera implements a node."""
    from genicam import genapi

    if not node_map.has_node(name):
        return False
    return bool(node_map.get_node(name).get_access_mode() not in (genapi.EAccessMode.NI, genapi.EAccessMode.NA))


def execute(node_map: Any, name: str) -> None:
    """Run a command; raises CameraLost when there is none of this name or the camera does not obey."""
    from genicam import genapi, gentl

    if not exists(node_map, name):
        raise CameraLost(f"the camera has no command {name}")
    try:
        node_map.get_node(name).execute()
    except (genapi.GenericException, gentl.GenericException) as error:
        raise CameraLost(f"{name}: the camera does not obey: {message_of(error)}") from None


def accepted(node: Any) -> str:
    """Say which values a node takes."""
    from genicam import genapi, gentl

    try:
        match node:
            case genapi.IEnumeration():
                values = ", ".join(_available(node)) or "nothing at present"
            case genapi.IInteger():
                values = f"{node.min} to {node.max}" + (f" in steps of {node.inc}" if node.inc > 1 else "")
            case genapi.IFloat():
                values = f"{node.min:g} to {node.max:g}"
            case genapi.IBoolean():
                values = "true and false"
            case genapi.IString():
                values = "text"
            case _:
                values = "no value at all"
    except (genapi.GenericException, gentl.GenericException) as error:
        return message_of(error)
    return f"it accepts {values}"


def message_of(error: Exception) -> str:
    """Return the message of a GenICam error, without positions in the library's source."""
    text = re.split(r" : \w+Exception thrown| \(Message from", str(error))[0]
    return text.strip().rstrip(".") or type(error).__name__


def _set(node: Any, name: str, value: Value) -> None:
    from genicam import genapi, gentl

    if isinstance(node, genapi.IInteger) and isinstance(value, float) and value.is_integer():
        value = int(value)  # some cameras count whole microseconds or decibels
    try:
        if type(node.value) is type(value) and node.value == value:
            return  # many cameras lock nodes that need no change, for example a fixed trigger mode
        node.value = value
        found = _held(node)
    except (genapi.GenericException, gentl.GenericException, TypeError, AttributeError) as error:
        why = "" if isinstance(error, TypeError | AttributeError) else f" ({message_of(error)})"
        raise CameraLost(f"{name}: the camera refuses {value!r}; {accepted(node)}{why}") from None
    if not _same(node, found, value):
        raise CameraLost(f"{name}: the camera took {value!r} but holds {found!r}; {accepted(node)}")


def _held(node: Any) -> Any:
    """Ask the camera itself, not the library's memory of what was written."""
    from genicam import genapi

    if isinstance(node, genapi.IEnumeration):
        return node.to_string(False, True)
    return node.get_value(ignore_cache=True)


def _same(node: Any, found: Any, wanted: Value) -> bool:
    """Compare what a node holds; cameras round numbers with a fraction to their own steps."""
    from genicam import genapi

    if not isinstance(node, genapi.IFloat) or isinstance(wanted, str):
        return type(found) is type(wanted) and bool(found == wanted)
    step = node.inc if node.has_inc() else 0.0
    return math.isclose(found, wanted, rel_tol=0.01, abs_tol=max(step, 0.05))


def _available(node: Any) -> list[str]:
    from genicam import genapi

    gone = (genapi.EAccessMode.NI, genapi.EAccessMode.NA)
    return [entry.symbolic for entry in node.entries if entry.get_access_mode() not in gone]


def _missing(node_map: Any, setting: Setting) -> str:
    names = " or ".join(setting.nodes)
    close = difflib.get_close_matches(setting.nodes[0], [_name(node) for node in node_map.nodes], n=3)
    hint = f"; similar: {', '.join(close)}" if close else ""
    return f"{names}: the camera has no such node, so it cannot be set to {setting.value!r}{hint}"


def _name(node: Any) -> str:
    return str(node.node.name)
