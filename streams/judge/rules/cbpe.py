"""How well a model does before anybody has answered: what its scores promise, corrected by how such promises
were kept so far.

Confidence-based performance estimation (NannyML's CBPE; J. Białek and others, "Estimating Model Performance
Under Covariate Shift Without Labels", 2024): a calibrated score is the probability of a positive, so each
prediction's share in the confusion matrix is known in expectation. It sees covariate shift; a change of what
follows from the same inputs (concept drift) it cannot see, so what it says is an estimate and no proof.

Here of counts by bins: scores by the bins of their reference profile, calibration by tenths of the score.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from schemas.records import Distribution
from streams.metrics.scored import tenth_of
from streams.metrics.tallies import Floats

PAIRS = 100.0
"""A tenth with fewer pairs of score and truth is taken at its word."""
CLIP = 1e-15
"""Scores closer to 0 or 1 are taken as so close in the log loss, as the catalogue does."""

Reliability = Mapping[int, Sequence[float]]


class Promised(NamedTuple):
    """Scores by bin, each of shape (bins,): how many, their score, and the probability of a positive."""

    counts: Floats
    scores: Floats
    chances: Floats


def promised(counts: Sequence[int], reference: Distribution, reliability: Reliability) -> Promised | None:
    """What `counts` by the reference's bins promise; None where scores are no probabilities, or there are
    none.
    """
    middles = _middles(reference)
    if middles is None or sum(counts) == 0:
        return None
    chances = np.array([calibrated(score, reliability) for score in middles])
    return Promised(np.array(counts, np.float64), middles, chances)


def calibrated(score: float, reliability: Reliability) -> float:
    """The share of positives that scores of this tenth had, scaled to the score within it; the score itself
    where the tenth had too few pairs.

    >>> calibrated(0.5, {5: [1000.0, 550.0, 275.0]})
    0.25
    """
    pairs, scores, positives = reliability.get(tenth_of(score), (0.0, 0.0, 0.0))
    if pairs < PAIRS or not scores > 0:
        return score
    return min(1.0, score * positives / scores)


def _middles(reference: Distribution) -> Floats | None:
    """The scores that stand for the bins; None where they are not from 0 to 1."""
    low, high = reference.lowest, reference.highest
    if reference.edges is None or low is None or high is None or low < 0 or high > 1:
        return None
    bounds = np.array([low, *reference.edges, max(high, reference.edges[-1])])
    middles: Floats = np.clip((bounds[:-1] + bounds[1:]) / 2, 0.0, 1.0)
    return middles


def _click_rate(of: Promised, threshold: float) -> float | None:
    return _ratio((of.counts * of.chances).sum(), of.counts.sum())


def _accuracy(of: Promised, threshold: float) -> float | None:
    right = np.where(of.scores >= threshold, of.chances, 1 - of.chances)
    return _ratio((of.counts * right).sum(), of.counts.sum())


def _precision(of: Promised, threshold: float) -> float | None:
    chosen = of.scores >= threshold
    return _ratio((of.counts * of.chances)[chosen].sum(), of.counts[chosen].sum())


def _recall(of: Promised, threshold: float) -> float | None:
    positives = of.counts * of.chances
    return _ratio(positives[of.scores >= threshold].sum(), positives.sum())


def _f1(of: Promised, threshold: float) -> float | None:
    chosen, positives = of.scores >= threshold, of.counts * of.chances
    return _ratio(2 * positives[chosen].sum(), positives.sum() + of.counts[chosen].sum())


def _roc_auc(of: Promised, threshold: float) -> float | None:
    order = np.argsort(of.scores, kind="stable")
    positives = (of.counts * of.chances)[order]
    negatives = (of.counts * (1 - of.chances))[order]
    below = np.cumsum(negatives) - negatives / 2
    return _ratio((positives * below).sum(), positives.sum() * negatives.sum())


def _brier(of: Promised, threshold: float) -> float | None:
    error = of.chances * (1 - of.scores) ** 2 + (1 - of.chances) * of.scores**2
    return _ratio((of.counts * error).sum(), of.counts.sum())


def _log_loss(of: Promised, threshold: float) -> float | None:
    scores = np.clip(of.scores, CLIP, 1 - CLIP)
    loss = of.chances * np.log(scores) + (1 - of.chances) * np.log(1 - scores)
    return _ratio(-(of.counts * loss).sum(), of.counts.sum())


METRICS: Mapping[str, Callable[[Promised, float], float | None]] = {
    "ctr": _click_rate,
    "accuracy": _accuracy,
    "precision": _precision,
    "recall": _recall,
    "f1": _f1,
    "roc_auc": _roc_auc,
    "brier": _brier,
    "log_loss": _log_loss,
}
"""What can be estimated. `ctr` is the share of positives among all items, shown or not: as a rate by itself
it is too low, but its change is what shown items see too."""


def estimate(metric: str, of: Promised, threshold: float) -> float | None:
    """The metric that is to be expected; None where it has no denominator. Raises KeyError for one that
    cannot be estimated.
    """
    return METRICS[metric](of, threshold)


def _ratio(numerator: float, denominator: float) -> float | None:
    return float(numerator / denominator) if denominator > 0 else None
