"""How a version does against another, or against a limit: what the sums of a ratio metric prove, at any of
many looks.

What of a policy becomes a hypothesis, when there is enough to test it, and what is proof; the estimate and
its variance are `ratio.py`'s, the boundary `sequences.py`'s, and which panes the sums are of `evidence.py`'s.
Pure functions of sums.
"""

import math
from collections.abc import Sequence as Several
from enum import Enum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.policies import Guardrail, ReleasePolicy, Success
from streams.judge.statistics import ratio, sequences
from streams.judge.statistics.ratio import Estimate, Floats
from streams.judge.statistics.sequences import Sequence
from streams.metrics import catalogue

FILLED = 20
"""An arm has users in at least so many buckets before anything is said of it: fewer clusters say too little
of their variance.
"""
HORIZON = 4.0
"""Guardrails are tightest at so many times the samples at which testing may begin: they are in a hurry."""
PATIENCE = 64.0
"""Success is tightest at so many times: a promotion can wait, and its margins are small."""
UNPLANNED_WEIGHT = 0.1
"""The candidate's share in a release whose policy names no steps."""

Bools = npt.NDArray[np.bool_]


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


class Readings(NamedTuple):
    """What one test says at many looks: `Finding`'s fields as arrays of the looks' shape, `samples` with an
    axis of two more.

    `enough`: there are samples and clusters enough to be tested. `sound`: all sums are numbers.
    """

    enough: Bools
    sound: Bools
    statistic: Floats
    boundary: Floats
    value: Floats
    reference: Floats
    effect: Floats
    lower: Floats
    upper: Floats
    samples: Floats

    @property
    def proven(self) -> Bools:
        """The looks at which the hypothesis is proven."""
        return self.sound & self.enough & (self.statistic > self.boundary)


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
        if not strata:
            return Finding(self.text, State.FEW, alpha=self.sequence.alpha)
        return finding(self, self.examine(*_stack(strata)))

    def estimate(self, numerators: Floats, denominators: Floats) -> Estimate:
        """How far the metric is from the limit, by sums of shape (looks…, strata, 2, buckets), the judged
        version first.
        """
        against = ratio.relative if self.relative else ratio.absolute
        return against(numerators, denominators, self.limit, self.metric.adds)

    def examine(self, numerators: Floats, denominators: Floats) -> Readings:
        """What such sums prove, each look by itself."""
        whole = numerators.sum(axis=(-3, -2, -1)) + denominators.sum(axis=(-3, -2, -1))
        return self.read(self.estimate(numerators, denominators), np.isfinite(whole))

    def read(self, estimate: Estimate, sound: Bools) -> Readings:
        """What estimates prove."""
        fewest = np.minimum(estimate.judged, estimate.compared) if self.relative else estimate.judged
        enough = (fewest >= self.min_samples) & (estimate.filled >= FILLED)
        boundary = sequences.student(
            self.sequence.boundary(estimate.samples), estimate.filled.astype(float) - 1
        )
        error = np.sqrt(estimate.variance)
        surely = error > 0
        statistic = self.direction * np.divide(
            estimate.distance, error, out=np.zeros_like(error), where=surely
        )
        unit = np.where(estimate.reference > 0, estimate.reference, np.nan) if self.relative else 1.0
        effect = estimate.value / unit - (1.0 if self.relative else 0.0)
        with np.errstate(invalid="ignore"):  # boundless, of what is wholly sure
            margin = boundary * error / unit
        return Readings(
            enough=enough,
            sound=sound,
            statistic=statistic,
            boundary=boundary,
            value=estimate.value,
            reference=estimate.reference,
            effect=effect,
            lower=effect - margin,
            upper=effect + margin,
            samples=np.stack([estimate.judged, estimate.compared], axis=-1),
        )


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
    sequence = Sequence(policy.alpha, PATIENCE * _planned(policy))
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


def finding(test: Hypothesis, readings: Readings) -> Finding:
    """One look's reading in words. What is not tested has no statistic."""
    samples = (float(readings.samples[0]), float(readings.samples[1]))
    empty = Finding(
        test.text,
        State.FEW,
        value=float(readings.value),
        reference=float(readings.reference),
        samples=samples,
        alpha=test.sequence.alpha,
    )
    if not readings.sound:
        return empty._replace(state=State.BROKEN)
    if not readings.enough:
        return empty
    return empty._replace(
        state=State.PROVEN if readings.proven else State.OPEN,
        statistic=float(readings.statistic),
        boundary=float(readings.boundary),
        effect=float(readings.effect),
        lower=float(readings.lower),
        upper=float(readings.upper),
    )


def _stack(strata: Several[Stratum]) -> tuple[Floats, Floats]:
    """Numerators and denominators, each of shape (strata, 2, buckets): the judged version first."""
    numerators = np.array([[stratum.judged.numerator, stratum.reference.numerator] for stratum in strata])
    denominators = np.array(
        [[stratum.judged.denominator, stratum.reference.denominator] for stratum in strata]
    )
    return numerators, denominators
