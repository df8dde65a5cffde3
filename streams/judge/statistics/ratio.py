"""What sums by user bucket say of a ratio metric: how far it is from a limit, and the variance of that.

Functions of arrays: the leading axes are looks, of which a live judge has one and a simulation a thousand, so
that both run the same formulas. Requests of one user are not independent, so the variance is between user
buckets, of the ratio's linearized residuals (the delta method with clusters: W. Cochran, "Sampling
Techniques", 1977, sections 6.3 and 9A.1; A. Deng, U. Knoblich, J. Lu: "Applying the delta method in metric
analytics", KDD 2018). A bucket that has much of an arm's traffic pulls the ratio towards itself, and its
residual looks smaller than it is; so each is taken from the ratio of all others, as the jackknife does (CV3
of J. MacKinnon, M. Nielsen, M. Webb: "Fast and reliable jackknife and bootstrap methods for cluster-robust
inference", 2023). What follows from an estimate is `compare.py`'s business.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streams.metrics.catalogue import Adds

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]


class Estimate(NamedTuple):
    """Every field has the shape of the looks; but for the counts they are NaN where there is nothing to be
    estimated from.

    `value` and `reference` are the two versions' ratios (`reference` NaN against an absolute limit),
    `distance` how far the first is above its limit. `clustered` is the variance of `distance` between user
    buckets, `independent` the one that it has at least: that of independent events which lie at the limit, 0
    where the metric's units may add more than one. `samples` are effective ones: n₁n₂/(n₁+n₂) of the
    denominators, added up over the strata; n against an absolute limit. `judged` and `compared` are the two
    versions' denominators, `filled` the buckets with users of the version that has fewer.
    """

    value: Floats
    reference: Floats
    distance: Floats
    clustered: Floats
    independent: Floats
    samples: Floats
    judged: Floats
    compared: Floats
    filled: Ints

    @property
    def variance(self) -> Floats:
        """Of `distance`: at least `independent`, so that an arm with few events by luck is not sure of it."""
        return np.maximum(self.clustered, self.independent)


def relative(numerators: Floats, denominators: Floats, limit: float, adds: Adds) -> Estimate:
    """The judged version's ratio against `limit` times the reference's.

    `numerators` and `denominators` have the shape (looks…, strata, 2, buckets), the judged version first.
    Within a stratum (a generation: the share of traffic is constant) both ratios are taken over the same
    panes; the strata's ratios are averaged with weights n₁n₂/(n₁+n₂), so that neither a share of traffic that
    changes nor a rate that drifts looks like an effect (Cochran–Mantel–Haenszel's weights). The residuals are
    added up over strata before they are squared: one user is in many of them.
    """
    n = denominators.sum(axis=-1)
    both = (n > 0).all(axis=-1, keepdims=True)
    n = np.where(both, n, 0.0)
    events = np.where(both, numerators.sum(axis=-1), 0.0)
    each = inverse(n)
    ratios = events * each
    effective = n.prod(axis=-1) * inverse(n.sum(axis=-1))
    samples = effective.sum(axis=-1)
    weights = effective * inverse(samples)[..., np.newaxis]
    value, reference = np.moveaxis((weights[..., np.newaxis] * ratios).sum(axis=-2), -1, 0)
    scale = np.array([1.0, limit])
    slopes = weights[..., np.newaxis] * scale * [1, -1]
    users = (denominators > 0) & both[..., np.newaxis]
    pulls = slopes[..., np.newaxis] * _pulls(numerators, denominators, each)
    clustered = _between(pulls.sum(axis=(-3, -2)), users.any(axis=(-3, -2)))
    independent = np.zeros_like(clustered)
    if adds is Adds.EVENTS:
        pooled = events.sum(axis=-1) * inverse(n @ scale[::-1])
        rates = np.clip(pooled[..., np.newaxis] * scale[::-1], 0.0, 1.0)
        independent = (weights**2 * (rates * (1 - rates) * scale**2 * each).sum(axis=-1)).sum(axis=-1)
    found = samples > 0
    return Estimate(
        value=_where(found, value),
        reference=_where(found, reference),
        distance=_where(found, value - limit * reference),
        clustered=_where(found, clustered),
        independent=_where(found, independent),
        samples=samples,
        judged=n[..., 0].sum(axis=-1),
        compared=n[..., 1].sum(axis=-1),
        filled=users.any(axis=-3).sum(axis=-1).min(axis=-1),
    )


def absolute(numerators: Floats, denominators: Floats, limit: float, adds: Adds) -> Estimate:
    """The judged version's ratio against a fixed limit; the shapes are those of `relative`."""
    numerator, denominator = numerators[..., 0, :].sum(axis=-2), denominators[..., 0, :].sum(axis=-2)
    n = denominator.sum(axis=-1)
    each = inverse(n)
    value = numerator.sum(axis=-1) * each
    filled = denominator > 0
    clustered = _between(_pulls(numerator, denominator, each), filled)
    share = min(max(limit, 0.0), 1.0)
    independent = share * (1 - share) * each if adds is Adds.EVENTS else np.zeros_like(each)
    found = n > 0
    return Estimate(
        value=_where(found, value),
        reference=np.full_like(value, np.nan),
        distance=_where(found, value - limit),
        clustered=_where(found, clustered),
        independent=_where(found, independent),
        samples=n,
        judged=n,
        compared=np.zeros_like(n),
        filled=filled.sum(axis=-1),
    )


def _pulls(numerators: Floats, denominators: Floats, each: Floats) -> Floats:
    """How far each bucket pulls its ratio from that of the others: its residual by its share of the others'
    denominators. `each` is 1 / the denominators' sum, 0 where nothing is to be pulled.
    """
    shares = denominators * each[..., np.newaxis]
    ratios = (numerators.sum(axis=-1) * each)[..., np.newaxis]
    residuals = (numerators - ratios * denominators) * each[..., np.newaxis]
    pulls: Floats = residuals * inverse(1 - shares)
    return pulls


def _between(pulls: Floats, filled: npt.NDArray[np.bool_]) -> Floats:
    """The jackknife's variance of the sum of independent clusters' pulls along the last axis. Buckets without
    users count for nothing.
    """
    clusters = np.maximum(filled.sum(axis=-1), 2)
    variance: Floats = (pulls**2).sum(axis=-1) * (clusters - 1) / clusters
    return variance


def inverse(values: Floats) -> Floats:
    """1 / value, and 0 for 0."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values != 0)


def _where(found: npt.NDArray[np.bool_], values: Floats) -> Floats:
    return np.where(found, values, np.nan)
