from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from support.pictures import part_picture, write_picture
from typer.testing import CliRunner

from stream.cli.main import app
from stream.cli.suggestion import length, print_suggestion
from stream.core.errors import ConfigError
from stream.model.bundle import change_bundle
from stream.training.suggest import Suggestion
from stream.training.suggestion import Candidate, Trial


def patchline(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "300"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "-o: name the bundle to write"),
        (["-o", "x.safetensors", "--size", "auto"], "--size auto: give the time that one image may take"),
        (["-o", "x.safetensors", "--budget-ms", "20"], "--budget-ms: has a meaning with --size auto or --suggest only"),
        (["--suggest", "--size", "auto", "--budget-ms", "20"], "--suggest tries sizes itself"),
        (["-o", "x.safetensors", "--levels", "8,16"], "--levels: expected names of levels"),
        (["-o", "x.safetensors", "--levels", "stride6"], "has no level 'stride6'"),
        (["-o", "x.safetensors", "--tiles", "4"], "--tiles: expected COLUMNSxROWS such as 4x3"),
        (["-o", "x.safetensors", "--tiles", "1x1"], "--tiles: expected COLUMNSxROWS such as 4x3"),
        (["-o", "x.safetensors", "--tiles", "2x2", "--tile-px", "96"], "--tiles and --tile-px both say"),
        (
            ["-o", "x.safetensors", "--tiles", "2x2", "--tile-scale", "0.5"],
            "--tile-scale: has a meaning with --tile-px",
        ),
        (["-o", "x.safetensors", "--tile-banks", "own"], "there are no tiles; add --tiles or --tile-px"),
        (["-o", "x.safetensors", "--tile-px", "512"], "a tile of 512 px is larger than the region of 160×120 px"),
        (
            ["-o", "x.safetensors", "--tiles", "2x2", "--tile-overlap", "200"],
            "--tile-overlap: 200 px are more than half",
        ),
        (["--suggest", "--tiles", "2x2"], "--suggest try whole network inputs, no tiles"),
        (["-o", "x.safetensors", "--masks", "nowhere.yaml"], "nowhere.yaml: no such file of masks"),
        (["-o", "x.safetensors", "--masks", "mask.jpg"], "mask.jpg: expected masks as .yaml, .json"),
        (["-o", "x.safetensors", "--align", "rotation"], "there is no fixture to find; add --fixture"),
        (["-o", "x.safetensors", "--align-limit-px", "20"], "there is no fixture to find; add --fixture"),
        (["-o", "x.safetensors", "--reference", "first.png"], "there is no fixture to find; add --fixture"),
        (["-o", "x.safetensors", "--fixture", "10,10,40"], "--fixture: expected X,Y,WIDTH,HEIGHT in pixels"),
        (
            ["-o", "x.safetensors", "--fixture", "150,10,40,40"],
            "--fixture 150,10,40,40: not within the reference good_",
        ),
        (
            ["-o", "x.safetensors", "--fixture", "9,9,60,60", "--align-limit-px", "0"],
            "--align-limit-px: 0 px; give how far",
        ),
        (
            ["-o", "x.safetensors", "--fixture", "9,9,60,60", "--align", "translation", "--align-limit-deg", "5"],
            "--align-limit-deg: has a meaning with --align rotation only",
        ),
        (["-o", "x.safetensors", "--ruler", "10,10,60,10"], "--ruler: expected X1,Y1,X2,Y2=MM"),
        (["-o", "x.safetensors", "--ruler", "10,10,10,10=25"], "--ruler: two different points and a length above 0"),
        (["-o", "x.safetensors", "--ruler", "10,10,60,10=0"], "--ruler: two different points and a length above 0"),
    ],
)
def test_options_that_make_no_sense_are_refused_with_what_to_give(good_folder: Path, options: list[str], reason: str):
    with pytest.raises(ConfigError, match=reason):
        patchline("fit", str(good_folder), *options)


def test_a_bundle_says_which_size_of_defect_it_cannot_show_in_pixels_and_in_millimetres(
    small_bundle: Path, tmp_path: Path
):
    # 160×120 px shrunk to 96×96.
    assert "one pixel of the input covers 1.7" in patchline("show", str(small_bundle))
    change_bundle(small_bundle, tmp_path / "ruled.safetensors", mm_per_px=0.05)
    ruled = patchline("show", str(tmp_path / "ruled.safetensors"))
    assert "0.05 mm per px" in ruled
    assert "mm) of the image are likely to be missed" in " ".join(ruled.replace("│", " ").split())
    assert " mm)" not in patchline("show", str(small_bundle))


def test_a_bundle_says_how_its_parts_are_aligned_and_measured(tmp_path: Path):
    good = tmp_path / "good"
    good.mkdir()
    for seed in range(6):
        write_picture(good / f"{seed}.png", part_picture(seed, x_px=float(seed), angle_deg=float(seed % 3)))
    output = tmp_path / "aligned.safetensors"
    said = patchline(
        *("fit", str(good), "-o", str(output), "--size", "64", "--coreset", "0.05", "--roi", "50,40,140,120"),
        *(
            "--fixture",
            "60,50,44,40",
            "--fixture",
            "136,110,44,40",
            "--align-limit-px",
            "30",
            "--ruler",
            "60,0,180,0=30",
        ),
    )
    assert "aligned by edges to 0.png: good parts lie" in " ".join(said.split())
    shown = " ".join(patchline("show", str(output)).replace("│", " ").split())
    assert "by edges of 60,50,44,40 and 136,110,44,40 in 0.png; up to 30 px and 10°" in shown
    assert "0.25 mm per px" in shown


def test_a_bundle_says_how_its_parts_are_tiled(good_folder: Path, tmp_path: Path):
    output = tmp_path / "tiled.safetensors"
    said = patchline("fit", str(good_folder), "-o", str(output), "--size", "64", "--tiles", "2x2", "--coreset", "0.05")
    assert "2×2 of 64×64 px, 32 px shared by neighbours; bank shared" in " ".join(said.split())
    assert "96×96 px" in patchline("show", str(output))


def test_the_size_chosen_within_a_budget_is_that_of_the_bundle(good_folder: Path, tmp_path: Path):
    output = tmp_path / "auto.safetensors"
    said = patchline("fit", str(good_folder), "-o", str(output), "--size", "auto", "--budget-ms", "100000")
    assert "recommended: --size 192x128 --levels stride8,stride16 --coreset 0.01" in said
    assert "192×128 px" in patchline("show", str(output))


def test_the_table_marks_the_choice_and_says_how_to_fit_it():
    slow, fast = (
        Trial(Candidate((edge, edge), ("stride8", "stride16"), 0.01), ms, np.array([True, edge > 300]), 0.9, spot)
        for edge, ms, spot in ((448, 17.2, 6.0), (224, 4.3, None))
    )
    console = Console(record=True, width=200, file=io.StringIO())
    suggestion = Suggestion([fast, slow], slow, [((896, 896), 70.1)], 100, 2, 0.01, (1000, 1000))
    print_suggestion(console, suggestion, 12.0, 0.05)
    said = console.export_text()
    chosen = next(line for line in said.splitlines() if "recommended" in line and "448×448" in line)
    assert all(part in chosen for part in ("17.2", "100%", "6.0 px (0.3 mm)"))
    assert "--size 448x448 --levels stride8,stride16 --coreset 0.01" in said
    assert "over the budget, not tried" in said
    assert "says nothing of the accuracy" in said


def test_a_budget_that_nothing_keeps_is_said_with_the_time_of_the_smallest_input():
    console = Console(record=True, width=200, file=io.StringIO())
    print_suggestion(console, Suggestion([], None, [((224, 224), 70.1)], 100, 210, 0.01, (500, 500)), 3.0, None)
    said = console.export_text()
    assert "70.1" in said
    assert "none is within the budget" in said


@pytest.mark.parametrize(
    ("pixels", "mm_per_px", "shown"), [(3.21, None, "3.2 px"), (32.1, None, "32 px"), (32.1, 0.05, "32 px (1.6 mm)")]
)
def test_lengths_are_in_pixels_and_where_the_scale_is_known_in_millimetres(pixels, mm_per_px, shown: str):
    assert length(pixels, mm_per_px) == shown
