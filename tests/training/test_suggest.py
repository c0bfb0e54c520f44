from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.pictures import write_good_folder

from stream.core.errors import ConfigError, DatasetError
from stream.model.mask_files import MaskFile
from stream.model.patchcore.masks import FILL, Mask
from stream.training.evidence import gathered
from stream.training.fit_options import FitOptions
from stream.training.progress import silent
from stream.training.suggest import choose_size, suggest

OPTIONS = FitOptions(coreset=0.02)


def test_sizes_a_larger_coreset_and_finer_levels_are_tried_and_one_is_recommended(good_folder: Path):
    stages: dict[str, tuple[int, int]] = {}
    found = suggest(
        good_folder, OPTIONS, repeats=2, track=lambda stage, done, total: stages.update({stage: (done, total)})
    )
    tried = [(trial.candidate.input_px, trial.candidate.levels, trial.candidate.coreset) for trial in found.trials]
    # 160×120 px in its own aspect, enlarged no further.
    assert tried == [
        ((256, 192), ("stride8", "stride16"), 0.02),
        ((256, 192), ("stride8", "stride16"), 0.1),
        ((256, 192), ("stride4", "stride8"), 0.02),
    ]
    assert found.best in found.trials
    assert (found.pictures, found.region_px) == (24, (160, 120))
    assert found.false_reject_rate == pytest.approx(1 / 25), "24 pictures allow no lower rate"
    assert all(0 < trial.share <= 1 and trial.milliseconds > 0 for trial in found.trials)
    assert all(done == total for done, total in stages.values())


def test_large_defects_are_found_and_the_smallest_are_not(good_folder: Path):
    (trial,) = choose_size(good_folder, OPTIONS, budget_ms=1e6, repeats=3).trials
    assert trial.candidate.input_px[0] > trial.candidate.input_px[1]
    assert 0.2 < trial.share < 1
    assert trial.auroc > 0.6


def test_defects_are_drawn_and_found_outside_of_the_masks_alone(good_folder: Path):
    right = Mask("right", "ignore", rectangle=(80, 0, 80, 120))
    options = replace(OPTIONS, masks=(MaskFile("masks.yaml", None, (right,)),))
    seen = []
    with gathered(good_folder, options, 3, silent) as evidence:
        for fold in evidence.folds:
            for _, inputs in evidence._defective(fold, (160, 128)):
                seen.append(inputs)
    drawn = np.concatenate(seen)
    assert (drawn[:, :, 80:] == FILL).all()
    (trial,) = choose_size(good_folder, options, budget_ms=1e6, repeats=3).trials
    assert 0.2 < trial.share < 1


def test_masks_that_leave_nothing_to_judge_end_the_suggestion(good_folder: Path):
    everything = MaskFile("masks.yaml", None, (Mask("all", "ignore", rectangle=(0, 0, 160, 120)),))
    with pytest.raises(ConfigError, match="nothing is left to judge"):
        suggest(good_folder, replace(OPTIONS, masks=(everything,)), repeats=1)


def test_levels_that_the_user_chose_are_the_only_ones_tried(good_folder: Path):
    found = suggest(good_folder, FitOptions(coreset=0.02, levels=("stride8", "stride16")), repeats=1)
    assert {trial.candidate.levels for trial in found.trials} == {("stride8", "stride16")}


def test_a_budget_below_the_smallest_input_is_answered_with_its_time(good_folder: Path):
    with pytest.raises(ConfigError, match=r"--budget-ms: the smallest input .* takes \d+\.\d ms on this machine"):
        choose_size(good_folder, OPTIONS, budget_ms=0.01)


def test_a_suggestion_within_a_budget_nothing_keeps_names_no_best_one(good_folder: Path):
    found = suggest(good_folder, OPTIONS, budget_ms=0.01)
    assert found.best is None
    assert found.trials == []
    assert found.too_slow[0][1] > 0.01


def test_too_few_pictures_are_refused(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"5 different readable images .* too few to try options on"):
        suggest(write_good_folder(tmp_path / "good", 5), OPTIONS)
