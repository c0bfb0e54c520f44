"""Figures that more than one room reports: percentiles of latencies, and the area under the ROC curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def percentiles(values: Sequence[float], *percents: float) -> tuple[float, ...]:
    """Return percentiles, in [0, 100], of at least one value, interpolated between neighbours."""
    return tuple(float(value) for value in np.percentile(values, percents))


def auroc(labels: NDArray[np.bool_], scores: NDArray[np.floating]) -> float | None:
    """Return the area under the ROC curve of (n,) scores, higher for label True; None if all labels are alike."""
    if not labels.any() or labels.all():
        return None
    from sklearn.metrics import roc_auc_score  # takes a second to load

    return float(roc_auc_score(labels, scores))
