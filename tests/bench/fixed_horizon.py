"""How large a test must be that looks once: statsmodels' sample size for independent requests, times what
statsmodels' cluster-robust variance says that users cost.

statsmodels is imported where it is used: it takes seconds, and the other benchmarks do without.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from streams.judge.statistics.compare import Hypothesis
from tests.bench.releases import Sums, Traffic, simulate

POWER = 0.9
RELEASES = 40


class Fixed(NamedTuple):
    """The requests of both arms, and in what share of simulated releases a test that looks then rejects."""

    requests: float
    power: float


def size(traffic: Traffic, test: Hypothesis) -> Fixed:
    """For a release with one generation, at the first look whose candidate has as many requests as the
    test needs there.
    """
    several = [simulate(traffic, seed) for seed in range(RELEASES)]
    looks = range(0, traffic.panes, 10)
    for look in looks:
        judged, reference = (
            float(np.mean([sums.denominators[look, 0, arm].sum() for sums in several])) for arm in (0, 1)
        )
        if judged >= needed(traffic, test, reference / judged) * effect(several, look, test):
            rejected = [_rejects(sums, test, look) for sums in several]
            return Fixed(judged + reference, float(np.mean(rejected)))
    raise ValueError(f"{traffic}: found too few requests for a power of {POWER:.0%}, expected more panes")


def needed(traffic: Traffic, test: Hypothesis, ratio: float) -> float:
    """The candidate's requests if they were independent, the reference having `ratio` times as many."""
    from statsmodels.stats.proportion import samplesize_proportions_2indep_onetail

    (metric,) = traffic.metrics
    reference, judged = metric.rate, metric.rate * (1 + metric.effect)
    if not test.relative:
        z = stats.norm.isf(test.sequence.alpha) * (test.limit * (1 - test.limit)) ** 0.5
        z += stats.norm.isf(1 - POWER) * (judged * (1 - judged)) ** 0.5
        return float((z / (judged - test.limit)) ** 2)
    return float(
        samplesize_proportions_2indep_onetail(
            judged - test.limit * reference, reference * test.limit, POWER, ratio, test.sequence.alpha,
            alternative="smaller" if test.direction < 0 else "larger",
        )
    )  # fmt: skip


def effect(several: list[Sums], look: int, test: Hypothesis) -> float:
    """The design effect: the cluster-robust variance by the one of independent requests, on average."""
    from statsmodels.regression.linear_model import WLS

    found = []
    for sums in several:
        n, x = sums.denominators[look, 0].ravel(), sums.numerators[0, look, 0].ravel()
        arm = np.repeat([1.0, 0.0], len(n) // 2)
        bucket = np.tile(np.arange(len(n) // 2), 2)
        if not test.relative:
            n, x, arm, bucket = (values[: len(values) // 2] for values in (n, x, arm, bucket))
        seen = n > 0
        columns = np.column_stack([np.ones_like(arm), arm]) if test.relative else np.ones((len(arm), 1))
        if x.sum() == 0 or seen.sum() < 20:
            return np.inf
        fit = WLS(x[seen] / n[seen], columns[seen], weights=n[seen]).fit(
            cov_type="cluster", cov_kwds={"groups": bucket[seen]}
        )
        rates = [float(x[arm == a].sum() / n[arm == a].sum()) for a in sorted({*arm})]
        alone = sum(p * (1 - p) / n[arm == a].sum() for a, p in zip(sorted({*arm}), rates, strict=True))
        found.append(float(fit.cov_params()[-1, -1] / alone))
    return float(np.mean(found))


def _rejects(sums: Sums, test: Hypothesis, look: int) -> bool:
    estimate = test.estimate(sums.numerators[0, look : look + 1], sums.denominators[look : look + 1])
    z = test.direction * float(estimate.distance[0]) / float(estimate.clustered[0]) ** 0.5
    return bool(z > stats.norm.isf(test.sequence.alpha))
