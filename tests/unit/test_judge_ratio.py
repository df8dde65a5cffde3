"""Estimates of ratios: oracles are the jackknife itself, statsmodels' clustered regression, and numpy."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from schemas.records import BUCKETS
from streams.judge.statistics import ratio
from streams.judge.statistics.ratio import Estimate
from streams.metrics.catalogue import Adds

Floats = npt.NDArray[np.float64]
ESTIMATES: list[Callable[[Floats, Floats, float, Adds], Estimate]] = [ratio.relative, ratio.absolute]


def sums(*looks: int, strata: int = 1, rate: float = 0.1, seed: int = 0) -> tuple[Floats, Floats]:
    """Events and requests of users with rates of their own, the reference having nine times as many."""
    random = np.random.default_rng(seed)
    shape = (*looks, strata, 2, BUCKETS)
    many = random.gamma(2.0, 10.0, shape) * np.array([1, 9])[:, np.newaxis]
    denominators = 1.0 + random.poisson(many)
    rates = random.beta(5 * rate, 5 * (1 - rate), shape)
    return random.binomial(denominators.astype(int), rates).astype(float), denominators


def left_out(
    numerators: Floats, denominators: Floats, limit: float, against: Callable[..., Estimate]
) -> Floats:
    """The distance without each bucket in turn."""
    kept = [np.arange(BUCKETS) != bucket for bucket in range(BUCKETS)]
    return np.array(
        [
            against(numerators[..., keep], denominators[..., keep], limit, Adds.AMOUNTS).distance
            for keep in kept
        ]
    )


@pytest.mark.parametrize("against", ESTIMATES)
@pytest.mark.parametrize("limit", [1.0, 0.8, 0.1])
def test_the_variance_is_the_jackknifes_over_buckets(
    against: Callable[[Floats, Floats, float, Adds], Estimate], limit: float
) -> None:
    numerators, denominators = sums()
    found = against(numerators, denominators, limit, Adds.AMOUNTS)
    without = left_out(numerators, denominators, limit, against)
    spread = float(((without - found.distance) ** 2).sum())
    assert found.clustered == pytest.approx(spread * (BUCKETS - 1) / BUCKETS, rel=1e-9)


def test_one_bucket_with_most_of_an_arm_is_not_taken_for_the_truth() -> None:
    numerators, denominators = sums()
    denominators[0, 0, 0], numerators[0, 0, 0] = 20_000, 3_000
    found = ratio.relative(numerators, denominators, 1.0, Adds.EVENTS)
    others = sums()[0][0, 0, 1:].sum() / sums()[1][0, 0, 1:].sum()
    assert found.clustered**0.5 == pytest.approx(abs(0.15 - others), rel=0.3)


@pytest.mark.parametrize("relative", [True, False])
def test_the_variance_is_near_statsmodels_cluster_robust_one(relative: bool) -> None:
    linear_model = pytest.importorskip("statsmodels.regression.linear_model")
    numerators, denominators = sums()
    n, x = denominators[0].ravel(), numerators[0].ravel()
    arm, bucket = np.repeat([1.0, 0.0], BUCKETS), np.tile(np.arange(BUCKETS), 2)
    if not relative:
        n, x, arm, bucket = (values[:BUCKETS] for values in (n, x, arm, bucket))
    columns = np.column_stack([np.ones(2 * BUCKETS), arm]) if relative else np.ones((BUCKETS, 1))
    fit = linear_model.WLS(x / n, columns, weights=n).fit(cov_type="cluster", cov_kwds={"groups": bucket})
    found = (
        ratio.relative(numerators, denominators, 1.0, Adds.EVENTS)
        if relative
        else ratio.absolute(numerators, denominators, 0.1, Adds.EVENTS)
    )
    assert found.clustered == pytest.approx(fit.cov_params()[-1, -1], rel=0.06)
    assert found.clustered > fit.cov_params()[-1, -1]
    assert found.value - (found.reference if relative else 0) == pytest.approx(fit.params[-1])


@pytest.mark.parametrize("against", ESTIMATES)
def test_many_looks_at_once_are_each_as_if_alone(
    against: Callable[[Floats, Floats, float, Adds], Estimate],
) -> None:
    numerators, denominators = sums(5, strata=3)
    together = against(numerators, denominators, 0.9, Adds.EVENTS)
    for look in range(5):
        alone = against(numerators[look], denominators[look], 0.9, Adds.EVENTS)
        for one, all_ in zip(alone, together, strict=True):
            assert np.array_equal(one, all_[look], equal_nan=True)


def test_one_stratum_twice_is_the_stratum() -> None:
    numerators, denominators = sums()
    once = ratio.relative(numerators, denominators, 1.0, Adds.EVENTS)
    twice = ratio.relative(
        np.repeat(numerators, 2, axis=0), np.repeat(denominators, 2, axis=0), 1.0, Adds.EVENTS
    )
    assert twice.distance == pytest.approx(once.distance)
    assert twice.clustered == pytest.approx(once.clustered), "the same users, not twice as many"
    assert twice.independent == pytest.approx(once.independent / 2)
    assert twice.samples == 2 * once.samples


def test_a_stratum_that_one_version_has_no_part_in_tells_nothing() -> None:
    numerators, denominators = sums(strata=2)
    numerators[1, 0] = denominators[1, 0] = 0
    found = ratio.relative(numerators, denominators, 1.0, Adds.EVENTS)
    alone = ratio.relative(numerators[:1], denominators[:1], 1.0, Adds.EVENTS)
    assert [float(field) for field in found] == [float(field) for field in alone]


def test_of_independent_events_the_variance_is_the_binomial_one() -> None:
    random = np.random.default_rng(0)
    n = np.full((400, 1, 2, BUCKETS), 100.0)
    found = ratio.relative(random.binomial(100, 0.05, n.shape).astype(float), n, 1.0, Adds.EVENTS)
    binomial = 2 * 0.05 * 0.95 / (100 * BUCKETS)
    assert found.clustered.mean() == pytest.approx(binomial, rel=0.05)
    assert found.independent.mean() == pytest.approx(binomial, rel=0.01)


def test_where_there_is_nothing_to_find_the_least_variance_is_the_one_at_the_limit() -> None:
    n = np.full((1, 2, BUCKETS), 10.0)
    found = ratio.absolute(np.zeros_like(n), n, 0.02, Adds.EVENTS)
    assert found.variance == pytest.approx(0.02 * 0.98 / (10 * BUCKETS))
    assert ratio.absolute(np.zeros_like(n), n, 0.02, Adds.AMOUNTS).variance == 0


@pytest.mark.parametrize("against", ESTIMATES)
def test_of_nothing_nothing_is_estimated(
    against: Callable[[Floats, Floats, float, Adds], Estimate],
) -> None:
    nothing = np.zeros((2, 2, BUCKETS))
    found = against(nothing, nothing, 1.0, Adds.EVENTS)
    assert np.isnan(found.distance)
    assert np.isnan(found.variance)
    assert [float(field) for field in (found.samples, found.judged, found.filled)] == [0, 0, 0]


def test_estimates_spread_as_their_variance_says_also_where_few_users_are_busy() -> None:
    random = np.random.default_rng(1)
    deviations = []
    for _ in range(300):
        users = 2_000
        visits = np.floor(1 + random.pareto(1.5, users)).astype(int)
        clicks = random.binomial(visits, random.beta(1, 9, users))
        arm, bucket = (random.random(users) >= 0.2).astype(int), random.integers(0, BUCKETS, users)
        numerators, denominators = (
            np.bincount(arm * BUCKETS + bucket, many, 2 * BUCKETS).astype(float).reshape(1, 2, BUCKETS)
            for many in (clicks, visits)
        )
        found = ratio.relative(numerators, denominators, 1.0, Adds.EVENTS)
        deviations.append(float(found.distance) / float(found.clustered) ** 0.5)
    assert np.std(deviations) < 1.1
    assert abs(np.mean(deviations)) < 0.3
