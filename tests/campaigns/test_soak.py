"""A soak of a few seconds reads every figure, and names one that grows."""

from __future__ import annotations

from pathlib import Path

from campaigns.material import make_material
from campaigns.slopes import Slope
from campaigns.soak import ALLOWED, grown, soak


def test_a_soak_reads_every_figure_of_every_process(tmp_path: Path):
    # Too short to tell growth from the warm-up of a process: what it found is not judged here.
    outcome = soak(tmp_path / "line", make_material(tmp_path), seconds=10.0, warm_up_s=1.0, every_s=0.25)
    assert [violation for violation in outcome.violations if violation.rule != "growth"] == []
    assert outcome.parts > 50
    processes = {process for process, _ in outcome.slopes}
    assert processes == {"supervisor", "sink", "worker0", "capture-top", "line"}
    assert {figure for _, figure in outcome.slopes} == set(ALLOWED)
    memory = outcome.first_and_last["worker0", "memory, MiB"]
    assert all(20 < mib < 4_000 for mib in memory)


def test_growth_beyond_interval_and_allowance_is_named():
    slopes = {
        ("sink", "memory, MiB"): Slope(50.0, 40.0, 60.0, 0.1),
        ("sink", "descriptors"): Slope(50.0, -1.0, 101.0, 3.0),
        ("sink", "threads"): Slope(0.5, 0.4, 0.6, 0.0),
        ("line", "disk, MiB"): Slope(-90.0, -99.0, -80.0, 0.1),
    }
    (found,) = grown(slopes)
    assert found == ("growth", "memory, MiB of sink: +50.00 (+40.00 to +60.00) an hour")
