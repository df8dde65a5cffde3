"""The formulas of metrics as SQL expressions. Their sources stand where they are in Python:
`streams/metrics/histogram.py`, `scored.py` and `interval.py`.

Each takes SQL and answers SQL; it may say what it is given several times, ClickHouse computes that once.
"""

from streams.metrics.histogram import GAMMA, ZERO
from streams.metrics.interval import Z95


def wilson(successes: str, trials: str) -> tuple[str, str]:
    """The bounds of the score interval of a proportion; NULL where it has none."""
    spread = f"({successes}) * (({trials}) - ({successes})) / ({trials}) + {Z95**2 / 4!r}"
    half = f"{Z95!r} * sqrt({spread})"
    middle, total = f"({successes}) + {Z95**2 / 2!r}", f"(({trials}) + {Z95**2!r})"
    known = f"({trials}) > 0 AND ({successes}) BETWEEN 0 AND ({trials})"
    return (
        f"if({known}, greatest(0., assumeNotNull(({middle} - {half}) / {total})), NULL)",
        f"if({known}, least(1., assumeNotNull(({middle} + {half}) / {total})), NULL)",
    )


def quantile(histogram: str, q: float) -> str:
    """The order statistic of rank ⌈qn⌉ of a histogram whose bins are in their order; NULL of an empty one."""
    number = f"arraySum(mapValues({histogram}))"
    ranks = f"arrayCumSum(mapValues({histogram}))"
    found = at_rank(f"mapKeys({histogram})", ranks, f"ceil({number} * {q!r})")
    return f"if({number} > 0, {found}, NULL)"


def at_rank(bins: str, ranks: str, rank: str) -> str:
    """The representative of the bin that has the value of `rank`; `ranks` are those of the bins' last
    values."""
    bin_ = f"{bins}[arrayFirstIndex(last -> last >= {rank}, {ranks})]"
    return f"if({bin_} = {ZERO}, 0, {2 / (GAMMA + 1)!r} * pow({GAMMA!r}, {bin_}))"


SCORED = (
    "mapFromArrays("
    "arrayConcat(arrayMap(bin -> 2 * bin, mapKeys(negative_scores)), "
    "arrayMap(bin -> 2 * bin + 1, mapKeys(positive_scores))), "
    "arrayConcat(mapValues(negative_scores), mapValues(positive_scores)))"
)
"""Both maps of a row's scores as one, not in its order: negatives of bin i under 2i, positives under
2i + 1."""


PAIRED = ("arraySum(mapValues(positive_scores))", "arraySum(mapValues(negative_scores))")
"""The number of a row's positives, and that of its negatives."""


def positives_won(places: str, counts: str) -> str:
    """Mann and Whitney's U of `SCORED` in its order: the pairs of a positive and a negative in which the
    positive has the higher score. It has won against the negatives up to it, half of those just before it if
    they are of its bin.
    """
    negative = f"arrayMap((place, count) -> if(place % 2 = 0, count, 0), {places}, {counts})"
    same = "if(before = place - 1, others / 2, 0)"
    return (
        "arraySum((place, count, below, before, others) -> "
        f"if(place % 2 = 0, 0, count * (below - {same})), "
        f"{places}, {counts}, arrayCumSum({negative}), {_shifted(places)}, {_shifted(counts)})"
    )


def roc_auc(scored: str, positives: str, negatives: str) -> str:
    """The area under the ROC curve, of `SCORED` in its order; NULL without positives or negatives."""
    won = positives_won(f"mapKeys({scored})", f"mapValues({scored})")
    return f"{won} / nullIf(toFloat64({positives}) * toFloat64({negatives}), 0)"


def ece(reliability: str) -> str:
    """The expected calibration error, of lists of pairs, sum of scores and positives; NULL without pairs."""
    lists = f"mapValues({reliability})"
    misjudged = f"arraySum(list -> abs(list[2] - list[3]), {lists})"
    return f"{misjudged} / nullIf(arraySum(list -> list[1], {lists}), 0)"


def _shifted(array: str) -> str:
    """What stands before each place of an array; before the first a zero."""
    return f"arrayPopBack(arrayPushFront({array}, 0))"
