"""The precision of a fit's network: the one asked for, or the fastest here that ranks good pictures as float32 does.

A precision changes all distances a little, which calibration takes up. What it must not change is which good parts
are stranger than others. A sample of the pictures is therefore scored in each precision, every picture by a bank of
the sample's other half that remembers the same patches, and the ranks are compared with those in float32.
"""

from __future__ import annotations

import importlib.util
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.model.bundle_info import PrecisionTrial
from stream.model.extractor import choose_device, load_extractor
from stream.model.patchcore.coreset import PROJECTION_DIMS, greedy_k_center, projection
from stream.model.patchcore.inspector import Extractor, nearest_patches, score_patches
from stream.model.patchcore.masks import Masks
from stream.model.patchcore.scoring import Scoring, position_statistics
from stream.model.patchcore.search import MemoryBank
from stream.model.patchcore.spec import FeatureSpec, Precision, StoredGraph
from stream.model.precision import is_native
from stream.training.calibration import Rows
from stream.training.dataset import Inputs, iter_inputs
from stream.training.fit_options import FitOptions
from stream.training.progress import Track
from stream.training.registration import registration_of

#: Least rank correlation, Spearman's, with the scores in float32, and least share of float32's time that is saved.
LEAST_SPEARMAN, LEAST_SAVED = 0.99, 0.1
#: Pictures of the sample, and patches that a bank of half of them remembers.
_SAMPLE, _BANK = 60, 1000
#: Rounds in which every precision computes one picture, the first ones to warm up, and their longest duration, s.
_ROUNDS, _WARM_UP, _LONGEST_S = 43, 3, 10.0


class PrecisionChoice(NamedTuple):
    """What a fit computes in.

    Attributes:
        spec: of its features.
        graph: the int8 network; None in other precisions.
        trials: what was measured; empty where nothing was.
        notes: why, for the user.
    """

    spec: FeatureSpec
    graph: StoredGraph | None
    trials: tuple[PrecisionTrial, ...]
    notes: list[str]


def chosen_precision(
    spec: FeatureSpec, inputs: Inputs, rows: Rows, options: FitOptions, masks: Masks | None, track: Track
) -> PrecisionChoice:
    """Return the features of a fit in the precision asked for, or in the best that is found on a sample.

    Args:
        spec: of the features in float32.
        inputs: network inputs, of which those at `rows` will be in the bank.
        rows: of pictures.
        options: of the fit.
        masks: of the part.
        track: progress.

    Raises:
        ConfigError: NNCF is not installed, or the device cannot compute the precision asked for.
        WeightsError: see `load_extractor`.
    """
    if options.precision != "auto":
        return _given(spec, options.precision, inputs, rows, options.weights)
    device = choose_device(options.device)
    if device != "openvino":
        return PrecisionChoice(spec, None, (), [f"precision float32: {device} is not asked for another"])
    wanted: list[Precision] = ["bfloat16", "int8"]
    native = [precision for precision in wanted if is_native(precision)]
    if "int8" in native and importlib.util.find_spec("nncf") is None:
        native.remove("int8")
    if not native:
        return PrecisionChoice(spec, None, (), ["precision float32: this processor computes no other one faster"])
    track("try precisions", 0, 1 + len(native))
    choices = {"float32": PrecisionChoice(spec, None, (), [])}
    for done, precision in enumerate(native, start=1):
        choices[precision] = _given(spec, precision, inputs, rows, options.weights)
        track("try precisions", done, 1 + len(native))
    extractors = {
        name: load_extractor(choice.spec, device=device, weights=options.weights, graph=choice.graph)
        for name, choice in choices.items()
    }
    sample = rows[np.unique(np.linspace(0, len(rows) - 1, min(_SAMPLE, len(rows))).astype(np.int64))]
    trials = measured(extractors, inputs, sample, masks, score=options.score, seed=options.seed)
    track("try precisions", 1 + len(native), 1 + len(native))
    best = best_of(trials)
    return choices[best]._replace(trials=trials, notes=[_note(best, trials, len(sample))])


def best_of(trials: tuple[PrecisionTrial, ...]) -> Precision:
    """Return the fastest precision that keeps the ranks of the first, float32, and saves a tenth of its time."""
    first, *others = trials
    fit = [trial for trial in others if trial.spearman >= LEAST_SPEARMAN]
    fastest = min(fit, key=lambda trial: trial.milliseconds, default=first)
    return fastest.precision if fastest.milliseconds <= (1 - LEAST_SAVED) * first.milliseconds else first.precision


def measured(
    extractors: dict[str, Extractor],
    inputs: Inputs,
    sample: Rows,
    masks: Masks | None,
    *,
    score: Literal["auto", "plain", "position"],
    seed: int,
) -> tuple[PrecisionTrial, ...]:
    """Return time and rank correlation of each precision on the pictures at `sample`; the first is the standard."""
    input_px = inputs.shape[2], inputs.shape[1]
    times = _milliseconds(extractors, inputs, sample)
    scores: dict[str, NDArray[np.float64]] = {}
    remembered: list[Rows] | None = None
    position = score == "position"
    for name, extractor in extractors.items():
        features = np.concatenate([extractor(inputs[np.array([row])]) for row in sample])
        grid = features.shape[1], features.shape[2]
        if remembered is None:
            remembered = _patches(features, seed)
            if score == "auto":
                filled = None if masks is None else masks.filled(input_px)
                position = registration_of(iter_inputs(inputs, sample), grid, filled).in_place
        scoring = Scoring(weights=None if masks is None else masks.weights(input_px, grid))
        scores[name] = _scores(features, remembered, scoring, position=position)
    standard = next(iter(scores.values()))
    return tuple(
        PrecisionTrial(
            msgspec.convert(name, Precision), round(times[name], 3), round(_spearman(standard, scores[name]), 5)
        )
        for name in extractors
    )


def _given(
    spec: FeatureSpec, precision: Precision, inputs: Inputs, rows: Rows, weights: Path | None
) -> PrecisionChoice:
    if precision != "int8":
        return PrecisionChoice(msgspec.structs.replace(spec, precision=precision), None, (), [])
    from stream.training.quantize import IMAGES, quantized

    graph = quantized(spec, inputs[np.sort(rows)[:IMAGES]], weights)
    return PrecisionChoice(msgspec.structs.replace(spec, precision=precision, graph_sha256=graph.sha256), graph, (), [])


def _milliseconds(extractors: dict[str, Extractor], inputs: Inputs, sample: Rows) -> dict[str, float]:
    """Return the median time of one picture in each, which take turns, so that disturbances meet all alike."""
    times: dict[str, list[float]] = {name: [] for name in extractors}
    begun_s = time.perf_counter()
    for number in range(_ROUNDS):
        image = inputs[sample[number % len(sample)][None]]
        for name, extractor in extractors.items():
            one_s = time.perf_counter()
            extractor(image)
            times[name].append(1e3 * (time.perf_counter() - one_s))
        if number > _WARM_UP and time.perf_counter() - begun_s > _LONGEST_S:
            break
    return {name: float(np.median(taken[_WARM_UP:])) for name, taken in times.items()}


def _patches(features: NDArray[np.float32], seed: int) -> list[Rows]:
    """Choose the patches that the bank of each half remembers: rows among all (n, h, w, D) features."""
    size = features.shape[1] * features.shape[2]
    flat = features.reshape(-1, features.shape[-1])
    matrix = projection(flat.shape[1], dims=PROJECTION_DIMS, seed=seed)
    projected = flat if matrix is None else flat @ matrix.numpy()
    owner = np.arange(len(flat)) // size
    chosen = []
    for half in (0, 1):
        rows = np.flatnonzero(owner % 2 == half)
        chosen.append(rows[greedy_k_center(projected[rows], min(_BANK, len(rows)), seed=seed)])
    return chosen


def _scores(
    features: NDArray[np.float32], remembered: list[Rows], scoring: Scoring, *, position: bool
) -> NDArray[np.float64]:
    """Score each picture by the bank of the half that it is not in, and by what its half shows at each place."""
    flat = features.reshape(-1, features.shape[-1])
    found = np.empty(len(features))
    for half, rows in enumerate(remembered):
        bank = MemoryBank(flat[rows])
        others = range(1 - half, len(features), 2)
        nearest = [nearest_patches(bank, features[place]) for place in others]
        if position and len(others) > 1:
            distances = np.stack([one.distance.reshape(features.shape[1:3]) for one in nearest])
            scoring = replace(scoring, position=position_statistics(distances, scoring.judged))
        for place, one in zip(others, nearest, strict=True):
            found[place] = score_patches(bank, features[place], one, scoring).score
    return found


def _spearman(standard: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    from scipy.stats import spearmanr

    if np.ptp(standard) == 0 or np.ptp(scores) == 0:  # nothing to rank
        return 1.0 if np.array_equal(standard, scores) else 0.0
    return float(spearmanr(standard, scores).statistic)


def _note(best: Precision, trials: tuple[PrecisionTrial, ...], pictures: int) -> str:
    tried = "; ".join(
        f"{trial.precision} {trial.milliseconds:.2f} ms, Spearman {trial.spearman:.4f}" for trial in trials
    )
    why = (
        "no other is a tenth faster and ranks good images as it does"
        if best == trials[0].precision
        else f"the fastest here that ranks good images as float32 does (Spearman ≥ {LEAST_SPEARMAN})"
    )
    return f"precision {best}: {why}; {tried}, on {pictures} of the good images"
