"""How reference distributions are made: from values as they were in training, or as they are in production,
to counts in bins. The only place that chooses bins.

Numbers by quantiles, so that every bin has enough to compare; words by themselves.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.records import Distribution, Feature

QUANTILES = (0.001, 0.01, *(0.05 + 0.9 * i / 14 for i in range(15)), 0.99, 0.999)
"""Where numbers are cut, into `BINS` bins. The tails by themselves: a single wide bin at each end would
hide where its mass lies, which the Wasserstein distance needs to know."""
BINS = len(QUANTILES) + 1
CATEGORIES = 100
"""So many words have bins of their own, the most frequent ones; the rest share the last."""

Numbers = Sequence[float] | npt.NDArray[np.floating] | npt.NDArray[np.integer]


class Column(NamedTuple):
    """A feature's distribution, and the values that are not in it: `missing` (absent, null, not finite),
    and `odd`, which are of another type than most.
    """

    distribution: Distribution | None
    missing: int
    odd: int


def numbers(values: Numbers) -> Distribution:
    """The distribution of finite numbers, at least one.

    Edges are values that occur, so that equal ones are never cut apart. The lowest is none of them: instead
    of an empty bin below it there is a cut above it where many values are equal to it. A few distinct
    values have a bin each; a constant has one between two empty bins, so that a change in either direction
    shows.
    """
    array = np.asarray(values, np.float64)
    distinct = np.unique(array)
    if len(distinct) == 1:
        edges = np.array([distinct[0], np.nextafter(distinct[0], np.inf)])
    elif len(distinct) <= BINS:
        edges = distinct[1:]
    else:
        edges = np.unique(np.quantile(array, QUANTILES, method="inverted_cdf"))
        edges = np.unique(np.where(edges == distinct[0], distinct[1], edges))
    counts = np.bincount(np.searchsorted(edges, array, side="right"), minlength=len(edges) + 1)
    return Distribution(
        counts=counts.tolist(),
        edges=edges.tolist(),
        lowest=float(distinct[0]),
        highest=float(distinct[-1]),
        deviation=float(array.std()),
    )


def scores(values: Numbers) -> Distribution:
    """The distribution of scores, rounded to single precision as the join keeps them: an edge that is not
    would cut off the very values that it was made from.
    """
    return numbers(np.asarray(values, np.float32))


def words(values: Iterable[str]) -> Distribution:
    """The distribution of words, at least one, the most frequent first."""
    ranked = sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0]))
    kept, rest = ranked[:CATEGORIES], ranked[CATEGORIES:]
    return Distribution(
        counts=[*(count for _, count in kept), sum(count for _, count in rest)],
        categories=[word for word, _ in kept],
    )


def column(values: Iterable[Feature]) -> Column:
    """What a feature's values are distributed like. Numbers, unless most values are words; true and false
    count with those that they stand among, by themselves they are words.
    """
    missing = 0
    flags: list[bool] = []
    texts: list[str] = []
    reals: list[float] = []
    for value in values:
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            missing += 1
        elif isinstance(value, bool):
            flags.append(value)
        elif isinstance(value, str):
            texts.append(value)
        else:
            reals.append(value)
    if len(reals) > len(texts):
        return Column(numbers([*reals, *map(float, flags)]), missing, len(texts))
    if texts or flags:
        return Column(words([*texts, *("true" if flag else "false" for flag in flags)]), missing, len(reals))
    return Column(None, missing, 0)
