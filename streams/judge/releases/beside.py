"""What sums of a shadow and of the stable version say to each metric, and to the policy's limits.

Ratios are tested as guardrails are, by user buckets and at any of many looks; percentiles, means and
distances are taken as they are, once there are enough samples. Pure functions of sums: which panes those are
of is `shadow.py`'s business.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from schemas.policies import ReleasePolicy, ShadowLimit
from schemas.records import BUCKETS, SCORE, Distribution
from streams.judge.statistics.compare import HORIZON, Hypothesis, Ratio, State, Stratum
from streams.judge.statistics.sequences import Sequence as Boundary
from streams.metrics import catalogue, drift, histogram, tallies
from streams.metrics.catalogue import RANKING, Good, Quantile
from streams.metrics.tallies import Floats, Tally

SCORE_MEAN = "score_mean"
SCORE_PSI = "score_psi"

ALWAYS = ("error_rate", "slow_rate", "latency_p50_ms", "latency_p99_ms", SCORE_MEAN, SCORE_PSI)
"""What is compared whatever the policy limits, and ranking metrics beside."""


class Comparison(msgspec.Struct, frozen=True, omit_defaults=True):
    """One metric of both. `effect` is the difference as a fraction of stable's value, between `lower` and
    `upper` where it is a ratio. `limit` is the policy's, in its words.
    """

    metric: str
    state: Literal["exceeded", "within", "too few samples"]
    shadow: float | None = None
    stable: float | None = None
    effect: float | None = None
    lower: float | None = None
    upper: float | None = None
    limit: str = ""


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """How `shadow` does beside `stable` since `since` (ms); `samples` are predictions, the shadow's first."""

    shadow: str
    stable: str
    since: int
    samples: tuple[float, float] = (0.0, 0.0)
    comparisons: tuple[Comparison, ...] = ()


class Pair(NamedTuple):
    """Something of the shadow and of the stable version."""

    shadow: Tally
    stable: Tally


class Reader:
    """What sums say of each metric."""

    def __init__(
        self,
        pair: Pair,
        policy: ReleasePolicy,
        profiles: tuple[Distribution | None, Distribution | None],
    ) -> None:
        self._pair = pair
        self._policy = policy
        self._profiles = profiles
        least = min(side.sums.get("predictions", 0.0) for side in pair)
        self._enough = least >= policy.shadow.min_samples
        tested = sum(_is_ratio(limit.metric) for limit in policy.shadow.limits)
        self._alpha = policy.alpha / max(1, tested)

    def compare(self, limit: ShadowLimit) -> Comparison | None:
        """None of what cannot be said of these versions at all."""
        metric = catalogue.find(limit.metric)
        if isinstance(metric, catalogue.Ratio):
            return self._ratio(metric, limit)
        if limit.metric == SCORE_PSI:
            distance = self._distance()
            return None if distance is None else self._plain(limit, distance, None)
        values = [self._value(limit.metric, number) for number in range(2)]
        return None if None in values else self._plain(limit, values[0], values[1])

    def _ratio(self, metric: catalogue.Ratio, limit: ShadowLimit) -> Comparison | None:
        sides = [
            Ratio(_total(side, metric.numerator), _total(side, metric.denominator)) for side in self._pair
        ]
        if not all(side.samples for side in sides):
            return None
        found = [
            test.look([Stratum(*sides)])
            for test in _hypotheses(metric, limit, self._alpha, self._policy.shadow.min_samples)
        ]
        first = found[0]
        states = {finding.state for finding in found}
        relative = limit.above is None and limit.below is None
        return Comparison(
            metric=limit.metric,
            state="exceeded"
            if State.PROVEN in states and _limited(limit)
            else "too few samples"
            if states & {State.FEW, State.BROKEN}
            else "within",
            shadow=_number(sides[0].value),
            stable=_number(sides[1].value),
            effect=_number(first.effect) if relative else None,
            lower=_number(first.lower) if relative else None,
            upper=_number(first.upper) if relative else None,
            limit=words(limit),
        )

    def _plain(self, limit: ShadowLimit, value: float | None, reference: float | None) -> Comparison:
        effect = value / reference - 1 if value is not None and reference else None
        exceeded = value is not None and _exceeds(limit, value, effect)
        return Comparison(
            metric=limit.metric,
            state="too few samples" if not self._enough else "exceeded" if exceeded else "within",
            shadow=value,
            stable=reference,
            effect=effect,
            limit=words(limit),
        )

    def _value(self, name: str, number: int) -> float | None:
        metric = catalogue.find(name)
        if isinstance(metric, Quantile):
            return histogram.quantile(self._pair[number].latency, metric.q)
        profile, counts = self._profiles[number], self._scores(number)
        return None if profile is None or counts is None else mean(counts, profile)

    def _distance(self) -> float | None:
        """The population stability index of the shadow's scores against stable's, in the bins of stable's
        profile.
        """
        shadow, stable = self._profiles
        live, reference = self._scores(0), self._scores(1)
        if shadow is None or stable is None or live is None or reference is None:
            return None
        counts = rebinned(live, shadow, stable.edges or [])
        return drift.psi(counts, Distribution(counts=[*reference], edges=stable.edges))

    def _scores(self, number: int) -> Sequence[int] | None:
        profile, counts = self._profiles[number], self._pair[number].features.get(SCORE)
        if profile is None or profile.edges is None or counts is None or not drift.fits(counts, profile):
            return None
        return counts if sum(counts) else None


def comparable() -> list[str]:
    """The metrics that a shadow can be held against the stable version by; `@k` stands for a cut-off."""
    traffic = [metric.name for metric in catalogue.TRAFFIC if metric.testable]
    quantiles = [metric.name for metric in catalogue.QUANTILES]
    return [*traffic, *quantiles, *(metric.name for metric in RANKING), SCORE_MEAN, SCORE_PSI]


def described(found: Comparison) -> str:
    """A comparison in words.

    >>> described(Comparison(metric="slow_rate", state="exceeded", shadow=0.02, stable=0.01, effect=1.0))
    'slow_rate 0.02, stable 0.01, a difference of +100.0%'
    """
    text = f"{found.metric} {found.shadow:.5g}" if found.shadow is not None else found.metric
    if found.stable is not None:
        text += f", stable {found.stable:.5g}"
    if found.effect is not None:
        text += f", a difference of {found.effect:+.1%}"
    if found.lower is not None and found.upper is not None:
        text += f" (from {found.lower:+.1%} to {found.upper:+.1%})"
    return f"{text}, beyond {found.limit}" if found.limit and found.state == "exceeded" else text


def words(limit: ShadowLimit) -> str:
    """A limit as the policy has it; empty where there is none.

    >>> words(ShadowLimit(metric="slow_rate", worse_by=0.1))
    'worse_by 0.1'
    """
    found = [(name, getattr(limit, name)) for name in ("worse_by", "differs_by", "above", "below")]
    return next((f"{name} {value:g}" for name, value in found if value is not None), "")


def mean(counts: Sequence[int], profile: Distribution) -> float | None:
    """The mean of binned values, each bin's at its middle, the outermost bins ending at the profile's
    extremes: wrong by at most half the widest bin. None without values, or extremes.
    """
    bounds = _bounds(profile)
    total = sum(counts)
    if bounds is None or not total:
        return None
    middles = ((low + high) / 2 for low, high in pairwise(bounds))
    return sum(count * middle for count, middle in zip(counts, middles, strict=True)) / total


def rebinned(counts: Sequence[int], profile: Distribution, edges: Sequence[float]) -> list[int]:
    """Counts by the bins of `profile` as counts by bins with other edges, values being spread evenly within a
    bin, to the nearest whole number. Exact where the edges are the same.
    """
    if list(edges) == list(profile.edges or []):
        return [*counts]
    bounds = _bounds(profile)
    if bounds is None:
        return [0] * (len(edges) + 1)
    below = [0, *accumulate(counts)]
    marks = [0.0, *(_interpolated(bounds, below, edge) for edge in edges), float(below[-1])]
    return [round(high) - round(low) for low, high in pairwise(marks)]


def _interpolated(bounds: Sequence[float], below: Sequence[int], edge: float) -> float:
    """How many values are below `edge`."""
    if edge <= bounds[0]:
        return 0.0
    for (low, high), (before, after) in zip(pairwise(bounds), pairwise(below), strict=True):
        if edge < high:
            return before + (after - before) * (edge - low) / (high - low)
    return float(below[-1])


def _bounds(profile: Distribution) -> list[float] | None:
    if profile.lowest is None or profile.highest is None or profile.edges is None:
        return None
    return [profile.lowest, *profile.edges, profile.highest]


def _total(tally: Tally, names: Sequence[str]) -> Floats:
    found = tallies.add_arrays({"all": tally.bucketed[name]} for name in names if name in tally.bucketed)
    return found.get("all", np.zeros(BUCKETS))


def _hypotheses(
    metric: catalogue.Ratio, limit: ShadowLimit, alpha: float, least: int
) -> Iterator[Hypothesis]:
    """What would exceed the limit; where there is none, whether it is worse at all."""
    text = f"{metric.name} {words(limit)}".strip()
    boundary = Boundary(alpha, HORIZON * least / 2)  # n₁n₂/(n₁+n₂) of two arms alike is half of either
    if limit.above is not None or limit.below is not None:
        direction, value = (1, limit.above) if limit.above is not None else (-1, limit.below or 0.0)
        assert value is not None, "one of both is given"
        yield Hypothesis(text, metric, direction, value, False, least, Boundary(alpha, HORIZON * least))
    elif limit.differs_by is not None:
        both = boundary._replace(alpha=alpha / 2)
        for direction in (1, -1):
            share = 1 + direction * limit.differs_by
            yield Hypothesis(text, metric, direction, share, True, least, both)
    else:
        direction = -1 if metric.good is Good.HIGH else 1
        share = 1 + direction * (limit.worse_by or 0.0)
        yield Hypothesis(text, metric, direction, share, True, least, boundary)


def _exceeds(limit: ShadowLimit, value: float, effect: float | None) -> bool:
    """Of what is taken as it is: latencies, of which less is better, means and distances."""
    if limit.above is not None:
        return value > limit.above
    if limit.below is not None:
        return value < limit.below
    if effect is None:
        return False
    if limit.differs_by is not None:
        return abs(effect) > limit.differs_by
    return limit.worse_by is not None and effect > limit.worse_by


def _is_ratio(name: str) -> bool:
    return isinstance(catalogue.find(name), catalogue.Ratio)


def _limited(limit: ShadowLimit) -> bool:
    return bool(words(limit))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
