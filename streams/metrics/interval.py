"""Confidence intervals of metrics. Not for decisions, which look again and again: those use
`streams.judge.sequences`.
"""

from math import sqrt
from typing import NamedTuple

Z95 = 1.959963984540054
"""The normal distribution's 97.5 % quantile."""


class Interval(NamedTuple):
    """Lower and upper bound."""

    lower: float
    upper: float


def wilson(successes: float, trials: float) -> Interval | None:
    """The 95 % score interval of a proportion; None without trials.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).

    >>> wilson(5, 10)
    Interval(lower=0.236593090512564, upper=0.7634069094874361)
    """
    if trials <= 0:
        return None
    share, z2 = successes / trials, Z95 * Z95
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    margin = Z95 * sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials)) / (1 + z2 / trials)
    return Interval(centre - margin, centre + margin)
