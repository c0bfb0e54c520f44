from __future__ import annotations

import numpy as np
import pytest

from stream.core.statistics import auroc, percentiles


def test_percentiles_lie_between_their_neighbours():
    assert percentiles([4.0, 1.0, 3.0, 2.0], 0, 50, 100) == (1.0, 2.5, 4.0)
    assert percentiles([7.0], 50, 99, 99.9) == (7.0, 7.0, 7.0)
    assert percentiles(range(1, 101), 99) == pytest.approx((99.01,))


def test_auroc_is_the_share_of_pairs_in_the_right_order_where_ties_count_half():
    labels, scores = np.array([False, False, True, True]), np.array([1.0, 2.0, 2.0, 3.0])
    assert auroc(labels, scores) == pytest.approx((1 + 1 + 0.5 + 1) / 4)


@pytest.mark.parametrize("label", [True, False])
def test_auroc_is_not_defined_for_one_kind_alone(label: bool):
    assert auroc(np.full(3, label), np.arange(3.0)) is None
