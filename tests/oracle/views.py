"""What the rows of `metrics` and `metrics_by_segment` must say, made from the truth by the table of the
contract's section 3; and where a view says something else."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from schemas.policies import Policy
from schemas.timeline import Timeline
from tests.oracle.truth import Series, Tally, Truth

COUNTS = (
    "predictions", "errors", "impressions", "clicks", "conversions",
    "late", "duplicates", "expired", "unmatched", "unanswered", "skewed", "mispartitioned", "dead_letters",
)  # fmt: skip
RATIOS = {
    "error_rate": ("errors", "predictions"),
    "ctr": ("clicks", "impressions"),
    "cvr": ("conversions", "clicks"),
    "slow_rate": ("slow", "predictions"),
}
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
WITHIN = 0.0101
"""Relative error of a percentile: 1 %, and what floating-point arithmetic adds."""


class Row(NamedTuple):
    """What identifies a row of a view. `pane` is its start (ms)."""

    series: Series
    metric: str


class Value(NamedTuple):
    """What a row says."""

    value: float | None
    numerator: float | None
    denominator: float | None
    final: bool = True


def rows(truth: Truth, timeline: Timeline) -> dict[Row, Value]:
    """Every row with something in it that the view must have."""
    return {
        Row(series, metric): value
        for series, tally in truth.items()
        for metric, value in _metrics(tally, timeline.at(series.model, series.start))
        if value.numerator or value.denominator
    }


def _metrics(tally: Tally, policy: Policy) -> Iterator[tuple[str, Value]]:
    sums = tally.sums
    for name in COUNTS:
        if sums[name]:
            yield name, Value(sums[name], sums[name], None)
    if not sums["predictions"]:
        return
    seconds = policy.pane / 1000
    yield "throughput_rps", Value(sums["predictions"] / seconds, sums["predictions"], seconds)
    ratios = RATIOS | {f"recall@{k}": (f"hits@{k}", "relevant") for k in policy.k}
    for name, (numerator, denominator) in ratios.items():
        yield name, _ratio(sums[numerator], sums[denominator])
    latencies = sorted(tally.latencies)
    yield "latency_mean_ms", _ratio(sum(latencies), len(latencies))
    if latencies:
        for name, q in QUANTILES.items():
            rank = math.ceil(q * len(latencies))
            yield f"latency_{name}_ms", Value(latencies[rank - 1], None, len(latencies))


def _ratio(numerator: float, denominator: float) -> Value:
    return Value(numerator / denominator if denominator else None, numerator, denominator)


def disagreements(expected: Mapping[Row, Value], found: Mapping[Row, Value]) -> list[str]:
    """One line for each row that is missing, differs, or says something of nothing: counts exactly,
    percentiles within 1 %."""
    lines = []
    for row in sorted(expected.keys() | found.keys()):
        wanted, got = expected.get(row), found.get(row)
        if got is None:
            lines.append(f"{row}: found no row, expected {wanted}")
        elif wanted is None:
            if got.numerator or (got.denominator and row.metric.startswith("latency")):
                lines.append(f"{row}: found {got}, expected nothing in it")
        elif not _agree(row.metric, wanted, got):
            lines.append(f"{row}: found {got}, expected {wanted}")
    return lines


def _agree(metric: str, wanted: Value, got: Value) -> bool:
    if metric.startswith("latency_p"):
        return (
            wanted.value is not None
            and got.value is not None
            and math.isclose(wanted.value, got.value, rel_tol=WITHIN)
            and wanted.denominator == got.denominator
        )
    exact = metric != "latency_mean_ms"
    pairs = zip(wanted[:3], got[:3], strict=True)
    return got.final and all(_equal(one, other, 0.0 if exact else 1e-9) for one, other in pairs)


def _equal(one: float | None, other: float | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=max(tolerance, 1e-12))


def read(columns: Iterable[Sequence[object]], *, segments: bool = False) -> dict[Row, Value]:
    """Rows as a client answers them: pane (ms), model, version, arm, segment, segment_value, metric, value,
    numerator, denominator, final."""
    found: dict[Row, Value] = {}
    for pane, model, version, arm, segment, value_, metric, value, numerator, denominator, final in columns:
        series = Series(str(model), str(version), str(arm), str(segment), str(value_), int(str(pane)))
        row = Row(series, str(metric))
        assert row not in found, f"two rows of one metric: {row}"
        found[row] = Value(_number(value), _number(numerator), _number(denominator), bool(final))
    assert all(bool(row.series.segment) == segments for row in found)
    return found


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))
