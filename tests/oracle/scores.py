"""What scores held against the truth add to the sums of classification and regression metrics, and into
which bins scores go: the contract's section 3, one pair at a time.

Held against scikit-learn in `tests/unit/test_oracle_metrics.py`.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

CLIP = 1e-15
"""Log loss takes scores to be this far from 0 and 1 at least."""


@dataclass(frozen=True)
class Pair:
    """A shown item's score in [0, 1], in single precision as the join keeps it; whether it was true; and
    whether the score, as it came, was at least the threshold."""

    score: float
    positive: bool
    predicted: bool


LARGEST = 1e150
"""A latency or an error of regression beyond is taken for this, so that sums of squares stay numbers."""


def single(value: float) -> float:
    """The value as single precision keeps it; what is larger than all it can keep is infinite."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def counts(pair: Pair) -> dict[str, int]:
    """The whole numbers of classification."""
    return {
        "pairs": 1,
        "positives": int(pair.positive),
        "predicted_positives": int(pair.predicted),
        "true_positives": int(pair.predicted and pair.positive),
        "correct": int(pair.predicted == pair.positive),
    }


def losses(pair: Pair) -> dict[str, float]:
    """The fractions of classification."""
    chance = pair.score if pair.positive else 1 - pair.score  # of what came true
    return {
        "log_loss": -math.log(min(max(chance, CLIP), 1 - CLIP)),
        "squared_score_error": (pair.score - pair.positive) ** 2,
        "expected_positives": pair.score,
    }


def histogram(pairs: Iterable[Pair], *, positive: bool) -> Counter[int]:
    """The scores of one class by their odds: 16 bins for each power of two."""
    return Counter(_bin(pair.score) for pair in pairs if pair.positive is positive)


def reliability(pairs: Iterable[Pair]) -> dict[int, list[float]]:
    """By tenths of the scores' range: pairs, the sum of their scores, and the positives among them."""
    tenths: dict[int, list[float]] = {}
    for pair in pairs:
        tenth = tenths.setdefault(min(9, int(pair.score * 10)), [0.0, 0.0, 0.0])
        tenth[0] += 1
        tenth[1] += pair.score
        tenth[2] += pair.positive
    return tenths


def errors(score: float, label: float) -> dict[str, float]:
    """The fractions of regression; the score as single precision keeps it."""
    error = min(abs(score - label), LARGEST)
    return {"squared_error": error * error, "absolute_error": error}


def _bin(score: float) -> int:
    """By the odds as a single-precision number: its exponent, and the sixteenths of its mantissa."""
    odds = single(score / (1 - score)) if score < 1 else math.inf
    if odds == math.inf:
        return 2048
    mantissa, exponent = math.frexp(odds)
    if odds == 0 or exponent < -125:  # no normal number
        return int(odds * 2.0**149) // (1 << 19) - 2032
    return 16 * (exponent - 1) + int((2 * mantissa - 1) * 16)
