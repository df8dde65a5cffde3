"""Adaptive limits: what is usual of a metric, from what it has been, and how far it may be away from that.

A *reading* is the metric over the rule's window, taken every `step`. What it is held against, the
*reference*, is the median of the readings within half an hour of the same time a day or a week before, or
the median of the recent ones. How far readings are usually away from that is their residuals' median and
1.4826 · MAD (the median absolute deviation, which is σ where they are normal: P. J. Rousseeuw and C. Croux,
"Alternatives to the Median Absolute Deviation", JASA 88, 1993); half of them may be wrong before these are.
The season is in the reference, so residuals have none.

Pure functions of numbers; `watch.py` keeps them, `policies.Baseline` asks.
"""

import math
from typing import NamedTuple

import numpy as np

from schemas.policies import Baseline, Policy
from streams.judge.rules.memory import Grid
from streams.metrics import catalogue
from streams.metrics.catalogue import Adds, Good, Quantile, Ratio
from streams.metrics.drift import METRICS
from streams.metrics.tallies import Floats

MINUTES = 60_000
STEP = 10 * MINUTES
"""Readings are this far apart at least (ms), and whole windows: they are not to overlap."""
SEASON = 30 * MINUTES
"""Readings so close to the same time a day before belong to it (ms)."""
DAY = 86_400_000
PERIODS = {"1d": DAY, "7d": 7 * DAY}
LEAST = 24
"""With fewer residuals nothing is called unusual."""
MAD = 1.4826
"""σ of a normal distribution in median absolute deviations: 1/Φ⁻¹(3/4)."""


class Usual(NamedTuple):
    """What is expected, and the standard deviation around it, both in the metric's unit."""

    reference: float
    sigma: float


def step(rule_window: int, policy: Policy) -> int:
    """How far apart readings are (ms)."""
    common = math.lcm(policy.pane, STEP)
    return -(-rule_window // common) * common


def over(baseline: Baseline) -> int:
    """How much of the past the sigma is taken from (ms)."""
    return DAY if baseline.over is None else int(baseline.over)


def span(baseline: Baseline) -> int:
    """How far back (ms) readings are needed."""
    period = PERIODS.get(baseline.of, 0)
    return over(baseline) + period + (SEASON if period else 0)


def wait(baseline: Baseline, step: int) -> int:
    """How long (ms) nothing is said of a model that is new."""
    return PERIODS.get(baseline.of, 0) + LEAST * step


def relative(metric: str) -> bool:
    """Whether deviations are counted as fractions of the reference: of amounts without an upper end, whose
    spread grows with them. Shares, distances and other people's numbers are counted as they are.
    """
    found = catalogue.find(metric)
    if isinstance(found, Ratio):
        return found.adds is Adds.AMOUNTS
    return isinstance(found, Quantile)


def bad_sides(metric: str) -> tuple[bool, bool]:
    """Whether low and high values are bad; both where nobody knows."""
    found = catalogue.find(metric)
    good = Good.LOW if metric in METRICS else Good.NEITHER if found is None else found.good
    return good is not Good.LOW, good is not Good.HIGH


def usual(baseline: Baseline, readings: Grid, boundary: int, *, fractions: bool) -> Usual | None:
    """What is usual at `boundary` (ms), by the readings before it; None where they are too few.
    `fractions`: deviations count as fractions of the reference.
    """
    now = (boundary - 1) // readings.step + 1
    number = over(baseline) // readings.step
    values = readings.rows(now - number, now)[:, 0]
    references = _references(baseline, readings, now, number)
    reference = float(references[-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        residuals = values - references[:-1]
        if fractions:
            residuals = residuals / np.abs(references[:-1])
    residuals = residuals[np.isfinite(residuals)]
    if len(residuals) < LEAST or not math.isfinite(reference):
        return None
    middle, sigma = robust(residuals)
    scale = abs(reference) if fractions else 1.0
    return Usual(reference + middle * scale, sigma * scale)


def robust(values: Floats) -> tuple[float, float]:
    """Median, and 1.4826 · MAD, of values of shape (n,)."""
    middle = float(np.median(values))
    return middle, MAD * float(np.median(np.abs(values - middle)))


def _references(baseline: Baseline, readings: Grid, now: int, number: int) -> Floats:
    """What each of the last `number` readings before number `now`, and that one, are held against; shape
    (number + 1,), NaN where nothing is known.
    """
    period = PERIODS.get(baseline.of, 0) // readings.step
    if not period:
        return np.full(number + 1, _median(readings.rows(now - number, now)[:, 0]))
    around = SEASON // readings.step
    past = readings.rows(now - number - period - around, now - period + around + 1)[:, 0]
    seasons = np.lib.stride_tricks.sliding_window_view(past, 2 * around + 1)
    known = np.isfinite(seasons).any(axis=1)
    found = np.full(number + 1, np.nan)
    found[known] = np.nanmedian(seasons[known], axis=1)
    return found


def _median(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else math.nan


def chance(metric: str, expected: float, numerator: float, denominator: float, error: float | None) -> float:
    """The standard deviation that chance alone gives a reading: that of a share of so many events, of a
    count, or `error` where the reading has one; 0 where nothing is known. Of what never varied it is a
    thousandth of what is expected: little need not be much.
    """
    found = catalogue.find(metric)
    least = max(abs(expected) / 1_000, 1e-12)
    if error is not None:
        return max(error, least)
    if not isinstance(found, Ratio):
        return least
    if found.adds is Adds.EVENTS and denominator > 0:
        half = 0.5 / (denominator + 1)  # as if half an event had come, or not come: none may have
        share = min(max(expected, half), 1 - half)
        return max(math.sqrt(share * (1 - share) / denominator), least)
    if not found.denominator:
        return max(math.sqrt(max(expected, 1.0)), least)
    if catalogue.SECONDS in found.denominator and denominator > 0:
        return max(math.sqrt(max(expected * denominator, 1.0)) / denominator, least)
    return least
