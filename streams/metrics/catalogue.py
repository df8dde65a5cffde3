"""The metrics: each an entry that says which sums of a pane make it, which way it is good, and what it waits
for.

Everything else follows from here: the judge's tests, ClickHouse's views, the names that a policy may use. The
sums themselves are tallied by `streams/join/` into `schemas.records.Pane.sums` under the names used here. A
metric with a cut-off is written `recall@k` here and `recall@5` outside; so are its sums (`hits@k`, `hits@5`).
"""

from enum import Enum
from typing import NamedTuple

SECONDS = "seconds"
"""As a denominator: the window's length in seconds."""

COUNTS = (
    "late",
    "duplicates",
    "expired",
    "unmatched",
    "unanswered",
    "skewed",
    "mispartitioned",
    "dead_letters",
    "incomplete",
)
"""Records that did not count, by reason: nothing disappears uncounted."""


class Good(Enum):
    """Which way a metric is good."""

    HIGH = 1
    LOW = -1
    NEITHER = 0


class Metric(NamedTuple):
    """A ratio of sums (`denominator` None: a plain count). `feedback`: it grows as feedback comes in, so
    tests wait for maturity. `share`: the numerator counts a part of the denominator, so the value is a
    proportion and has a Wilson interval.
    """

    name: str
    numerator: str
    denominator: str | None
    good: Good
    doc: str
    feedback: bool = False
    share: bool = False


class Quantile(NamedTuple):
    """An order statistic of the latency histogram."""

    name: str
    q: float
    doc: str
    good: Good = Good.LOW


RATIOS = (
    Metric("predictions", "predictions", None, Good.NEITHER, "Counted predictions."),
    Metric("errors", "errors", None, Good.LOW, "Predictions with a status other than ok."),
    Metric(
        "error_rate",
        "errors",
        "predictions",
        Good.LOW,
        "Share of predictions with a status other than ok.",
        share=True,
    ),
    Metric("throughput_rps", "predictions", SECONDS, Good.NEITHER, "Predictions per second of the window."),
    Metric("impressions", "impressions", None, Good.NEITHER, "Shown items of ok predictions."),
    Metric(
        "clicks",
        "clicks",
        None,
        Good.HIGH,
        "Distinct (request, item) clicked among the shown items.",
        feedback=True,
    ),
    Metric(
        "ctr",
        "clicks",
        "impressions",
        Good.HIGH,
        "Click-through rate: clicks per impression.",
        feedback=True,
        share=True,
    ),
    Metric(
        "conversions",
        "conversions",
        None,
        Good.HIGH,
        "Distinct (request, item) purchased among the shown items.",
        feedback=True,
    ),
    Metric(
        "cvr", "conversions", "clicks", Good.HIGH, "Conversion rate: conversions per click.", feedback=True
    ),
    Metric(
        "recall@k",
        "hits@k",
        "relevant",
        Good.HIGH,
        "Relevant items ranked in the first k, of all relevant ones.",
        feedback=True,
        share=True,
    ),
    Metric(
        "slow_rate",
        "slow",
        "predictions",
        Good.LOW,
        "Share of predictions slower than the policy's slow_ms.",
        share=True,
    ),
    Metric("latency_mean_ms", "latency_ms", "timed", Good.LOW, "Mean latency of ok and timeout predictions."),
    *(Metric(name, name, None, Good.LOW, f"Count of records: {name}.") for name in COUNTS),
)

QUANTILES = tuple(
    Quantile(
        f"latency_p{digits}_ms",
        float(f"0.{digits}"),
        f"Latency of rank ⌈{float(f'0.{digits}')}n⌉ of ok and timeout predictions.",
    )
    for digits in ("50", "90", "95", "99", "999")
)

_RATIOS = {metric.name: metric for metric in RATIOS}
_QUANTILES = {metric.name: metric for metric in QUANTILES}


def find(name: str) -> Metric | Quantile | None:
    """The metric of a written-out name (`ctr`, `recall@5`, `latency_p99_ms`), its sums written out too; None
    where there is none.
    """
    if name in _QUANTILES:
        return _QUANTILES[name]
    stem, at, k = name.partition("@")
    metric = _RATIOS.get(f"{stem}@k" if at else name)
    if metric is None or (at and not (k.isdigit() and int(k) > 0)):
        return None
    return metric._replace(
        name=name,
        numerator=metric.numerator.replace("@k", f"@{k}"),
        denominator=metric.denominator and metric.denominator.replace("@k", f"@{k}"),
    )
