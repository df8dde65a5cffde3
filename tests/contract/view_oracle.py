"""What the views must show, worked out again from snapshots of panes: plain Python over the contract's
section 3, classification by scikit-learn, proportions' intervals by scipy, order statistics by numpy over the
latencies themselves.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, norm
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from schemas.records import Pane
from streams.metrics import scores
from streams.metrics.histogram import bin_of

Floats = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]

THRESHOLD = 0.5
COUNTS = (
    *("predictions", "errors", "impressions", "clicks", "conversions"),
    *("late", "duplicates", "expired", "unmatched", "unanswered"),
    *("skewed", "mispartitioned", "dead_letters", "incomplete"),
)
RATIOS: dict[str, tuple[str, str]] = {
    "error_rate": ("errors", "predictions"),
    "throughput_rps": ("predictions", "seconds"),
    "ctr": ("clicks", "impressions"),
    "cvr": ("conversions", "clicks"),
    "recall@5": ("hits@5", "relevant"),
    "recall@10": ("hits@10", "relevant"),
    "precision@5": ("hits@5", "places@5"),
    "precision@10": ("hits@10", "places@10"),
    "hit_rate@5": ("hit_predictions@5", "relevant_predictions"),
    "hit_rate@10": ("hit_predictions@10", "relevant_predictions"),
    "mrr": ("reciprocal_rank", "relevant_predictions"),
    "ndcg@5": ("ndcg@5", "relevant_predictions"),
    "ndcg@10": ("ndcg@10", "relevant_predictions"),
    "map@5": ("average_precision@5", "relevant_predictions"),
    "map@10": ("average_precision@10", "relevant_predictions"),
    "mse": ("squared_error", "labelled"),
    "mae": ("absolute_error", "labelled"),
    "anomaly_rate": ("anomalies", "labelled"),
    "slow_rate": ("slow", "predictions"),
    "latency_mean_ms": ("latency_ms", "timed"),
    "freshness_ms": ("freshness_ms", "predictions"),
}
PROPORTIONS = {
    *("error_rate", "ctr", "slow_rate", "anomaly_rate"),
    *("recall@5", "recall@10", "precision@5", "precision@10", "hit_rate@5", "hit_rate@10"),
    *("accuracy", "precision", "recall"),
    *("missing_rate", "out_of_range_rate", "type_error_rate", "unseen_rate"),
}
FRACTIONS = {"mrr", "ndcg@5", "ndcg@10", "map@5", "map@10", "brier"}
"""Means of values from 0 to 1; their bounds are Wilson's too, with a sum that is no whole number."""
QUALITY = ("missing_rate", "out_of_range_rate", "type_error_rate", "unseen_rate")
QUANTILES = {
    "latency_p50_ms": 0.5,
    "latency_p90_ms": 0.9,
    "latency_p95_ms": 0.95,
    "latency_p99_ms": 0.99,
    "latency_p999_ms": 0.999,
}


class Pair(NamedTuple):
    """A score in [0, 1], and whether it came true."""

    score: float
    truth: bool


class Snapshot(NamedTuple):
    """A snapshot of a pane, with the latencies (ms) and the scores that its bins were made from."""

    pane: Pane
    latencies: Sequence[float]
    pairs: Sequence[Pair]


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
    """All that belongs to a series. `quality`: of all features together."""

    sums: Counter[str]
    latencies: list[float]
    pairs: list[Pair]
    quality: list[int]


class Row(NamedTuple):
    """A row of a view, but for what tells it from others."""

    value: float | None
    numerator: float | None
    denominator: float | None
    lower: float | None
    upper: float | None


def snapshot(pane: Pane, latencies: Sequence[float] = (), pairs: Sequence[Pair] = ()) -> Snapshot:
    """A pane with the bins of `latencies` and of the scores of `pairs`, and the pairs' sums."""
    pane.latency = dict(Counter(bin_of(value) for value in latencies))
    pane.positive_scores = dict(Counter(scores.bin_of(pair.score) for pair in pairs if pair.truth))
    pane.negative_scores = dict(Counter(scores.bin_of(pair.score) for pair in pairs if not pair.truth))
    for pair in pairs:
        bin_ = pane.reliability.setdefault(scores.tenth_of(pair.score), [0.0, 0.0, 0.0])
        for place, value in enumerate((1.0, pair.score, float(pair.truth))):
            bin_[place] += value
    sums = {
        "pairs": len(pairs),
        "positives": sum(pair.truth for pair in pairs),
        "predicted_positives": sum(pair.score >= THRESHOLD for pair in pairs),
        "true_positives": sum(pair.truth and pair.score >= THRESHOLD for pair in pairs),
        "correct": sum(pair.truth == (pair.score >= THRESHOLD) for pair in pairs),
        "log_loss": -sum(math.log(pair.score if pair.truth else 1 - pair.score) for pair in pairs),
        "squared_score_error": sum((pair.score - pair.truth) ** 2 for pair in pairs),
        "expected_positives": sum(pair.score for pair in pairs),
    }
    pane.sums = pane.sums | {name: float(value) for name, value in sums.items() if value}
    return Snapshot(pane, latencies, pairs)


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
    result: dict[Series, Tally] = defaultdict(lambda: Tally(Counter(), [], [], [0] * 5))
    for pane, latencies, pairs in held(snapshots):
        length = max(window, pane.end - pane.start)
        series = Series(
            pane.start // window * window,
            length / 1000,
            *(pane.model, pane.version, pane.arm, pane.segment, pane.segment_value),
        )
        for name, value in pane.sums.items():
            result[series].sums[name] += value  # type: ignore[assignment]
        result[series].latencies.extend(latencies)
        result[series].pairs.extend(pairs)
        for counts in pane.quality.values():
            for place, count in enumerate(counts):
                result[series].quality[place] += count
    return result


def rows(series: Series, tally: Tally) -> dict[str, Row]:
    """The rows of a series by metric, those that count nothing among them."""
    found = {name: Row(x, x, None, None, None) for name in COUNTS for x in [float(tally.sums[name])]}
    for metric, (numerator, denominator) in RATIOS.items():
        n = series.seconds if denominator == "seconds" else float(tally.sums[denominator])
        found[metric] = _ratio(metric, float(tally.sums[numerator]), n)
    for metric, count in zip(QUALITY, tally.quality[1:], strict=True):
        found[metric] = _ratio(metric, count, tally.quality[0])
    found |= _classified(tally.pairs)
    ordered = sorted(tally.latencies)
    for metric, q in QUANTILES.items():
        found[metric] = _quantile(ordered, q)
    return found


def _ratio(metric: str, x: float, n: float) -> Row:
    lower = upper = None
    if metric in PROPORTIONS and n and 0 <= x <= n:
        interval = binomtest(int(x), int(n)).proportion_ci(0.95, "wilson")
        lower, upper = interval.low, interval.high
    if metric in FRACTIONS and n and 0 <= x <= n:
        lower, upper = _roots(x / n, n)
    return Row(x / n if n else None, x, n, lower, upper)


def _roots(mean: float, n: float) -> tuple[float, float]:
    """Wilson's bounds by their definition: where (mean − p)² = z² p (1 − p) / n."""
    z2 = norm.ppf(0.975) ** 2
    lower, upper = sorted(np.roots([1 + z2 / n, -2 * mean - z2 / n, mean * mean]).real)
    return max(0.0, float(lower)), min(1.0, float(upper))


def _classified(pairs: Sequence[Pair]) -> dict[str, Row]:
    score = np.array([pair.score for pair in pairs])
    truth = np.array([pair.truth for pair in pairs], bool)
    said = score >= THRESHOLD
    n, positives, predicted = float(len(pairs)), float(truth.sum()), float(said.sum())
    hits = float((truth & said).sum())
    found = {
        "accuracy": _ratio("accuracy", float((truth == said).sum()), n),
        "precision": _ratio("precision", hits, predicted),
        "recall": _ratio("recall", hits, positives),
        "f1": _ratio("f1", 2 * hits, positives + predicted),
        "log_loss": _ratio("log_loss", log_loss(truth, score, labels=[0, 1]) * n if n else 0.0, n),
        "brier": _ratio("brier", brier_score_loss(truth, score) * n if n else 0.0, n),
        "calibration": _ratio("calibration", float(score.sum()), positives),
        "roc_auc": _area(truth, score),
        "ece": _ece(truth, score),
    }
    if n:
        assert found["accuracy"].value == accuracy_score(truth, said)
        assert found["precision"].value in (None, precision_score(truth, said, zero_division=np.nan))
        assert found["recall"].value in (None, recall_score(truth, said, zero_division=np.nan))
        assert found["f1"].value in (None, f1_score(truth, said, zero_division=np.nan))
    return found


def _area(truth: Truths, score: Floats) -> Row:
    """scikit-learn's, of scores that are bins; the standard error as in the paper of 1982."""
    p, n = float(truth.sum()), float((~truth).sum())
    if not p * n:
        return Row(None, 0.0, 0.0, None, None)
    area = float(roc_auc_score(truth, [scores.bin_of(value) for value in score]))
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (p - 1) * (q1 - area**2) + (n - 1) * (q2 - area**2)) / (p * n)
    margin = norm.ppf(0.975) * math.sqrt(max(variance, 0.0))
    return Row(area, area * p * n, p * n, max(0.0, area - margin), min(1.0, area + margin))


def _ece(truth: Truths, score: Floats) -> Row:
    bins = np.clip(np.digitize(score, np.arange(1, 10) / 10), 0, 9)
    gaps = [abs(score[bins == bin_].sum() - truth[bins == bin_].sum()) for bin_ in range(10)]
    return _ratio("ece", float(sum(gaps)), float(len(score)))


def _quantile(ordered: Sequence[float], q: float) -> Row:
    """The order statistics between which the quantile lies by Conover's rule, where there are such."""
    n = len(ordered)
    if not n:
        return Row(None, None, 0.0, None, None)
    margin = norm.ppf(0.975) * math.sqrt(n * q * (1 - q))
    lower, upper = (
        ordered[rank - 1] if 1 <= rank <= n else None
        for rank in (math.ceil(n * q - margin), math.ceil(n * q + margin))
    )
    return Row(float(np.quantile(ordered, q, method="inverted_cdf")), None, float(n), lower, upper)
