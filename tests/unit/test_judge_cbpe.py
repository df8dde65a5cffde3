"""Performance that is estimated from scores alone, against what scikit-learn measures once the truth is
known."""

import numpy as np
import pytest
from sklearn import metrics

from schemas.records import Distribution
from streams.judge.rules import cbpe
from streams.judge.rules.cbpe import calibrated, estimate, promised
from streams.metrics.scores import tenth_of
from streams.metrics.tallies import Floats

EDGES = [i / 100 for i in range(1, 100)]
REFERENCE = Distribution(counts=[100] * 100, edges=EDGES, lowest=0.0, highest=1.0, deviation=0.29)
"""Bins so narrow that their middles are the scores, nearly."""
MEASURED = {
    "ctr": lambda y, s: y.mean(),
    "accuracy": lambda y, s: metrics.accuracy_score(y, s >= 0.5),
    "precision": lambda y, s: metrics.precision_score(y, s >= 0.5),
    "recall": lambda y, s: metrics.recall_score(y, s >= 0.5),
    "f1": lambda y, s: metrics.f1_score(y, s >= 0.5),
    "roc_auc": metrics.roc_auc_score,
    "brier": metrics.brier_score_loss,
    "log_loss": metrics.log_loss,
}


def counts(scores: Floats) -> list[int]:
    found: list[int] = np.bincount(np.searchsorted(EDGES, scores, side="right"), minlength=100).tolist()
    return found


def reliability(scores: Floats, truth: Floats) -> dict[int, list[float]]:
    tenths = np.array([tenth_of(score) for score in scores])
    return {
        tenth: [float(inside.sum()), float(scores[inside].sum()), float(truth[inside].sum())]
        for tenth in range(10)
        if (inside := tenths == tenth).any()
    }


@pytest.mark.parametrize("shape", [(2.0, 5.0), (5.0, 2.0), (0.7, 0.7)])
@pytest.mark.parametrize("metric", cbpe.METRICS)
def test_calibrated_scores_say_what_will_be_measured(metric: str, shape: tuple[float, float]) -> None:
    random = np.random.default_rng(0)
    scores = random.beta(*shape, 200_000)
    truth = (random.random(len(scores)) < scores).astype(float)
    found = promised(counts(scores), REFERENCE, {})
    assert found is not None
    assert estimate(metric, found, 0.5) == pytest.approx(MEASURED[metric](truth, scores), rel=0.02)


@pytest.mark.parametrize("metric", ["ctr", "accuracy", "precision", "recall", "f1", "roc_auc", "brier"])
def test_scores_that_promise_too_much_are_corrected_by_how_they_were_kept(metric: str) -> None:
    random = np.random.default_rng(0)
    before, now = random.beta(2, 5, 100_000), random.beta(3, 4, 200_000)
    known = (random.random(len(before)) < 0.6 * before).astype(float)
    truth = (random.random(len(now)) < 0.6 * now).astype(float)
    corrected = promised(counts(now), REFERENCE, reliability(before, known))
    assert corrected is not None
    assert estimate(metric, corrected, 0.5) == pytest.approx(MEASURED[metric](truth, now), rel=0.05)


def test_a_tenth_with_too_little_truth_is_taken_at_its_word() -> None:
    assert calibrated(0.55, {5: [99.0, 55.0, 10.0]}) == 0.55
    assert calibrated(0.55, {5: [100.0, 55.0, 11.0]}) == pytest.approx(0.11)
    assert calibrated(0.95, {9: [1_000.0, 100.0, 900.0]}) == 1.0


@pytest.mark.parametrize(
    "reference",
    [
        Distribution(counts=[1, 1], edges=[0.5], lowest=-3.0, highest=1.0),
        Distribution(counts=[1, 1], edges=[5.0], lowest=0.0, highest=10.0),
        Distribution(counts=[1, 1], edges=[0.5]),
        Distribution(counts=[1, 1], categories=["a"]),
    ],
)
def test_scores_that_are_no_probabilities_promise_nothing(reference: Distribution) -> None:
    assert promised([1, 1], reference, {}) is None


def test_no_scores_promise_nothing() -> None:
    assert promised([0] * 100, REFERENCE, {}) is None


def test_without_a_denominator_there_is_no_estimate() -> None:
    low = promised([100] + [0] * 99, REFERENCE, {})
    assert low is not None
    assert estimate("precision", low, 0.5) is None
