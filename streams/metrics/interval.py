"""95 % confidence intervals of metrics. Not for decisions, which look again and again: those use
`streams.judge.sequences`.

All of them take what is counted as independent. Pairs of one request and requests of one user are not, so the
true spread is wider; the judge's tests allow for that, these bounds on dashboards do not.
"""

from math import ceil, sqrt
from typing import NamedTuple

Z95 = 1.959963984540054
"""The normal distribution's 97.5 % quantile."""


class Interval(NamedTuple):
    """Lower and upper bound."""

    lower: float
    upper: float


def wilson(successes: float, trials: float) -> Interval | None:
    """The score interval of a proportion, with x of n: (x + z²/2 ± z √(x(n − x)/n + z²/4)) / (n + z²). None
    without trials, or with more successes than trials.

    Also of a mean of values from 0 to 1, x being their sum: of all such values with that mean, zeros and ones
    vary most (R. Bhatia and C. Davis, American Mathematical Monthly 107, 2000), so it is rather too wide
    there.

    E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of the
    American Statistical Association 22, 1927.

    >>> wilson(5, 10)
    Interval(lower=0.236593090512564, upper=0.7634069094874361)
    """
    if not trials > 0 or not 0 <= successes <= trials:
        return None
    half = Z95 * sqrt(successes * (trials - successes) / trials + Z95**2 / 4)
    middle, total = successes + Z95**2 / 2, trials + Z95**2
    return Interval(max(0.0, (middle - half) / total), min(1.0, (middle + half) / total))


def hanley_mcneil(area: float, positives: float, negatives: float) -> Interval | None:
    """The interval of an area under the ROC curve, from normal theory; None without positives or negatives.

    With A the area, Q₁ = A/(2 − A) and Q₂ = 2A²/(1 + A), its variance is (A(1 − A) + (n₊ − 1)(Q₁ − A²) + (n₋
    − 1)(Q₂ − A²)) / (n₊n₋). J. A. Hanley and B. J. McNeil, "The Meaning and Use of the Area under a Receiver
    Operating Characteristic (ROC) Curve", Radiology 143, 1982.

    >>> hanley_mcneil(0.5, 1, 1)
    Interval(lower=0.0, upper=1.0)
    """
    if not positives > 0 or not negatives > 0:
        return None
    square = area * area
    one = (positives - 1) * (area / (2 - area) - square)
    other = (negatives - 1) * (2 * square / (1 + area) - square)
    half = Z95 * sqrt(max(0.0, area * (1 - area) + one + other) / (positives * negatives))
    return Interval(max(0.0, area - half), min(1.0, area + half))


def ranks(q: float, n: float) -> tuple[int, int]:
    """The ranks of the order statistics of n values between which their population's q-quantile lies: ⌈nq ∓ z
    √(nq(1 − q))⌉, where those are from 1 to n; beyond, the sample does not say.

    W. J. Conover, Practical Nonparametric Statistics, 3rd edition, 1999, section 3.2.

    >>> ranks(0.5, 100)
    (41, 60)
    """
    half = Z95 * sqrt(n * q * (1 - q))
    return ceil(n * q - half), ceil(n * q + half)
