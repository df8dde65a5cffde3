"""Confidence intervals, against scipy and by simulation."""

import numpy as np
import pytest
from scipy.stats import binomtest, quantile_test
from sklearn.metrics import roc_auc_score

from streams.metrics.interval import Interval, hanley_mcneil, ranks, wilson


@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 1), (1, 1), (3, 10), (50, 100), (1, 10_000), (10_000, 10_000)]
)
def test_a_proportions_interval_is_scipys(successes: int, trials: int) -> None:
    expected = binomtest(successes, trials).proportion_ci(0.95, "wilson")
    assert wilson(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 5)])
def test_what_is_no_proportion_has_no_interval(successes: float, trials: float) -> None:
    assert wilson(successes, trials) is None


def test_a_mean_of_fractions_is_held_at_least_as_often_as_a_proportion_would_be() -> None:
    random = np.random.default_rng(0)
    held = [
        found.lower <= 0.4 <= found.upper
        for values in random.beta(2, 3, (1_000, 40))
        for found in [wilson(float(values.sum()), 40)]
        if found is not None
    ]
    assert len(held) == 1_000
    assert np.mean(held) > 0.95


def test_the_area_under_a_curve_is_held_in_19_of_20_samples_or_nearly() -> None:
    """Exponential scores, for which Hanley and McNeil derived their variance: the area is r/(1 + r)."""
    random = np.random.default_rng(1)
    truth = np.repeat([True, False], [200, 300])
    held = 0
    for _ in range(400):
        score = np.concatenate([random.exponential(3.0, 200), random.exponential(1.0, 300)])
        found = hanley_mcneil(float(roc_auc_score(truth, score)), 200, 300)
        assert found is not None
        held += found.lower <= 3 / 4 <= found.upper
    assert 0.92 < held / 400 < 0.98


def test_an_area_is_never_beyond_0_and_1() -> None:
    assert hanley_mcneil(1.0, 3, 3) == Interval(1.0, 1.0)
    found = hanley_mcneil(0.95, 3, 3)
    assert found is not None
    assert found.upper == 1.0


@pytest.mark.parametrize(("q", "n"), [(0.5, 100), (0.5, 1_001), (0.9, 500), (0.99, 5_000), (0.999, 50_000)])
def test_the_ranks_of_a_quantiles_bounds_are_scipys_but_for_one(q: float, n: int) -> None:
    """scipy's are those of the binomial distribution itself, ours its normal approximation."""
    values = np.arange(1.0, n + 1)
    expected = quantile_test(values, q=0, p=q).confidence_interval(0.95)
    lower, upper = ranks(q, n)
    assert abs(lower - expected.low) <= 2
    assert abs(upper - expected.high) <= 2
