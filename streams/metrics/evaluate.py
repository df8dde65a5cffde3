"""What the metrics of the catalogue say of tallies: for the judge's rules, for `headgate replay`, for
anything that is not SQL. The view `metrics` has the same numbers (`streams/storage/metrics.py`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from schemas.records import QUALITY
from streams.metrics import catalogue, histogram, interval, scored
from streams.metrics.catalogue import (
    CUT_OFF,
    METRICS,
    OF_FEATURES,
    SECONDS,
    Adds,
    Binned,
    Metric,
    Quantile,
    Ratio,
)
from streams.metrics.scored import Fraction
from streams.metrics.tallies import Tally, add, add_lists

_PLACES = {OF_FEATURES[name]: place for place, name in enumerate(QUALITY)}


class Row(NamedTuple):
    """A metric of a window, as the view `metrics` has it. `value` is None where the denominator is 0;
    `numerator` is None of quantiles, `denominator` of counts; the bounds are None where a metric has no 95 %
    interval.
    """

    metric: str
    value: float | None
    numerator: float | None
    denominator: float | None
    lower: float | None = None
    upper: float | None = None


def rows(tally: Tally, seconds: float) -> list[Row]:
    """All rows of one series in a window of `seconds`, in the catalogue's order.

    With predictions it has one for every metric, and for each k that the series has sums of one for every
    metric with a cut-off; without any, only for what it counts.
    """
    found = (evaluate(metric, [tally], seconds) for metric in _written_out(tally))
    if tally.sums.get("predictions", 0.0) > 0:
        return list(found)
    return [row for row in found if row.numerator]


def evaluate(metric: Metric, tallies: Sequence[Tally], seconds: float) -> Row:
    """One metric, its name written out, of all `tallies` together; they last `seconds` in event time."""
    if isinstance(metric, Quantile):
        return _quantile(metric, tallies)
    if isinstance(metric, Binned):
        return _BINNED[metric.name](metric.name, tallies)
    return _ratio(metric, tallies, seconds)


def _written_out(tally: Tally) -> Iterator[Metric]:
    for metric in METRICS:
        if isinstance(metric, Ratio) and metric.name.endswith(CUT_OFF):
            yield from (catalogue.at(metric, k) for k in _cut_offs(metric, tally.sums))
        else:
            yield metric


def _cut_offs(metric: Ratio, sums: Mapping[str, float]) -> list[int]:
    [numerator] = metric.numerator
    written = re.compile(re.escape(numerator.removesuffix("k")) + "([0-9]+)", re.ASCII)
    return sorted(int(match[1]) for match in map(written.fullmatch, sums) if match)


def _ratio(metric: Ratio, tallies: Sequence[Tally], seconds: float) -> Row:
    numerator = _total(metric.numerator, tallies, seconds)
    if not metric.denominator:
        return Row(metric.name, numerator, numerator, None)
    denominator = _total(metric.denominator, tallies, seconds)
    row = Row(metric.name, numerator / denominator if denominator else None, numerator, denominator)
    bounds = None if metric.adds is Adds.AMOUNTS else interval.wilson(numerator, denominator)
    return row if bounds is None else row._replace(lower=bounds.lower, upper=bounds.upper)


def _total(names: Sequence[str], tallies: Sequence[Tally], seconds: float) -> float:
    return float(sum(_sum(name, tallies, seconds) for name in names))


def _sum(name: str, tallies: Sequence[Tally], seconds: float) -> float:
    if name == SECONDS:
        return seconds
    if (place := _PLACES.get(name)) is not None:
        return sum(counts[place] for tally in tallies for counts in tally.quality.values())
    return sum(tally.sums.get(name, 0.0) for tally in tallies)


def _quantile(metric: Quantile, tallies: Sequence[Tally]) -> Row:
    """The bounds are order statistics too, within 1 % as all of them."""
    counts = add(tally.latency for tally in tallies)
    n = sum(counts.values())
    lower, upper = (histogram.at_rank(counts, rank) for rank in interval.ranks(metric.q, n))
    return Row(metric.name, histogram.quantile(counts, metric.q), None, float(n), lower, upper)


def _roc_auc(name: str, tallies: Sequence[Tally]) -> Row:
    positives = add(tally.positive_scores for tally in tallies)
    negatives = add(tally.negative_scores for tally in tallies)
    row = _of(name, scored.roc_auc(positives, negatives))
    if row.value is None:
        return row
    counts = sum(positives.values()), sum(negatives.values())
    bounds = interval.hanley_mcneil(row.value, *counts)
    return row if bounds is None else row._replace(lower=bounds.lower, upper=bounds.upper)


def _ece(name: str, tallies: Sequence[Tally]) -> Row:
    return _of(name, scored.ece(add_lists(tally.reliability for tally in tallies)))


_BINNED = {"roc_auc": _roc_auc, "ece": _ece}


def _of(name: str, fraction: Fraction) -> Row:
    numerator, denominator = fraction
    return Row(name, numerator / denominator if denominator else None, numerator, denominator)
