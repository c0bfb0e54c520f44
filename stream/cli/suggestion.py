"""The table of what `patchline fit --suggest` and `--size auto` have tried."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from stream.training.suggest import Suggestion
from stream.training.suggestion import Trial


def print_suggestion(console: Console, suggestion: Suggestion, seconds: float, mm_per_px: float | None) -> None:
    """Print the candidates, their time on this machine and what they found, the recommended one marked."""
    tried = f"tried on {suggestion.pictures} good images, with {suggestion.defects} synthetic defects drawn into them"
    columns = ("input", "levels", "coreset", "ms", "found", "AUROC", "smallest spot", "")
    table = Table(*columns, title=tried, title_justify="left")
    for trial in suggestion.trials:
        chosen = trial is suggestion.best
        table.add_row(
            "{}×{} px".format(*trial.candidate.input_px),
            ", ".join(trial.candidate.levels),
            f"{trial.candidate.coreset:.2%}",
            f"{trial.milliseconds:.1f}",
            f"{trial.share:.0%}",
            f"{trial.auroc:.3f}",
            _spot(trial, mm_per_px),
            "◀ recommended" if chosen else "",
            style="bold" if chosen else "",
        )
    for input_px, took_ms in suggestion.too_slow:
        table.add_row("{}×{} px".format(*input_px), "", "", f"{took_ms:.1f}", "over the budget, not tried", style="dim")
    rate = suggestion.false_reject_rate
    table.caption = (
        f"found: share of the synthetic defects above the threshold for {rate:.1%} false rejects, each image scored by "
        "a bank without its fold. It ranks options; it says nothing of the accuracy on real defects: large ones may be "
        "found better with fewer pixels, which `patchline evaluate` shows where you have labelled images. "
        "smallest spot: of which, and of larger ones, half were found."
    )
    table.caption_justify = "left"
    console.print(table)
    if suggestion.best is None:
        console.print("none is within the budget: allow more time", highlight=False)
    else:
        console.print(f"recommended: {options_of(suggestion.best)}", highlight=False, soft_wrap=True)
    console.print(f"{seconds:.0f} s", highlight=False)


def options_of(trial: Trial) -> str:
    """Return the options of `patchline fit` by which a candidate is fitted."""
    width, height = trial.candidate.input_px
    levels = ",".join(trial.candidate.levels)
    return f"--size {width}x{height} --levels {levels} --coreset {trial.candidate.coreset:g}"


def length(pixels: float, mm_per_px: float | None) -> str:
    """Return a length in px of the picture, and in mm where the scale is known."""
    shown = f"{pixels:.1f} px" if pixels < 10 else f"{pixels:.0f} px"
    return shown if mm_per_px is None else f"{shown} ({pixels * mm_per_px:.2g} mm)"


def _spot(trial: Trial, mm_per_px: float | None) -> str:
    return "none" if trial.smallest_px is None else length(trial.smallest_px, mm_per_px)
