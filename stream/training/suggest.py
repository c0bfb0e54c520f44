"""Which input, levels and coreset show defects best on these parts, and what they cost on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stream.core.errors import ConfigError
from stream.model.patchcore.calibrate import guaranteed_rate
from stream.model.patchcore.levels import are_blocks
from stream.training.evidence import REPEATS, Evidence, TooSlow, gathered
from stream.training.fit_options import FitOptions
from stream.training.progress import Track, silent
from stream.training.suggestion import Trial, recommended

#: Edges of squares with as many pixels as the inputs that are tried.
EDGES_PX = (160, 224, 320, 448, 640, 896)
#: Those that are tried where no time is given.
_USUAL_EDGES_PX = (224, 320, 448, 640)
#: The larger coreset that is tried, as a multiple of the one given.
_LARGER_CORESET = 5


class Suggestion(NamedTuple):
    """What was tried, and the choice.

    Attributes:
        trials: of all candidates, in the order of their tries.
        best: the recommended one; None: none is within the budget.
        too_slow: inputs (width, height) that were not tried, with their milliseconds.
        pictures: good pictures that were tried on.
        defects: synthetic defects that were drawn into them.
        false_reject_rate: of the thresholds: the wanted one, or the least that so few pictures allow.
        region_px: (width, height) of the region.
    """

    trials: list[Trial]
    best: Trial | None
    too_slow: list[TooSlow]
    pictures: int
    defects: int
    false_reject_rate: float
    region_px: tuple[int, int]


def suggest(
    good: Path,
    options: FitOptions,
    *,
    budget_ms: float | None = None,
    repeats: int = REPEATS,
    track: Track = silent,
) -> Suggestion:
    """Try sizes of the input, then a larger coreset, then other levels.

    Args:
        good: folder of good pictures.
        options: of the fit; its coreset, and its levels if given, are the ones tried first.
        budget_ms: longest time of one picture; None: no limit.
        repeats: synthetic defects of each kind and size.
        track: progress.

    Raises:
        DatasetError: too few pictures, or they cannot be read.
        WeightsError, ConfigError, DiskError: see `fit`.
    """
    with gathered(good, options, repeats, track) as evidence:
        networks, too_slow = evidence.networks(_USUAL_EDGES_PX if budget_ms is None else EDGES_PX, budget_ms)
        trials = [evidence.tried(network, options.coreset) for network in networks]
        best = recommended(trials, budget_ms)
        if best is not None:
            network = next(each for each in networks if each.input_px == best.candidate.input_px)
            trials.append(evidence.tried(network, min(1.0, options.coreset * _LARGER_CORESET)))
            for levels in () if options.levels else _other_levels(networks[0].levels):
                other = evidence.network(networks[0].input_px, levels)
                trials.append(evidence.tried(other, options.coreset))
            best = recommended(trials, budget_ms)
        return _suggestion(evidence, trials, best, too_slow)


def choose_size(
    good: Path, options: FitOptions, *, budget_ms: float, repeats: int = REPEATS, track: Track = silent
) -> Suggestion:
    """Try all sizes of the input that this machine inspects within the budget, with the levels and coreset given.

    Raises:
        ConfigError: even the smallest input takes longer.
        DatasetError, WeightsError, DiskError: see `suggest`.
    """
    with gathered(good, options, repeats, track) as evidence:
        networks, too_slow = evidence.networks(EDGES_PX, budget_ms)
        if not networks:
            (width, height), took_ms = too_slow[0]
            raise ConfigError(
                f"--budget-ms: the smallest input that is tried, {width}×{height} px, takes {took_ms:.1f} ms on this "
                f"machine, more than {budget_ms:g}; allow more, or choose a --size yourself"
            )
        trials = [evidence.tried(network, options.coreset) for network in networks]
        return _suggestion(evidence, trials, recommended(trials, budget_ms), too_slow)


def _other_levels(levels: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the levels to try beside the default ones: twice as fine for a pyramid, later ones for tokens."""
    numbers = [int(name.removeprefix("block").removeprefix("stride")) for name in levels]
    if are_blocks(levels):
        last = numbers[-1] * 4 // 3
        return [(levels[-1], f"block{last}")] if last > numbers[-1] else []
    return [tuple(f"stride{number // 2}" for number in numbers)] if numbers[0] >= 8 else []


def _suggestion(evidence: Evidence, trials: list[Trial], best: Trial | None, too_slow: list[TooSlow]) -> Suggestion:
    pictures = len(evidence.paths)
    rate = guaranteed_rate(pictures, evidence.options.false_reject_rate)
    return Suggestion(trials, best, too_slow, pictures, len(evidence.defects), rate, evidence.region)
