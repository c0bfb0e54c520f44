"""Which good pictures are held out together: contiguous blocks of file order, or groups that the user names.

Never single pictures at random: a part that was photographed several times would then be remembered in one picture
and calibrate with another, and thresholds would come out too low. Nor a fifth of the order at once: where it follows
lots or variants, one of them would be missing from the bank, and thresholds would come out too high. So a fold is made
of several blocks from all over the order, which end where neighbours look least alike: between two parts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from stream.core.errors import ConfigError

#: Number of folds of the cross-conformal calibration, and of blocks among which `split` chooses.
FOLDS, SPLIT_BLOCKS = 5, 10
#: Values of --group-by: by sub-folder; and for images that have nothing to do with their neighbours.
BY_FOLDER, BY_FILE = "folder", "file"

#: Pictures of a block, and most blocks of a fold.
_BLOCK, _BLOCKS_OF_A_FOLD = 15, 8

Rows = NDArray[np.int64]


def neighbour_blocks(likeness: NDArray[np.floating], folds: int) -> list[str]:
    """Divide pictures in file order into blocks of neighbours, several for each of `folds` folds.

    Args:
        likeness: (n − 1,) of each picture and the next.
        folds: how many.

    Returns:
        the name of the block of each of the n pictures.
    """
    total = len(likeness) + 1
    count = min(total, max(folds, min(round(total / _BLOCK), folds * _BLOCKS_OF_A_FOLD)))
    reach = total // count // 4
    ends = []
    for block in range(1, count):
        nominal = round(block * total / count)
        window = range(max(nominal - reach, 1), min(nominal + reach + 1, total))
        # Among equals the one nearest to equal blocks.
        ends.append(min(window, key=lambda end: (likeness[end - 1], abs(end - nominal))))
    return [str(int(np.searchsorted(ends, row, side="right"))) for row in range(total)]


def deal(groups: Sequence[str], folds: int) -> list[Rows]:
    """Deal blocks of neighbours to `folds` folds in turn; fewer when there are fewer blocks."""
    order = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    numbers = np.array([order[group] % folds for group in groups])
    return [np.flatnonzero(numbers == fold) for fold in range(min(folds, len(order)))]


def groups_of(names: Sequence[str], group_by: str | None) -> list[str]:
    """Return the group of each picture, by its name relative to the folder of good ones.

    Args:
        names: such as `lot7/cap_0012_left.png`.
        group_by: None or `file`: each picture is its own group; `folder`: the sub-folder; else a regular expression
            that is searched in the file's name, of which the first parenthesis, or all that matches, names the group.

    Raises:
        ConfigError: no valid expression, or one that a name does not match.
    """
    if group_by in (None, BY_FILE):
        return list(names)
    if group_by == BY_FOLDER:
        return [PurePath(name).parent.as_posix() for name in names]
    assert group_by is not None
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise ConfigError(f"--group-by: '{group_by}' is no regular expression: {error}") from None
    groups = []
    for name in names:
        match = pattern.search(PurePath(name).name)
        if match is None:
            raise ConfigError(
                f"--group-by: '{group_by}' does not match {name}; give an expression that matches every file's name, "
                r"such as '^(cap\d+)_', or 'folder' to group by sub-folder"
            )
        groups.append(match.group(1) if pattern.groups and match.group(1) is not None else match.group(0))
    return groups


def blocks(groups: Sequence[str], count: int) -> list[Rows]:
    """Divide pictures into up to `count` blocks of about equal size; a group is never divided.

    Args:
        groups: of each picture, in file order; pictures of one group need not be neighbours.
        count: fewer blocks are returned when there are fewer groups.

    Returns:
        the rows of each block, ascending; in file order where every picture is its own group.
    """
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    count = min(count, len(members))
    result: list[list[int]] = [[] for _ in range(count)]
    place, taken = 0, 0
    for number, rows in enumerate(members.values()):
        # The next block begins when this one has its share, or when each group left needs a block of its own.
        full = taken >= len(groups) * (place + 1) / count
        if result[place] and (full or len(members) - number <= count - 1 - place):
            place = min(place + 1, count - 1)
        result[place] += rows
        taken += len(rows)
    return [np.array(sorted(rows), dtype=np.int64) for rows in result]


def held_out_blocks(groups: Sequence[str], share: float, seed: int) -> Rows:
    """Choose blocks at random that hold about `share` of the pictures, at least one and never all."""
    candidates = blocks(groups, max(SPLIT_BLOCKS, round(1 / min(share, 1 - share))))
    order = np.random.default_rng(seed).permutation(len(candidates))
    wanted = max(1, round(len(groups) * share))
    chosen: list[int] = []
    held_out = 0
    for block in order[: len(candidates) - 1]:
        size = len(candidates[block])
        # A block that overshoots counts only if that is nearer than to stop before it.
        if chosen and held_out + size - wanted > wanted - held_out:
            break
        chosen.append(int(block))
        held_out += size
        if held_out >= wanted:
            break
    return np.sort(np.concatenate([candidates[block] for block in chosen])) if chosen else np.empty(0, np.int64)
