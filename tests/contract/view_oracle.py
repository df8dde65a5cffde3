"""What the views must show, worked out again from snapshots of panes: plain Python over the contract's
section 3, formulas by scipy, order statistics by numpy over the latencies themselves.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from schemas.records import Pane
from streams.metrics.histogram import bin_of

RATIOS: dict[str, tuple[str, str | None]] = {
    "predictions": ("predictions", None),
    "errors": ("errors", None),
    "error_rate": ("errors", "predictions"),
    "throughput_rps": ("predictions", "seconds"),
    "impressions": ("impressions", None),
    "clicks": ("clicks", None),
    "ctr": ("clicks", "impressions"),
    "conversions": ("conversions", None),
    "cvr": ("conversions", "clicks"),
    "recall@5": ("hits@5", "relevant"),
    "recall@10": ("hits@10", "relevant"),
    "slow_rate": ("slow", "predictions"),
    "latency_mean_ms": ("latency_ms", "timed"),
    **{
        name: (name, None)
        for name in (
            *("late", "duplicates", "expired", "unmatched", "unanswered"),
            *("skewed", "mispartitioned", "dead_letters", "incomplete"),
        )
    },
}
PROPORTIONS = {"error_rate", "ctr", "recall@5", "recall@10", "slow_rate"}
QUANTILES = {
    "latency_p50_ms": 0.5,
    "latency_p90_ms": 0.9,
    "latency_p95_ms": 0.95,
    "latency_p99_ms": 0.99,
    "latency_p999_ms": 0.999,
}


class Snapshot(NamedTuple):
    """A snapshot of a pane, with the latencies (ms) that its histogram was made from."""

    pane: Pane
    latencies: Sequence[float]


class Series(NamedTuple):
    """What tells one series of one window from the others; `window` is its start in epoch ms."""

    window: int
    seconds: float
    model: str
    version: str
    arm: str
    segment: str
    segment_value: str


class Tally(NamedTuple):
    """All that belongs to a series."""

    sums: Counter[str]
    latencies: list[float]


class Row(NamedTuple):
    """A row of a view, but for what tells it from others."""

    value: float | None
    numerator: float | None
    denominator: float | None
    lower: float | None
    upper: float | None


def snapshot(pane: Pane, latencies: Sequence[float]) -> Snapshot:
    """A pane with the histogram of `latencies`."""
    pane.latency = dict(Counter(bin_of(value) for value in latencies))
    return Snapshot(pane, latencies)


def held(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """Of each key the snapshot that holds, unless that is retracted."""
    newest: dict[tuple[object, ...], Snapshot] = {}
    for candidate in snapshots:
        pane = candidate.pane
        key = (
            *(pane.model, pane.version, pane.arm, pane.segment, pane.segment_value),
            *(pane.start, pane.end, pane.generation, pane.partition, pane.part),
        )
        if key not in newest or newest[key].pane.snapshot < pane.snapshot:
            newest[key] = candidate
    return [one for one in newest.values() if not one.pane.retracted]


def tallies(snapshots: Iterable[Snapshot], window: int = 1) -> dict[Series, Tally]:
    """All series of windows of `window` ms, or of single panes where those are longer."""
    result: dict[Series, Tally] = defaultdict(lambda: Tally(Counter(), []))
    for pane, latencies in held(snapshots):
        length = max(window, pane.end - pane.start)
        series = Series(
            pane.start // window * window,
            length / 1000,
            *(pane.model, pane.version, pane.arm, pane.segment, pane.segment_value),
        )
        for name, value in pane.sums.items():
            result[series].sums[name] += value  # type: ignore[assignment]
        result[series].latencies.extend(latencies)
    return result


def rows(series: Series, tally: Tally) -> dict[str, Row]:
    """The rows of a series by metric, those that count nothing among them."""
    found = {}
    for metric, (numerator, denominator) in RATIOS.items():
        x = float(tally.sums[numerator])
        if denominator is None:
            found[metric] = Row(x, x, None, None, None)
            continue
        n = series.seconds if denominator == "seconds" else float(tally.sums[denominator])
        lower = upper = None
        if metric in PROPORTIONS and n and x <= n:
            interval = binomtest(int(x), int(n)).proportion_ci(0.95, "wilson")
            lower, upper = interval.low, interval.high
        found[metric] = Row(x / n if n else None, x, n, lower, upper)
    n = float(len(tally.latencies))
    for metric, q in QUANTILES.items():
        value = float(np.quantile(tally.latencies, q, method="inverted_cdf")) if n else None
        found[metric] = Row(value, None, n, None, None)
    return found
