"""Statistics of pairs of score and truth, from their counts by bins of the score (`scores.py`)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

TENTHS = 10
"""Bins of the reliability diagram, of equal width: the usual choice (Guo and others, "On Calibration of
Modern Neural Networks", ICML 2017, use 15; ten are what people read).
"""


class Fraction(NamedTuple):
    """A statistic as a ratio; it has no value where the denominator is 0."""

    numerator: float
    denominator: float


def tenth_of(score: float) -> int:
    """The bin of a score in [0, 1] among ten of equal width, half-open but for the last: 0 to 9."""
    return min(TENTHS - 1, int(score * TENTHS))


def roc_auc(positives: Mapping[int, int], negatives: Mapping[int, int]) -> Fraction:
    """The area under the ROC curve from counts by `scores.bin_of`: pairs of a positive and a negative in
    which the positive is in the higher bin, those in one bin as half (Mann and Whitney's U), of all such
    pairs.

    J. A. Hanley and B. J. McNeil, "The Meaning and Use of the Area under a Receiver Operating Characteristic
    (ROC) Curve", Radiology 143, 1982. Bins keep the order of scores, so only pairs of different scores in one
    bin can be counted wrong, by half at most: the area of the scores themselves is within half the
    probability that a positive and a negative of different scores share a bin.

    >>> roc_auc({3: 1, 5: 1}, {3: 1, 4: 1})
    Fraction(numerator=2.5, denominator=4.0)
    """
    higher, below = 0.0, 0
    for bin_ in sorted(positives.keys() | negatives.keys()):
        count = negatives.get(bin_, 0)
        higher += positives.get(bin_, 0) * (below + count / 2)
        below += count
    return Fraction(higher, float(sum(positives.values())) * below)


def ece(reliability: Mapping[int, Sequence[float]]) -> Fraction:
    """The expected calibration error from `schemas.records.Pane.reliability`: of each bin (pairs, sum of
    their scores, positives among them) the distance of mean score and share of positives, weighted by pairs:
    Σ |scores − positives| over all pairs.

    C. Guo and others, "On Calibration of Modern Neural Networks", ICML 2017. Exact: its bins are those of its
    definition.

    >>> ece({1: [4, 0.75, 1], 9: [2, 1.75, 2]})
    Fraction(numerator=0.5, denominator=6.0)
    """
    return Fraction(
        float(sum(abs(scores - positives) for _, scores, positives in reliability.values())),
        float(sum(pairs for pairs, _, _ in reliability.values())),
    )
