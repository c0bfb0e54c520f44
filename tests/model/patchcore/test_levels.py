from __future__ import annotations

import pytest

from stream.core.errors import ConfigError
from stream.model.patchcore.levels import are_blocks, choose_levels, levels_of, parse_levels

PYRAMID = [2, 4, 8, 16, 32]
TOKENS = [14] * 12


def names(strides: list[int], *wanted: str) -> list[str]:
    return [level.name for level in choose_levels("net", strides, wanted)]


def test_a_pyramids_levels_are_named_by_stride_and_those_of_tokens_by_block():
    assert [level.name for level in levels_of(PYRAMID)] == ["stride2", "stride4", "stride8", "stride16", "stride32"]
    assert [level.name for level in levels_of([16, 16, 16])] == ["block1", "block2", "block3"]


@pytest.mark.parametrize(
    ("strides", "default"),
    [
        (PYRAMID, ["stride8", "stride16"]),
        ([4, 8, 16, 32], ["stride8", "stride16"]),
        ([16, 32, 64], ["stride16"]),
        ([4, 12], ["stride4", "stride12"]),
        (TOKENS, ["block6", "block9"]),
        ([16] * 24, ["block12", "block18"]),
        ([32] * 6, ["block3", "block5"]),
        ([16, 16], ["block1", "block2"]),
    ],
)
def test_the_default_is_the_papers_levels_or_the_middle_of_the_tokens(strides, default):
    assert names(strides) == default


def test_of_several_levels_at_one_stride_the_deepest_counts():
    assert [(level.name, level.position) for level in choose_levels("net", [4, 8, 8, 16])] == [
        ("stride8", 2),
        ("stride16", 3),
    ]


def test_levels_are_used_fine_to_coarse_and_early_to_late_in_whatever_order_they_are_named():
    assert names(PYRAMID, "stride16", "stride4") == ["stride4", "stride16"]
    assert names(TOKENS, "block12", "block3", "block7") == ["block3", "block7", "block12"]


def test_a_level_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(ConfigError, match="backbone net has no level 'stride6'; its levels are stride2, stride4"):
        names(PYRAMID, "stride8", "stride6")
    with pytest.raises(ConfigError, match="no level 'block13'; its levels are block1 to block12"):
        names(TOKENS, "block13")
    with pytest.raises(ConfigError, match="no level 'stride14'; its levels are block1 to block12"):
        names(TOKENS, "stride14")


def test_a_level_named_twice_is_refused():
    with pytest.raises(ConfigError, match="names a level twice"):
        names(PYRAMID, "stride8", "stride8")


def test_a_network_without_a_fine_level_asks_for_a_choice():
    with pytest.raises(ConfigError, match=r"no level at stride 16 or finer; .* --levels \(stride32, stride64\)"):
        names([32, 64])
    assert names([32, 64], "stride32") == ["stride32"]


def test_names_are_read_from_a_list_with_commas():
    assert parse_levels("stride8,stride16") == ("stride8", "stride16")
    assert parse_levels("block6, block9") == ("block6", "block9")
    assert are_blocks(("block6", "block9"))
    assert not are_blocks(("stride8", "stride16"))


@pytest.mark.parametrize("text", ["8,16", "stride8,", "stride0", "block-1", "layer2", "", "stride8;stride16"])
def test_anything_else_is_answered_with_an_example(text: str):
    with pytest.raises(ConfigError, match=r"--levels: expected names of levels, e\.g\. stride8,stride16"):
        parse_levels(text)
