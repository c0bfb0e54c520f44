"""Learns a head from marked defects: logistic regression on pooled features, good pictures against defects.

The head is as little to be trusted on the pictures that it was trained on as a memory bank on those it remembers. So
for each fold of good pictures another head is trained without it, which calibrates that fold: every good picture
calibrates, by a head (and a bank) that has never seen it nor its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.core.errors import DatasetError
from stream.model.patchcore.head import MIN_DEFECTS, DefectHead, pooled, standardised
from stream.model.patchcore.inspector import Extractor
from stream.training.dataset import Inputs, batches
from stream.training.progress import Track, silent

#: Good pictures that it takes, without those of any one fold.
MIN_GOOD = 10
#: Inverse strength of the L2 penalty: weak evidence of many features, as chosen on solar cells.
_C = 0.003
_ITERATIONS = 300
#: Folds by which the logits of good pictures are found that set the head's scale.
_LOGIT_FOLDS = 5
#: Least spread of logits and scores.
_LEAST = 1e-6

Pooled = NDArray[np.float64]


class LearnedHead(NamedTuple):
    """The head of a bundle, the heads that calibrate its folds, and the fused scores (n,) of the good pictures."""

    head: DefectHead
    fold_heads: tuple[DefectHead, ...]
    scores: NDArray[np.float64]


def learn_head(
    good: Pooled,
    scores: NDArray[np.float64],
    folds: Sequence[int],
    defects: Pooled,
    false_alarms: Pooled,
    level_dims: tuple[int, ...],
) -> LearnedHead:
    """Learn a head, and one for each fold without that fold's good pictures.

    Args:
        good: (n, 2 D) pooled features of good pictures that no user has marked.
        scores: (n,) their image scores without a head, each by a bank that has not seen the picture.
        folds: of each of them, from 0; the pictures of one fold are held out together.
        defects: (m, 2 D) of marked defects.
        false_alarms: (k, 2 D) of parts marked so, k ≥ 0: more good pictures, which set no scale.
        level_dims: channels of each level of the features.

    Raises:
        DatasetError: too few defects or good pictures.
    """
    check_marks(len(defects))
    fold_of = np.array(folds, dtype=np.int64)
    numbers = np.unique(fold_of)
    fewest = min((int(np.count_nonzero(fold_of != number)) for number in numbers), default=0)
    if len(numbers) < 2 or fewest < MIN_GOOD:
        raise DatasetError(
            f"{len(good)} good pictures in {len(numbers)} folds, but it takes {MIN_GOOD} outside each fold to learn "
            "what defects differ from: fit with more good pictures"
        )

    def trained(rows: NDArray[np.bool_]) -> DefectHead:
        return _trained(good[rows], scores[rows], defects, false_alarms, level_dims)

    fold_heads = tuple(trained(fold_of != number) for number in numbers)
    return LearnedHead(
        trained(np.ones(len(good), dtype=np.bool_)),
        fold_heads,
        fused_out_of_fold(fold_heads, np.searchsorted(numbers, fold_of), scores, good),
    )


def pooled_of(
    extractor: Extractor,
    inputs: Inputs,
    rows: NDArray[np.int64],
    level_dims: tuple[int, ...],
    judged: NDArray[np.bool_] | None = None,
    track: Track = silent,
) -> Pooled:
    """Return the pooled features (n, 2 D) of the inputs at `rows`, of the patches `judged`, (h, w); None: of all."""
    found = [np.empty((0, 2 * sum(level_dims)))]
    for done, batch in batches(inputs, rows):
        found += [pooled(features, level_dims, judged)[None] for features in extractor(batch)]
        track("pool features", done, len(rows))
    return np.concatenate(found)


def check_marks(defects: int) -> None:
    """Raise DatasetError if so many marked defects are too few to learn from."""
    if defects < MIN_DEFECTS:
        raise DatasetError(
            f"{defects} marked defects with a picture, but it takes {MIN_DEFECTS} to learn what they have in common: "
            "mark more true and missed defects"
        )


def fused_out_of_fold(
    fold_heads: Sequence[DefectHead],
    folds: Sequence[int] | NDArray[np.int64],
    scores: NDArray[np.float64],
    good: Pooled,
) -> NDArray[np.float64]:
    """Return the fused scores (n,) of good pictures, each by the head of its fold, an index into `fold_heads`."""
    return np.array(
        [fold_heads[fold].fused(float(score), pooled) for fold, score, pooled in zip(folds, scores, good, strict=True)],
        dtype=np.float64,
    )


def _trained(
    good: Pooled, scores: NDArray[np.float64], defects: Pooled, false_alarms: Pooled, level_dims: tuple[int, ...]
) -> DefectHead:
    mean, spread = good.mean(axis=0), good.std(axis=0)
    x, bad, alarms = (standardised(pooled, mean, spread) for pooled in (good, defects, false_alarms))
    fold = np.arange(len(x)) % _LOGIT_FOLDS
    logits = np.empty(len(x))
    for number in range(min(_LOGIT_FOLDS, len(x))):
        weights, bias = _regression(np.concatenate([x[fold != number], alarms]), bad)
        logits[fold == number] = x[fold == number] @ weights + bias
    weights, bias = _regression(np.concatenate([x, alarms]), bad)
    return DefectHead(
        weights,
        bias,
        mean,
        spread,
        float(logits.mean()),
        max(float(logits.std()), _LEAST),
        float(scores.mean()),
        max(float(scores.std()), _LEAST),
        level_dims,
    )


def _regression(good: Pooled, defects: Pooled) -> tuple[NDArray[np.float64], float]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=_C, class_weight="balanced", max_iter=_ITERATIONS)
    model.fit(np.concatenate([good, defects]), np.repeat([0, 1], [len(good), len(defects)]))
    return np.asarray(model.coef_[0], dtype=np.float64), float(model.intercept_[0])
