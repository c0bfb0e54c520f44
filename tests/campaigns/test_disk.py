"""A short run of a line whose disk is full and hangs, and whose wall clock is stepped."""

from __future__ import annotations

from pathlib import Path

import pytest
from campaigns.disk import DEEDS, DiskEpisode, disk, drawn_tries, why_not
from campaigns.kill import Try
from campaigns.material import make_material

_REASON = why_not()
needs_disks = pytest.mark.skipif(_REASON is not None, reason=str(_REASON))


def test_tries_are_the_same_for_a_seed_and_of_every_kind():
    tries = list(drawn_tries(3, 200))
    assert tries == list(drawn_tries(3, 200))
    assert {each.deed for each in tries} == set(DEEDS)


@needs_disks
def test_a_disk_of_its_own_is_full_at_its_size_and_gone_afterwards(tmp_path: Path):
    with disk(tmp_path / "store") as folder, (folder / "file").open("wb", buffering=0) as file:
        with pytest.raises(OSError, match=r"No space"):
            file.writelines([b"\0" * 1_000_000] * 1_000)
        assert 10_000_000 < file.tell() < 60_000_000
    assert not (tmp_path / "store").exists()


@needs_disks
def test_a_line_whose_disk_is_full_and_hangs_gives_every_part_its_verdict(tmp_path: Path):
    material = make_material(tmp_path)
    with disk(tmp_path / "line" / "store"):
        tries = [Try(0.3, "disk", deed, 0.7) for deed in ("full", "clock", "hang", "read-only", "slow")]
        outcome = DiskEpisode(tmp_path / "line", material, seed=0).run(iter(tries))
    assert outcome.violations == []
    assert outcome.deeds.total() == len(tries)
    assert outcome.parts > 30
