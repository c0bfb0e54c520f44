from __future__ import annotations

import numpy as np
import pytest

from stream.core.errors import ConfigError
from stream.training.folds import blocks, deal, groups_of, held_out_blocks, neighbour_blocks


def test_without_groups_every_picture_is_its_own():
    assert groups_of(["b.png", "a.png"], None) == ["b.png", "a.png"]


def test_a_parenthesis_or_else_the_whole_match_names_the_group():
    assert groups_of(["cap1_left.png", "cap2_left.png"], r"^(cap\d+)_") == ["cap1", "cap2"]
    assert groups_of(["x/cap1_left.png", "y/cap1_right.png"], r"cap\d+") == ["cap1", "cap1"]


def test_a_name_that_does_not_match_is_refused():
    with pytest.raises(ConfigError, match=r"'cap' does not match lid\.png"):
        groups_of(["cap.png", "lid.png"], "cap")


def test_what_is_no_regular_expression_is_refused():
    with pytest.raises(ConfigError, match=r"'\(' is no regular expression"):
        groups_of(["cap.png"], "(")


@pytest.mark.parametrize(("total", "count"), [(31, 5), (10, 3), (5, 5), (3, 5), (300, 5)])
def test_blocks_are_contiguous_and_of_about_equal_size(total: int, count: int):
    found = blocks([str(row) for row in range(total)], count)
    assert np.concatenate(found).tolist() == list(range(total))
    sizes = [len(block) for block in found]
    assert len(sizes) == min(total, count)
    assert max(sizes) - min(sizes) <= 1


def test_a_group_is_never_divided_even_if_its_pictures_are_far_apart():
    groups = ["a", "b", "a", "c", "b", "d", "e", "a"]
    for block in blocks(groups, 3):
        inside = {groups[row] for row in block}
        assert all((group in inside) == (row in block) for row, group in enumerate(groups) if group in inside)


def test_blocks_of_neighbours_end_between_parts_that_were_photographed_several_times():
    parts = np.repeat(np.arange(50), 6)  # six exposures each
    likeness = np.where(np.diff(parts) == 0, 0.9, 0.2)
    named = neighbour_blocks(likeness, 5)
    for part in range(50):
        assert len({named[row] for row in np.flatnonzero(parts == part)}) == 1
    assert len(set(named)) == 20


def test_every_fold_has_blocks_from_all_over_the_order():
    named = neighbour_blocks(np.zeros(299), 5)
    for fold in deal(named, 5):
        assert len(fold) == 60
        assert fold[0] < 75
        assert fold[-1] >= 225


def test_few_pictures_are_divided_into_as_many_blocks_as_folds():
    assert [len(fold) for fold in deal(neighbour_blocks(np.zeros(30), 5), 5)] == [6, 6, 7, 6, 6]
    assert [len(fold) for fold in deal(neighbour_blocks(np.zeros(1), 5), 5)] == [1, 1]


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_a_split_holds_out_about_the_share_in_blocks_and_never_all(share: float, seed: int):
    held_out = held_out_blocks([str(row) for row in range(100)], share, seed)
    assert 1 <= len(held_out) < 100
    assert abs(len(held_out) - max(1, 100 * share)) <= 5
    assert len(np.unique(held_out)) == len(held_out)
