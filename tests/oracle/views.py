"""What the rows of `metrics` and `metrics_by_segment` must say, made from the truth by the table of the
contract's section 3; and where a view says something else."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from schemas.policies import Policy
from schemas.timeline import Timeline
from tests.oracle import judged, references, scores
from tests.oracle.measures import Tally
from tests.oracle.scores import Pair
from tests.oracle.truth import Series, Truth

COUNTS = (
    "predictions", "errors", "impressions", "clicks", "conversions",
    "late", "duplicates", "expired", "unmatched", "unanswered", "skewed", "mispartitioned", "dead_letters",
)  # fmt: skip
RATIOS = {
    "error_rate": ("errors", "predictions"),
    "ctr": ("clicks", "impressions"),
    "cvr": ("conversions", "clicks"),
    "slow_rate": ("slow", "predictions"),
    "freshness_ms": ("freshness_ms", "predictions"),
    "mrr": ("reciprocal_rank", "relevant_predictions"),
    "accuracy": ("correct", "pairs"),
    "precision": ("true_positives", "predicted_positives"),
    "recall": ("true_positives", "positives"),
    "log_loss": ("log_loss", "pairs"),
    "brier": ("squared_score_error", "pairs"),
    "calibration": ("expected_positives", "positives"),
    "mse": ("squared_error", "labelled"),
    "mae": ("absolute_error", "labelled"),
    "anomaly_rate": ("anomalies", "labelled"),
}
AT_K = {
    "recall": ("hits", "relevant"),
    "precision": ("hits", "places"),
    "hit_rate": ("hit_predictions", "relevant_predictions"),
    "ndcg": ("ndcg", "relevant_predictions"),
    "map": ("average_precision", "relevant_predictions"),
}
QUALITY = {
    "missing_rate": references.MISSING,
    "out_of_range_rate": references.OUT_OF_RANGE,
    "type_error_rate": references.TYPE_ERRORS,
    "unseen_rate": references.UNSEEN,
}
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
WITHIN = 0.0101
"""Relative error of a percentile: 1 %, and what floating-point arithmetic adds."""


class Row(NamedTuple):
    """What identifies a row of a view. `pane` is its start (ms)."""

    series: Series
    metric: str


class Value(NamedTuple):
    """What a row says. `bound` is how far the value may be from it, where that is not by a rule."""

    value: float | None
    numerator: float | None
    denominator: float | None
    final: bool = True
    bound: float = 0.0


def rows(truth: Truth, timeline: Timeline) -> dict[Row, Value]:
    """Every row with something in it that the view must have."""
    return {
        Row(series, metric): value
        for series, tally in truth.items()
        for metric, value in _metrics(tally, timeline.at(series.model, series.start))
        if value.numerator or value.denominator
    }


def _metrics(tally: Tally, policy: Policy) -> Iterator[tuple[str, Value]]:
    sums: dict[str, float] = {**tally.sums, **tally.fractions}
    for name in COUNTS:
        if sums.get(name):
            yield name, Value(sums[name], sums[name], None)
    if not sums.get("predictions"):
        return
    seconds = policy.pane / 1000
    yield "throughput_rps", Value(sums["predictions"] / seconds, sums["predictions"], seconds)
    for name, (numerator, denominator) in (RATIOS | _at(policy.k)).items():
        yield name, _ratio(sums.get(numerator, 0), sums.get(denominator, 0))
    yield (
        "f1",
        _ratio(
            2 * sums.get("true_positives", 0), sums.get("positives", 0) + sums.get("predicted_positives", 0)
        ),
    )
    for name, place in QUALITY.items():
        values, odd = (
            sum(counts[p] for counts in tally.quality.values()) for p in (references.VALUES, place)
        )
        yield name, _ratio(odd, values)
    yield from _latencies(sorted(tally.latencies))
    yield from _binned(tally.pairs)


def _at(ks: Sequence[int]) -> dict[str, tuple[str, str]]:
    """The ratios of the ranking metrics with a cut-off."""
    has_k = ("hits", "places", "hit_predictions", "ndcg", "average_precision")
    return {
        f"{name}@{k}": (f"{above}@{k}", f"{below}@{k}" if below in has_k else below)
        for name, (above, below) in AT_K.items()
        for k in ks
    }


def _latencies(latencies: Sequence[float]) -> Iterator[tuple[str, Value]]:
    yield "latency_mean_ms", _ratio(sum(latencies), len(latencies))
    if latencies:
        for name, q in QUANTILES.items():
            rank = math.ceil(q * len(latencies))
            yield f"latency_{name}_ms", Value(latencies[rank - 1], None, len(latencies))


def _binned(pairs: Sequence[Pair]) -> Iterator[tuple[str, Value]]:
    """ROC-AUC by scikit-learn, of the scores themselves: what the bins make of it is compared within
    `bound`. Its denominator is the pairs of a positive and a negative."""
    positives = sum(pair.positive for pair in pairs)
    if 0 < positives < len(pairs):
        given, truth = [pair.score for pair in pairs], [pair.positive for pair in pairs]
        area, bound = judged.roc_auc(given, truth)
        yield "roc_auc", Value(area, None, positives * (len(pairs) - positives), bound=bound)
    if pairs:
        tenths = scores.reliability(pairs).values()
        yield "ece", _ratio(sum(abs(said - came) for _, said, came in tenths), len(pairs))


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


FRACTIONS = ("mrr", "ndcg", "map", "log_loss", "brier", "ece", "calibration", "mse", "mae", "latency_mean_ms")
"""Metrics whose sums are no whole numbers."""


def _agree(metric: str, wanted: Value, got: Value) -> bool:
    if wanted.numerator is None:
        if wanted.value is None or got.value is None:
            return wanted.value is got.value and wanted.denominator == got.denominator
        within = WITHIN if metric.startswith("latency_p") else 0.0
        alike = math.isclose(wanted.value, got.value, rel_tol=within, abs_tol=wanted.bound + 1e-9)
        return alike and wanted.denominator == got.denominator
    near = 1e-6 if metric.partition("@")[0] in FRACTIONS else 1e-12
    pairs = zip(wanted[:3], got[:3], strict=True)
    return got.final and all(_equal(one, other, near) for one, other in pairs)


def _equal(one: float | None, other: float | None, near: float) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=near, abs_tol=near if near > 1e-9 else 0.0)


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
