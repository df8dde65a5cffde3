"""How a version does against another, or against a limit: a ratio of sums, its variance between users, and
what that proves so far.

Requests of one user are not independent, so the variance is between user buckets, of the ratios' linearized
residuals. The share of traffic changes during a release, so arms are compared within a generation of it
only, and the generations' differences are combined with weights n₁n₂/(n₁+n₂) of the denominators alone. Pure
functions of sums; which panes those are of is `evidence.py`'s business.
"""

import math
from collections.abc import Sequence as Several
from enum import Enum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.policies import Guardrail, ReleasePolicy, Success
from streams.judge import sequences
from streams.judge.sequences import Sequence
from streams.metrics import catalogue
from streams.metrics.catalogue import Adds

FILLED = 20
"""An arm has users in at least so many buckets before anything is said of it: fewer clusters say too little
of their variance.
"""
HORIZON = 4.0
"""Sequences are tightest at so many times the samples at which testing may begin."""
UNPLANNED_WEIGHT = 0.1
"""The candidate's share in a release whose policy names no steps."""

Floats = npt.NDArray[np.float64]


class Ratio(NamedTuple):
    """A metric's two sums by user bucket, each of shape (buckets,)."""

    numerator: Floats
    denominator: Floats

    @property
    def samples(self) -> float:
        """The metric's own denominator."""
        return float(self.denominator.sum())

    @property
    def filled(self) -> int:
        """How many buckets have users."""
        return int(np.count_nonzero(self.denominator))

    @property
    def value(self) -> float:
        """The ratio; NaN without a denominator."""
        return float(self.numerator.sum()) / self.samples if self.samples else math.nan


class Stratum(NamedTuple):
    """One generation's sums of the version that is judged and of the one it is held against."""

    judged: Ratio
    reference: Ratio


class State(Enum):
    """How a hypothesis stands. `BROKEN`: the sums contradict each other, nothing can be said."""

    PROVEN = "proven"
    OPEN = "open"
    FEW = "too few samples"
    BROKEN = "broken"


class Coverage(NamedTuple):
    """The panes that a finding rests on: the first one's start, the last one's end (ms), and how many."""

    first: int
    last: int
    number: int


class Finding(NamedTuple):
    """What one test says at one look.

    `statistic` and `boundary` are in standard errors, the one beyond the other being proof. `effect` and its
    bounds `lower`, `upper` are fractions of the reference's value (relative tests) or the metric's own
    values (absolute ones). `reference` is NaN for absolute tests.
    """

    text: str
    state: State
    statistic: float = math.nan
    boundary: float = math.nan
    value: float = math.nan
    reference: float = math.nan
    effect: float = math.nan
    lower: float = math.nan
    upper: float = math.nan
    samples: tuple[float, float] = (0.0, 0.0)
    alpha: float = math.nan
    panes: Coverage | None = None


class Estimate(NamedTuple):
    """How far the metric is from its limit, the variance of that, effective samples, and clusters of the
    smaller arm.
    """

    distance: float
    variance: float
    samples: float
    filled: int


class Hypothesis(NamedTuple):
    """One hypothesis about the judged version that evidence may prove: `direction` +1 that the metric is
    above `limit`, −1 below.

    `relative`: the limit is a multiple of the reference's value, else it is the value itself.
    """

    text: str
    metric: catalogue.Ratio
    direction: int
    limit: float
    relative: bool
    min_samples: int
    sequence: Sequence

    def look(self, strata: Several[Stratum]) -> Finding:
        """What the sums of all strata prove now."""
        return _relative(self, strata) if self.relative else _absolute(self, strata)


def guardrails(policy: ReleasePolicy) -> tuple[Hypothesis, ...]:
    """The tests whose proof rolls back; they share the policy's alpha."""
    return tuple(_guardrail(policy, guardrail) for guardrail in policy.guardrails)


def success(policy: ReleasePolicy) -> Hypothesis | None:
    """The test whose proof promotes, with an alpha of its own; None where the policy has none."""
    return None if policy.success is None else _success(policy, policy.success)


def _guardrail(policy: ReleasePolicy, guardrail: Guardrail) -> Hypothesis:
    metric = _ratio(guardrail.metric)
    alpha = policy.alpha / len(policy.guardrails)
    if guardrail.worse_by is not None:
        direction = -metric.good.value
        text = f"{metric.name} worse_by {guardrail.worse_by:g}"
        sequence = Sequence(alpha, HORIZON * _planned(policy))
        return Hypothesis(
            text, metric, direction, 1 + direction * guardrail.worse_by, True, policy.min_samples, sequence
        )
    sequence = Sequence(alpha, HORIZON * policy.min_samples)
    if guardrail.above is not None:
        return Hypothesis(
            f"{metric.name} above {guardrail.above:g}",
            metric,
            1,
            guardrail.above,
            False,
            policy.min_samples,
            sequence,
        )
    assert guardrail.below is not None, "a policy's guardrail has one limit"
    return Hypothesis(
        f"{metric.name} below {guardrail.below:g}",
        metric,
        -1,
        guardrail.below,
        False,
        policy.min_samples,
        sequence,
    )


def _success(policy: ReleasePolicy, goal: Success) -> Hypothesis:
    metric = _ratio(goal.metric)
    direction = metric.good.value
    sequence = Sequence(policy.alpha, HORIZON * _planned(policy))
    text = f"{metric.name} better_by {goal.better_by:g}"
    return Hypothesis(
        text, metric, direction, 1 + direction * goal.better_by, True, policy.min_samples, sequence
    )


def _ratio(name: str) -> catalogue.Ratio:
    metric = catalogue.find(name)
    assert isinstance(metric, catalogue.Ratio) and metric.testable, "check.py has seen to it"
    return metric


def _planned(policy: ReleasePolicy) -> float:
    """n₁n₂/(n₁+n₂) when the smaller arm of the first step has its least samples."""
    weight = policy.steps[0].weight if policy.steps else UNPLANNED_WEIGHT
    return policy.min_samples * max(weight, 1 - weight)


def _relative(test: Hypothesis, strata: Several[Stratum]) -> Finding:
    """The strata's differences, weighted. The variance is between users, over all strata together, for one
    user is in many of them. That of a share is at least what independent events have where there is nothing
    to find: an arm with few events by luck does not look sure of it.
    """
    empty, ready = _begin(test, strata)
    if not ready:
        return empty
    both = [stratum for stratum in strata if stratum.judged.samples > 0 and stratum.reference.samples > 0]
    if not both:
        return empty
    numerators, denominators = _stack(both)
    events, n = numerators.sum(axis=2), denominators.sum(axis=2)
    ratios = events / n
    samples = n.prod(axis=1) / n.sum(axis=1)
    weights = samples / samples.sum()
    scale = np.array([1.0, test.limit])
    values = weights @ ratios
    residuals = (numerators - ratios[..., np.newaxis] * denominators) / n[..., np.newaxis]
    clustered = float(_variance(np.einsum("g,a,gab->b", weights, scale * [1, -1], residuals)))
    floor = 0.0
    if test.metric.adds is Adds.EVENTS:
        rates = np.minimum(np.outer(events.sum(axis=1) / (n @ scale[::-1]), scale[::-1]), 1.0)
        floor = float(weights**2 @ (rates * (1 - rates) * scale**2 / n).sum(axis=1))
    variance, filled = max(clustered, floor), int(np.count_nonzero(denominators.sum(axis=0), axis=1).min())
    distance = float(values[0] - test.limit * values[1])
    finding = _weigh(test, empty, Estimate(distance, variance, float(samples.sum()), filled))
    if not values[1] > 0 or math.isnan(finding.boundary):
        return finding
    effect, margin = (
        float(values[0] / values[1]) - 1,
        finding.boundary * math.sqrt(variance) / float(values[1]),
    )
    return finding._replace(effect=effect, lower=effect - margin, upper=effect + margin)


def _absolute(test: Hypothesis, strata: Several[Stratum]) -> Finding:
    empty, ready = _begin(test, strata)
    if not ready:
        return empty
    numerator, denominator = (sums.sum(axis=0)[0] for sums in _stack(strata))
    n = float(denominator.sum())
    value = float(numerator.sum()) / n
    variance = float(_variance((numerator - value * denominator) / n))
    if test.metric.adds is Adds.EVENTS:
        p = min(max(test.limit, 0.0), 1.0)
        variance = max(variance, p * (1 - p) / n)
    filled = int(np.count_nonzero(denominator))
    finding = _weigh(test, empty, Estimate(value - test.limit, variance, n, filled))
    margin = finding.boundary * math.sqrt(variance)
    return finding._replace(effect=value, lower=value - margin, upper=value + margin)


def _begin(test: Hypothesis, strata: Several[Stratum]) -> tuple[Finding, bool]:
    """A finding with the sums as they are, and whether there are enough of them to be tested."""
    nothing = Finding(test.text, State.FEW, alpha=test.sequence.alpha)
    if not strata:
        return nothing, False
    numerators, denominators = (sums.sum(axis=0) for sums in _stack(strata))
    events, n, filled = (
        numerators.sum(axis=1),
        denominators.sum(axis=1),
        np.count_nonzero(denominators, axis=1),
    )
    values = [float(events[arm] / n[arm]) if n[arm] else math.nan for arm in (0, 1)]
    if not test.relative:
        empty = nothing._replace(value=values[0], samples=(float(n[0]), 0.0))
        return empty, bool(n[0] >= test.min_samples and filled[0] >= FILLED)
    empty = nothing._replace(value=values[0], reference=values[1], samples=(float(n[0]), float(n[1])))
    return empty, bool(n.min() >= test.min_samples and filled.min() >= FILLED)


def _weigh(test: Hypothesis, empty: Finding, estimate: Estimate) -> Finding:
    if not math.isfinite(estimate.distance) or not math.isfinite(estimate.variance):
        return empty._replace(state=State.BROKEN)
    boundary = sequences.student(test.sequence.boundary(estimate.samples), estimate.filled - 1)
    error = math.sqrt(estimate.variance)
    statistic = test.direction * estimate.distance / error if error > 0 else 0.0
    state = State.PROVEN if statistic > boundary else State.OPEN
    return empty._replace(state=state, statistic=statistic, boundary=boundary)


def _stack(strata: Several[Stratum]) -> tuple[Floats, Floats]:
    """Numerators and denominators, each of shape (strata, 2, buckets): the judged version first."""
    numerators = np.array([[stratum.judged.numerator, stratum.reference.numerator] for stratum in strata])
    denominators = np.array(
        [[stratum.judged.denominator, stratum.reference.denominator] for stratum in strata]
    )
    return numerators, denominators


def _variance(residuals: Floats) -> Floats:
    """Of the sum of independent clusters' residuals along the last axis, which add up to 0. Buckets without
    users count for nothing.
    """
    clusters = np.maximum(np.count_nonzero(residuals, axis=-1), 2)
    variances: Floats = (residuals**2).sum(axis=-1) * clusters / (clusters - 1)
    return variances
