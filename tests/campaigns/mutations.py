"""Damaged copies of genuine bytes and values. Pure: the dice decide, so that a seed gives the same damage again."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

#: Bytes that parsers treat in a special way.
_SPECIAL_BYTES = b"\x00\x7f\x80\x81\x90\xc0\xc1\xc7\xd9\xdc\xde\xdf\xff{}[]\"':,&*!%@`|>\n\r\t "

_INTEGERS = (
    *(0, 1, -1, 2, 127, 128, 255, 256, 32_767, 32_768, 65_536, 2**31 - 1, 2**31, 2**32, -(2**31) - 1),
    *(2**53 - 1, 2**53, 2**53 + 1, 2**62, 2**63 - 1, -(2**63), 2**64 - 1),
)
_FLOATS = (0.0, -0.0, 1e-320, 0.5, -1.5, 1e300, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan"))
_TEXTS = (
    *("", " ", "\0", "a\0b", "\n", "é", "\U0001f600", "\u202e", "ffff", "..", "../../etc/passwd", "/", "~", "*"),
    *("nan", "null", "true", "0x10", "1e999", "%s%n", "tcp://*:*", "ipc://", "A" * 300, "ä" * 5_000),
)


def damaged_bytes(dice: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Return `data` after one to four cuts, flips, repetitions, insertions, or splices with one of `others`."""
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        data = dice.choice(_BYTE_DAMAGES)(dice, data, others)
    return data


def damaged_tree(dice: random.Random, value: Any, *, texts: Sequence[str] = ()) -> Any:
    """Return a copy of a value of maps, lists and scalars, one to three of whose places hold something else.

    Args:
        dice: decides.
        value: of a decoded message, configuration or metadata.
        texts: further texts that mean something to the reader.
    """
    value = copy.deepcopy(value)
    for _ in range(dice.choice((1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            return _other(dice, value, texts)
        holder, key = dice.choice(places)
        _damage_place(dice, holder, key, places, texts)
    return value


def nested(depth: int, kind: str = "list") -> Any:
    """Return lists in lists, or maps in maps, `depth` deep."""
    value: Any = 0
    for _ in range(depth):
        value = [value] if kind == "list" else {"a": value}
    return value


def _flip(dice: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _overwrite(dice: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[dice.randrange(len(data))] = dice.choice(_SPECIAL_BYTES)
    return bytes(changed)


def _cut(dice: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    first, last = sorted((dice.randint(0, len(data)), dice.randint(0, len(data))))
    return data[:first] + data[last:]


def _shorten(dice: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    return data[: dice.randint(0, len(data))]


def _repeat(dice: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    first = dice.randint(0, len(data))
    piece = data[first : first + dice.randint(1, 64)]
    return data[:first] + piece * dice.choice((2, 3, 64)) + data[first:]


def _insert(dice: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    at = dice.randint(0, len(data))
    return data[:at] + bytes(dice.choice(_SPECIAL_BYTES) for _ in range(dice.randint(1, 8))) + data[at:]


def _splice(dice: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    if not others:
        return data
    other = dice.choice(others)
    return data[: dice.randint(0, len(data))] + other[dice.randint(0, len(other)) :]


_Damage = Callable[[random.Random, bytes, Sequence[bytes]], bytes]
_BYTE_DAMAGES: tuple[_Damage, ...] = (_flip, _flip, _overwrite, _cut, _shorten, _repeat, _insert, _splice)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (map or list, key or index) for everything in a tree."""
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, dict | list):
            for key in holder if isinstance(holder, dict) else range(len(holder)):
                yield holder, key
                waiting.append(holder[key])


def _damage_place(
    dice: random.Random, holder: Any, key: Any, places: Sequence[tuple[Any, Any]], texts: Sequence[str]
) -> None:
    deed = dice.randrange(8)
    if (isinstance(holder, dict) and key not in holder) or (isinstance(holder, list) and key >= len(holder)):
        return  # an earlier deed has removed it
    if deed == 0:
        del holder[key]
    elif deed == 1 and isinstance(holder, dict):
        holder[dice.choice((*_TEXTS, *texts, *map(str, holder)))] = holder.pop(key)
    elif deed == 2 and isinstance(holder, dict):
        holder[dice.choice((*_TEXTS, *texts))] = _other(dice, None, texts)
    elif deed == 3:
        other_holder, other_key = dice.choice(places)
        if isinstance(other_holder, dict) and other_key in other_holder:
            holder[key] = copy.deepcopy(other_holder[other_key])
    else:
        holder[key] = _other(dice, holder[key], texts)


def _other(dice: random.Random, value: Any, texts: Sequence[str]) -> Any:
    """Return something instead of a value: most often of its own kind."""
    kind = dice.randrange(10)
    if isinstance(value, bool) and kind < 3:
        return not value
    if isinstance(value, int | float) and not isinstance(value, bool) and kind < 7:
        near = value + dice.choice((-1, 1, -value, value, 1_000, -1_000, 10**9))
        return dice.choice((dice.choice(_INTEGERS), dice.choice(_FLOATS), near))
    if isinstance(value, str) and kind < 7:
        return dice.choice((dice.choice((*_TEXTS, *texts)), value + dice.choice(_TEXTS), value[: len(value) // 2]))
    if isinstance(value, list) and kind < 4:
        return dice.choice((value * 2, value[:-1], [*value, None], [value], list(reversed(value))))
    return dice.choice(
        (
            None,
            True,
            dice.choice(_INTEGERS),
            dice.choice(_FLOATS),
            dice.choice((*_TEXTS, *texts)),
            [],
            {},
            [value],
            {"kind": value},
            nested(dice.choice((3, 200)), dice.choice(("list", "map"))),
        )
    )
