"""A version against stable in one window: how sure the difference is, by users or by events."""

import math

import numpy as np
import pytest
from scipy import stats

from schemas.records import BUCKETS
from streams.judge.rules.stable import Against, Arm, against
from streams.metrics import catalogue
from streams.metrics.catalogue import Ratio


def metric(name: str) -> Ratio:
    found = catalogue.find(name)
    assert isinstance(found, Ratio)
    return found


def plain(bad: float, of: float) -> Arm:
    return Arm(bad, of, {})


def users(random: np.random.Generator, count: int = 2_000, rate: float = 0.1) -> Arm:
    """Users with click rates and activity of their own, in buckets."""
    seen = random.geometric(0.1, count)
    rates = random.beta(2, 2 / rate - 2, count)
    clicked = random.binomial(seen, rates)
    place = random.integers(0, BUCKETS, count)
    sums = {name: np.bincount(place, values, BUCKETS).astype(float) for name, values in
            (("impressions", seen), ("clicks", clicked))}  # fmt: skip
    return Arm(float(clicked.sum()), float(seen.sum()), sums)


@pytest.mark.parametrize(("ours", "theirs"), [((50, 1_000), (30, 900)), ((400, 5_000), (900, 9_000))])
def test_independent_events_have_the_pooled_error_of_two_shares(
    ours: tuple[int, int], theirs: tuple[int, int]
) -> None:
    found = against(metric("error_rate"), plain(*ours), plain(*theirs))
    assert found is not None
    z = (ours[0] / ours[1] - theirs[0] / theirs[1]) / found.error
    table = [[ours[0], ours[1] - ours[0]], [theirs[0], theirs[1] - theirs[0]]]
    assert z**2 == pytest.approx(stats.chi2_contingency(table, correction=False).statistic)
    assert found.reference == theirs[0] / theirs[1]


def test_the_error_by_users_is_that_of_the_bootstrap() -> None:
    random = np.random.default_rng(0)
    judged, stable = users(random), users(random)
    found = against(metric("ctr"), judged, stable)
    differences = []
    for _ in range(1_500):
        drawn = random.integers(0, BUCKETS, BUCKETS)
        ratios = [arm.bucketed["clicks"][drawn].sum() / arm.bucketed["impressions"][drawn].sum()
                  for arm in (judged, stable)]  # fmt: skip
        differences.append(ratios[0] - ratios[1])
    assert found is not None
    assert found.error == pytest.approx(float(np.std(differences)), rel=0.1)
    assert found.degrees == BUCKETS - 1


def test_three_sigmas_are_passed_as_often_as_they_ought_to_be() -> None:
    random = np.random.default_rng(1)
    sigmas = []
    for _ in range(1_000):
        judged, stable = users(random, 400), users(random, 1_600)
        found = against(metric("ctr"), judged, stable)
        assert found is not None
        sigmas.append((judged.numerator / judged.denominator - found.reference) / found.error)
    assert np.std(sigmas) == pytest.approx(1, abs=0.12)
    assert np.mean(np.abs(sigmas) > 3) < 0.01


@pytest.mark.parametrize(
    ("ours", "theirs"), [((0, 0), (3, 100)), ((3, 100), (0, 0)), ((1, 100), (1, 100)), ((99, 100), (99, 100))]
)
def test_too_little_is_no_verdict(ours: tuple[int, int], theirs: tuple[int, int]) -> None:
    assert against(metric("error_rate"), plain(*ours), plain(*theirs)) is None


def test_few_users_are_no_verdict() -> None:
    random = np.random.default_rng(0)
    few, many = users(random, 8), users(random)
    assert against(metric("ctr"), few, many) is None


def test_amounts_without_users_have_no_error_that_is_known() -> None:
    assert against(metric("latency_mean_ms"), plain(5e5, 1e4), plain(4e5, 1e4)) is None


def test_users_that_are_not_the_whole_do_not_count_as_it() -> None:
    random = np.random.default_rng(0)
    judged, stable = users(random), users(random)
    assert against(metric("ctr"), judged._replace(denominator=judged.denominator * 2), stable) is None


def test_few_clusters_widen_the_limits() -> None:
    known, estimated = Against(0.1, 0.01), Against(0.1, 0.01, 19.0)
    assert known.sigmas(4) == pytest.approx(0.04)
    assert estimated.sigmas(4) > 0.045
    assert estimated.sigmas(4) == pytest.approx(0.01 * stats.t(19).isf(stats.norm.sf(4)), rel=0.03)
    assert math.isclose(Against(0.1, 0.01, 1e9).sigmas(4), 0.04, rel_tol=1e-3)
