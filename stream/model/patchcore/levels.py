"""Which levels of a backbone give the features, by name: `stride8` of a feature pyramid, `block6` of tokens.

A network whose levels all have one stride (a plain vision transformer) names them by its blocks, counted
from 1; every other network by their strides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from stream.core.errors import ConfigError

#: A level's name: `strideN`, N in px of the network input, or `blockN`, N counted from 1.
_NAME = re.compile(r"(?:stride|block)[1-9][0-9]*")

_EXAMPLES = "e.g. stride8,stride16 (a feature pyramid) or block6,block9 (a network of tokens)"


class Level(NamedTuple):
    """One level of a backbone.

    Attributes:
        name: `strideN` or `blockN`.
        position: its number among all levels, from 0.
        stride: distance of its positions in px of the network input.
    """

    name: str
    position: int
    stride: int


def parse_levels(text: str) -> tuple[str, ...]:
    """Split `stride8,stride16` into names; raises ConfigError for anything that is no list of levels' names."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"--levels: expected names of levels, {_EXAMPLES}, got '{text}'")
    return names


def are_blocks(names: Sequence[str]) -> bool:
    """Whether these levels are blocks of a network of tokens."""
    return all(name.startswith("block") for name in names)


def is_columnar(strides: Sequence[int]) -> bool:
    """Whether all levels have the same stride, so that they are named by their blocks."""
    return len(strides) > 1 and len(set(strides)) == 1


def levels_of(strides: Sequence[int]) -> list[Level]:
    """Name the levels of a network by their strides, fine to coarse; of several at one stride the deepest counts."""
    if is_columnar(strides):
        return [Level(f"block{index + 1}", index, stride) for index, stride in enumerate(strides)]
    deepest = {stride: index for index, stride in enumerate(strides)}
    return [Level(f"stride{stride}", index, stride) for stride, index in sorted(deepest.items())]


def choose_levels(backbone: str, strides: Sequence[int], wanted: Sequence[str] = ()) -> list[Level]:
    """Choose the levels whose features are used.

    The default of a pyramid is the paper's: strides 8 and 16; where these are absent, the last two not coarser
    than 16. That of a network of tokens is the blocks at one half and three quarters of its depth: the middle of
    the network still knows texture and place, the last blocks know the whole object, and need not be computed.

    Args:
        backbone: name, for the error.
        strides: of all levels, in the network's order, px.
        wanted: names of levels; empty: the default.

    Raises:
        ConfigError: the network has no such level, or one is named twice.
    """
    levels = levels_of(strides)
    if not wanted:
        return _default(backbone, levels, columnar=is_columnar(strides))
    named = {level.name: level for level in levels}
    unknown = [name for name in wanted if name not in named]
    if unknown:
        choices = f"block1 to {levels[-1].name}" if is_columnar(strides) else ", ".join(named)
        raise ConfigError(f"--levels: backbone {backbone} has no level '{unknown[0]}'; its levels are {choices}")
    if len(set(wanted)) < len(wanted):
        raise ConfigError(f"--levels: '{','.join(wanted)}' names a level twice; name each once")
    return sorted((named[name] for name in wanted), key=lambda level: (level.stride, level.position))


def _default(backbone: str, levels: list[Level], *, columnar: bool) -> list[Level]:
    if columnar:
        depth = len(levels)
        return [levels[number - 1] for number in dict.fromkeys((-(-depth // 2), -(-3 * depth // 4)))]
    chosen = [level for level in levels if level.stride in (8, 16)]
    if len(chosen) < 2:
        chosen = [level for level in levels if level.stride <= 16][-2:]
    if not chosen:
        names = ", ".join(level.name for level in levels)
        raise ConfigError(
            f"backbone {backbone} has no level at stride 16 or finer; name those to use with --levels ({names})"
        )
    return chosen
