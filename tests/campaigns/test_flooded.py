"""A few hundred damaged messages to each process of a line."""

from __future__ import annotations

from pathlib import Path

import pytest
from campaigns.flooded import FLOODS
from campaigns.material import Material


@pytest.fixture(scope="module")
def material(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Material:
    from support.pictures import write_good_folder

    return Material(write_good_folder(tmp_path_factory.mktemp("parts"), 10), small_bundle)


@pytest.mark.parametrize("role", FLOODS)
def test_a_process_serves_genuine_messages_among_damaged_ones(role: str, material: Material, tmp_path: Path):
    outcome = FLOODS[role](tmp_path / "line", material, seed=0, count=1_000, seconds=20.0)
    assert outcome.violations == []
    assert outcome.messages > 900
    assert outcome.genuine >= 10
