from __future__ import annotations

import numpy as np
import pytest

from stream.model.patchcore.head import LIMIT, DefectHead, pooled, standardised

LEVELS = (3, 5)


def head(**changes: object) -> DefectHead:
    size = 2 * sum(LEVELS)
    made = DefectHead(np.zeros(size), 0.0, np.zeros(size), np.ones(size), 0.0, 1.0, 0.0, 1.0, LEVELS)
    return made._replace(**changes)


def test_each_levels_mean_and_spread_have_unit_length():
    features = np.random.default_rng(0).random((6, 7, 8)).astype(np.float32)
    values = pooled(features, LEVELS)
    assert values.shape == (16,)
    for begin, end in ((0, 3), (3, 8), (8, 11), (11, 16)):
        assert np.linalg.norm(values[begin:end]) == pytest.approx(1)
    expected = features.reshape(-1, 8).mean(axis=0)[:3]
    np.testing.assert_allclose(values[:3], expected / np.linalg.norm(expected), rtol=1e-6)
    expected = features.reshape(-1, 8).std(axis=0)[3:]
    np.testing.assert_allclose(values[11:], expected / np.linalg.norm(expected), rtol=1e-5)


def test_a_longer_exposure_that_scales_all_features_changes_nothing():
    features = np.random.default_rng(0).random((6, 7, 8)).astype(np.float32)
    np.testing.assert_allclose(pooled(2.5 * features, LEVELS), pooled(features, LEVELS), rtol=1e-5)


def test_features_without_any_contrast_have_no_direction_and_no_error():
    values = pooled(np.zeros((4, 4, 8), np.float32), LEVELS)
    np.testing.assert_array_equal(values, np.zeros(16))


def test_levels_that_are_not_those_of_the_features_are_refused():
    with pytest.raises(ValueError, match=r"levels of \(3, 4\) channels, but features of 8"):
        pooled(np.zeros((4, 4, 8), np.float32), (3, 4))


def test_the_fused_score_adds_half_of_the_evidence_in_standard_deviations_of_good_parts():
    weights = np.zeros(16)
    weights[2] = 2.0
    learned = head(weights=weights, bias=1.0, logit_mean=-3.0, logit_spread=4.0, score_mean=10.0, score_spread=5.0)
    values = np.zeros(16)
    values[2] = 1.5
    assert learned.logit(values) == pytest.approx(4.0)
    assert learned.fused(25.0, values) == pytest.approx((25 - 10) / 5 + 0.5 * (4 + 3) / 4)


def test_one_odd_feature_is_limited():
    learned = head(weights=np.full(16, 1.0))
    values = np.zeros(16)
    values[0] = 1e6
    assert learned.fused(0.0, values) == pytest.approx(0.5 * LIMIT)
    np.testing.assert_array_equal(standardised(-values, np.zeros(16), np.ones(16))[:2], [-LIMIT, 0])
