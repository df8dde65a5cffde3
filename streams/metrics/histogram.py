"""Mergeable histograms with relative bins, for latencies and delays: DDSketch's mapping (Masson and others,
"DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees", VLDB 2019) with
dictionaries of counts, which add up anywhere (`tallies.add`).

Bin `i` holds values in (γ^(i−1), γ^i] with γ = (1 + a)/(1 − a); its representative 2γ^i/(γ + 1) is within a =
1 % of each of them.
"""

import math
from collections.abc import Mapping

ACCURACY = 0.01
GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
SMALLEST = 1e-6
"""Values below are counted in `ZERO`, whose representative is 0."""
ZERO = -1_000

_PER_LOG = 1 / math.log(GAMMA)


def bin_of(value: float) -> int:
    """The bin of a finite value of at least 0."""
    return math.ceil(math.log(value) * _PER_LOG) if value >= SMALLEST else ZERO


def representative(bin_: int) -> float:
    """The value that stands for all of a bin, in the values' unit."""
    return 0.0 if bin_ == ZERO else 2 * GAMMA**bin_ / (GAMMA + 1)


def quantile(counts: Mapping[int, int], q: float) -> float | None:
    """The order statistic of rank ⌈qn⌉, within 1 %; None of an empty histogram.

    >>> round(quantile({bin_of(v): 1 for v in (10.0, 20.0, 30.0)}, 0.5), 1)
    19.9
    """
    return at_rank(counts, math.ceil(q * sum(counts.values())))


def at_rank(counts: Mapping[int, int], rank: int) -> float | None:
    """The order statistic of a rank from 1 on, within 1 %; None beyond the values that there are."""
    if rank < 1:
        return None
    for bin_ in sorted(counts):
        rank -= counts[bin_]
        if rank <= 0:
            return representative(bin_)
    return None
