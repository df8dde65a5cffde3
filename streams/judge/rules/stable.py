"""A version held against stable in the same window: the difference, and its standard error. No history is
needed, for both have seen the same hours.

Users cluster, so where the panes have sums by user bucket the variance is that of linearized residuals
between buckets, as in `compare.py`; elsewhere it is that of independent events, or what the metric's own
interval says. It is a rule's look at one window, not a test of a release: for that see `sequences.py`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from schemas.records import BUCKETS
from streams.judge.statistics import sequences
from streams.judge.statistics.compare import FILLED
from streams.metrics.catalogue import Adds, Ratio
from streams.metrics.tallies import Floats

EVENTS = 10.0
"""Without users' buckets: so many events, and as many that are none, before anything is said (the usual rule
for a normal approximation of counts)."""

Bucketed = Mapping[str, Floats]


class Arm(NamedTuple):
    """A version's sums in a window: the metric's numerator and denominator, and by user bucket all sums that
    are kept so."""

    numerator: float
    denominator: float
    bucketed: Bucketed


class Against(NamedTuple):
    """Stable's value, and the standard error of the difference; `degrees` of freedom of that, infinite where
    it is not estimated between users.
    """

    reference: float
    error: float
    degrees: float = math.inf

    def sigmas(self, wanted: float) -> float:
        """So many sigmas, in the metric's unit. Few clusters say too little of their variance: Student's
        correction pays for it."""
        factor = wanted if math.isinf(self.degrees) else sequences.student(wanted, self.degrees)
        return float(factor * self.error)


def against(metric: Ratio, judged: Arm, stable: Arm) -> Against | None:
    """None where either has too little to be compared."""
    if not judged.denominator > 0 or not stable.denominator > 0:
        return None
    ratios = [arm.numerator / arm.denominator for arm in (judged, stable)]
    floor = _independent(metric, judged, stable)
    ours, theirs = _of_users(metric, judged), _of_users(metric, stable)
    if ours is None and theirs is None:
        return None if floor is None or not _enough(judged, stable) else Against(ratios[1], math.sqrt(floor))
    if ours is None or theirs is None:
        return None
    filled = min(int(np.count_nonzero(denominator)) for _, denominator in (ours, theirs))
    if filled < FILLED:
        return None
    residuals = [
        (numerator - ratio * denominator) / arm.denominator
        for (numerator, denominator), ratio, arm in zip((ours, theirs), ratios, (judged, stable), strict=True)
    ]
    difference = residuals[0] - residuals[1]
    clusters = int(np.count_nonzero(difference))
    variance = float((difference**2).sum()) * clusters / (clusters - 1) if clusters > 1 else 0.0
    return Against(ratios[1], math.sqrt(max(variance, floor or 0.0)), filled - 1)


def _independent(metric: Ratio, judged: Arm, stable: Arm) -> float | None:
    """The variance of the difference of two shares of independent events, if there is no difference."""
    if metric.adds is not Adds.EVENTS:
        return None
    share = (judged.numerator + stable.numerator) / (judged.denominator + stable.denominator)
    share = min(share, 1.0)
    return share * (1 - share) * (1 / judged.denominator + 1 / stable.denominator)


def _enough(judged: Arm, stable: Arm) -> bool:
    share = (judged.numerator + stable.numerator) / (judged.denominator + stable.denominator)
    return min(share, 1 - share) * min(judged.denominator, stable.denominator) >= EVENTS


def _of_users(metric: Ratio, arm: Arm) -> tuple[Floats, Floats] | None:
    """Numerator and denominator by bucket; None where users' sums are not the whole."""
    numerator, denominator = (_sum(arm.bucketed, names) for names in (metric.numerator, metric.denominator))
    whole = (
        math.isclose(float(parts.sum()), total, rel_tol=1e-6, abs_tol=1e-6)
        for parts, total in ((numerator, arm.numerator), (denominator, arm.denominator))
    )
    return (numerator, denominator) if all(whole) else None


def _sum(bucketed: Bucketed, names: Sequence[str]) -> Floats:
    total: Floats = sum((bucketed[name] for name in names if name in bucketed), np.zeros(BUCKETS))
    return total
