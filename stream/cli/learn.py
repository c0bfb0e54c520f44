"""`patchline fit`, `calibrate`, `evaluate`, `show`: from images of good parts to a bundle, and how good it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from stream.cli.app import DeviceOption, RateOption, err, out
from stream.cli.fixtures import (
    AlignByOption,
    AlignChoice,
    AlignLimitDegOption,
    AlignLimitPxOption,
    AlignOption,
    FixtureOption,
    ReferenceOption,
    RulerOption,
    chosen_alignment,
    mm_per_px_of,
)
from stream.cli.input_options import SIZES_PX, bytes_of, network_size, roi_of, tiling_of
from stream.core.errors import ConfigError
from stream.core.files import check_destination, check_new_folder

ReviewOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="New folder for the twelve strangest good images, as overlays by rank and score."),
]
LeaveOutOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Leave this image out, by its name below GOOD_DIR; may be given several times."),
]


def fit(
    good_dir: Annotated[Path, typer.Argument(help="Folder of images of good parts.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Bundle to write (.safetensors).", show_default=False)
    ] = None,
    backbone: Annotated[
        str,
        typer.Option(help="efficientnet_lite0/1/2, resnet18, resnet50, wide_resnet50_2 or any timm model."),
    ] = "efficientnet_lite0",
    levels: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Levels whose features are used: stride8,stride16, or of tokens block6,block9; default: these two.",
        ),
    ] = None,
    size: Annotated[
        str,
        typer.Option(
            metavar="PX|WxH|auto",
            help="Network input: 224 means as many pixels as a square of 224 px has, in the aspect of the region; "
            "448x224 is width x height. More pixels show finer defects and take as much longer. auto: the largest that "
            "keeps --budget-ms on this machine, if synthetic defects show that it helps.",
        ),
    ] = "224",
    budget_ms: Annotated[
        float | None,
        typer.Option(min=0.1, help="With --size auto or --suggest: longest time of one image, one at a time, in ms."),
    ] = None,
    suggest: Annotated[
        bool,
        typer.Option("--suggest", help="Try sizes, levels and coresets, print what each finds, and write no bundle."),
    ] = False,
    roi: Annotated[
        str | None,
        typer.Option(metavar="X,Y,W,H", help="Region of the image to inspect; default: all of it."),
    ] = None,
    masks: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Areas that are not judged, or by thresholds of their own: YAML as in configs/masks/cap.yaml, "
            "polygons of labelme or COCO, a painted PNG; see docs/masks.md. May be given several times.",
        ),
    ] = None,
    tiles: Annotated[
        str | None,
        typer.Option(
            metavar="COLSxROWS",
            help="Cut the region into so many tiles, each a network input of --size: small defects of large parts stay "
            "visible, and a part takes the time of all of its tiles.",
        ),
    ] = None,
    tile_px: Annotated[
        int | None,
        typer.Option(min=SIZES_PX[0], max=SIZES_PX[1], help="Or: cut it into square tiles of so many px of the image."),
    ] = None,
    tile_scale: Annotated[
        float, typer.Option(min=0.01, max=10, help="With --tile-px: shrink the region to this scale before.")
    ] = 1.0,
    tile_overlap: Annotated[
        int, typer.Option(min=0, max=512, help="Strip that neighbouring tiles share, px of the network input.")
    ] = 32,
    tile_banks: Annotated[
        Literal["shared", "own"],
        typer.Option(
            help="own: each tile is compared with good parts at its place only; the parts must stay in place."
        ),
    ] = "shared",
    coreset: Annotated[
        float,
        typer.Option(
            min=1e-4,
            max=1.0,
            help="Share of the patches to remember; of few images more, up to 1,500 patches or a tenth of them.",
        ),
    ] = 0.01,
    bank_max: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most patches to remember, whatever the share: of many images a search of all that it asks for would "
            "take most of the time of a part. 20000 is a good limit; default: none.",
        ),
    ] = None,
    neighbourhood: Annotated[
        int, typer.Option(min=1, max=15, help="p: odd edge of the neighbourhood a patch feature averages.")
    ] = 3,
    stride: Annotated[int, typer.Option(min=1, max=8, help="s: take every s-th patch.")] = 1,
    score: Annotated[
        Literal["auto", "plain", "position"],
        typer.Option(help="position: judge a distance by what good parts show at its place; auto: if they stay there."),
    ] = "auto",
    calibration: Annotated[
        Literal["cross", "split"],
        typer.Option(
            help="cross: every image is remembered and calibrates, scored without its fold; split: some only "
            "calibrate, which guarantees the rate strictly."
        ),
    ] = "cross",
    folds: Annotated[int, typer.Option(min=2, max=50, help="Folds of --calibration cross, blocks of file order.")] = 5,
    holdout: Annotated[
        float,
        typer.Option(min=0.01, max=0.9, help="Share of the images held out by --calibration split."),
    ] = 0.2,
    group_by: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX|folder|file",
            help="Which images are held out together, as several of one part must be: those whose names match alike, "
            r"such as '^(part\d+)_', or of one sub-folder; file: each is of another part, in no order. Default: "
            "neighbours in the order of names.",
        ),
    ] = None,
    review: ReviewOption = None,
    leave_out: LeaveOutOption = None,
    false_reject_rate: RateOption = 0.01,
    seed: Annotated[int, typer.Option(help="Random seed of split, projection and first pick.")] = 0,
    device: DeviceOption = "auto",
    weights: Annotated[
        Path | None,
        typer.Option(help="State dict (.safetensors, .pth) of the backbone instead of the published weights."),
    ] = None,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "int8"],
        typer.Option(
            help="Of the network in OpenVINO. auto: the fastest on this machine that ranks good images as float32, "
            "for lines on processors like this one; float32: alike on all; int8: in the bundle itself; needs NNCF."
        ),
    ] = "float32",
    max_memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Memory limit of the whole process, e.g. 2GiB; default: half of what is free. What does not fit goes "
            "to temporary files beside the bundle; the bundle is the same.",
        ),
    ] = None,
    fixture: FixtureOption = None,
    reference: ReferenceOption = None,
    align: AlignOption = None,
    align_by: AlignByOption = None,
    align_limit_px: AlignLimitPxOption = None,
    align_limit_deg: AlignLimitDegOption = None,
    ruler: RulerOption = None,
) -> None:
    """Learn a folder of good parts and write the calibrated bundle.

    Example: `patchline fit photos/good -o cap.safetensors --roi 120,80,512,512`
    """
    from stream.cli.suggestion import print_suggestion
    from stream.cli.terminal import print_fit, tracking
    from stream.model.mask_files import read_masks
    from stream.model.patchcore.levels import parse_levels
    from stream.training import fit as fitting
    from stream.training.fit_options import FitOptions
    from stream.training.review import write_review
    from stream.training.selection import chosen_images
    from stream.training.suggest import choose_size
    from stream.training.suggest import suggest as suggest_options

    automatic = size == "auto"
    _check_choice(output, automatic=automatic, suggest=suggest, budget_ms=budget_ms)
    if (automatic or suggest) and (tiles is not None or tile_px is not None):
        raise ConfigError(
            "--size auto and --suggest try whole network inputs, no tiles; leave out --tiles and --tile-px"
        )
    if output is not None:
        check_destination(output)
    if review is not None:
        check_new_folder(review, "a review")
    if neighbourhood % 2 == 0:
        raise ConfigError(f"--neighbourhood: {neighbourhood} has no middle; give an odd number")
    options = FitOptions(
        backbone=backbone,
        levels=() if levels is None else parse_levels(levels),
        size_px=FitOptions.size_px if automatic else network_size(size),
        tiling=tiling_of(tiles, tile_px, tile_scale, tile_overlap, own_banks=tile_banks == "own"),
        roi=roi_of(roi),
        masks=tuple(read_masks(path) for path in masks or ()),
        coreset=coreset,
        bank_max=bank_max,
        neighbourhood=neighbourhood,
        stride=stride,
        score=score,
        calibration=calibration,
        folds=folds,
        holdout=holdout,
        group_by=group_by,
        leave_out=tuple(leave_out or ()),
        false_reject_rate=false_reject_rate,
        seed=seed,
        device=device,
        weights=weights,
        max_memory_bytes=bytes_of("--max-memory", max_memory),
        precision=precision,
        mm_per_px=mm_per_px_of(ruler),
    )
    chosen = AlignChoice(reference, align, align_by, align_limit_px, align_limit_deg)
    alignment = chosen_alignment(chosen_images(good_dir, options) if fixture else (), fixture or (), chosen)
    options = replace(options, alignment=alignment)
    if suggest or output is None:
        with tracking(err) as track:
            tried = suggest_options(good_dir, options, budget_ms=budget_ms, track=track)
        print_suggestion(out, tried, track.seconds, options.mm_per_px)
        return
    if budget_ms is not None:
        with tracking(err) as track:
            tried = choose_size(good_dir, options, budget_ms=budget_ms, track=track)
        print_suggestion(out, tried, track.seconds, options.mm_per_px)
        assert tried.best is not None  # sizes beyond the budget were refused or left out
        options = replace(options, size_px=tried.best.candidate.input_px)
    with tracking(err) as track:
        summary = fitting.fit(good_dir, output, options, track)
        if review is not None:
            write_review(review, summary, track)
    print_fit(out, summary, output, track.seconds)


def calibrate(
    bundle: Annotated[Path, typer.Argument(help="Bundle to calibrate again; it is replaced.", show_default=False)],
    good_dir: Annotated[Path, typer.Argument(help="Good images that are not in its bank.", show_default=False)],
    false_reject_rate: RateOption = 0.01,
    review: ReviewOption = None,
    leave_out: LeaveOutOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Set the thresholds of a bundle from other good images."""
    from stream.cli.terminal import print_fit, tracking
    from stream.training import fit as fitting
    from stream.training.review import write_review

    if review is not None:
        check_new_folder(review, "a review")
    with tracking(err) as track:
        summary = fitting.calibrate(
            bundle,
            good_dir,
            false_reject_rate=false_reject_rate,
            leave_out=tuple(leave_out or ()),
            device=device,
            track=track,
        )
        if review is not None:
            write_review(review, summary, track)
    print_fit(out, summary, bundle, track.seconds)


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Bundle to measure.", show_default=False)],
    dataset_dir: Annotated[
        Path,
        typer.Argument(
            help="Folder in MVTec layout: test/good, test/TYPE and, optional, ground_truth/TYPE/NAME_mask.png "
            "or NAME.png.",
            show_default=False,
        ),
    ],
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all figures, and every image with its score, as JSON.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write one page with figures, charts and images; it needs no network."),
    ] = None,
    overlays: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="New folder for an overlay of every image: missed/, false_reject/, refused/, caught/, passed/, "
            "under_masks/, numbered from the worst.",
        ),
    ] = None,
    rules: Annotated[
        str | None,
        typer.Option(
            metavar="CONFIG[:STATION]",
            help="Try the rules of a station of this configuration: misses and false rejects with and without them, "
            "and the images that they let pass.",
        ),
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Measure a bundle on labelled images, and show what it misses and what it falsely rejects.

    Example: `patchline evaluate cap.safetensors photos/ --html cap.html --overlays cap-overlays/`

    Look at the images first: one good part among the defective ones, or the reverse, changes every figure. Misses and
    false rejects are those of the bundle's threshold. Misses to expect, at 1, 2 and 5 % false rejects, are what any
    other good images would have given as calibration: compare bundles by them. PG2 is the share of good parts that
    pass if at most 2 % of the defective ones may, PB2 the share of defective parts caught if at most 2 % of the good
    ones may be rejected. Images that a line would refuse (dark, blurred, of another size) are counted apart.

    With `--rules line.yaml:cap` misses and false rejects are shown by the score and with the station's rules on spots,
    and images are sorted and drawn by the verdict with the rules; every other figure is by the score. Look at each
    defective image that rules let pass.

    Images whose defect lies under the bundle's masks only are counted apart, and pixels under masks not at all.
    """
    from stream.cli.terminal import tracking
    from stream.line.rules import ruled_station
    from stream.training import evaluate as evaluation
    from stream.training.evaluation_report import report_table, write_report

    tried = None if rules is None else ruled_station(rules)
    if report is not None:
        check_destination(report, stream=True)
    with tracking(err) as track:
        result = evaluation.evaluate(
            bundle, dataset_dir, overlays=overlays, page=html, rules=tried, device=device, track=track
        )
    if report is not None:  # before it is printed, which a reader of the output may end
        write_report(result, report)
    out.print(report_table(result))


def show(bundle: Annotated[Path, typer.Argument(help="Bundle to show.", show_default=False)]) -> None:
    """Print the content of a bundle."""
    from stream.cli.terminal import print_bundle
    from stream.model.bundle import load_bundle

    print_bundle(out, bundle, load_bundle(bundle))


def _check_choice(output: Path | None, *, automatic: bool, suggest: bool, budget_ms: float | None) -> None:
    """Raise ConfigError where options about the choice of others contradict each other."""
    if output is None and not suggest:
        raise ConfigError("-o: name the bundle to write, e.g. -o cap.safetensors; only --suggest writes none")
    if suggest and automatic:
        raise ConfigError("--suggest tries sizes itself; leave out --size auto")
    if automatic and budget_ms is None:
        raise ConfigError("--size auto: give the time that one image may take, e.g. --budget-ms 20")
    if budget_ms is not None and not (automatic or suggest):
        raise ConfigError("--budget-ms: has a meaning with --size auto or --suggest only; add one of them")
