"""What scikit-learn says of scores and outcomes, under the catalogue's names."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn import metrics as sklearn

from tests.oracle.scores import CLIP, Pair, histogram


def classification(scores: Sequence[float], outcomes: Sequence[bool], threshold: float) -> dict[str, float]:
    """All metrics of classification but ROC-AUC; scores in single precision but for the threshold."""
    given, kept = np.asarray(scores), np.asarray(scores, np.float32).astype(float)
    truth, guess = np.asarray(outcomes), given >= threshold
    return {
        "accuracy": float(sklearn.accuracy_score(truth, guess)),
        "precision": float(sklearn.precision_score(truth, guess, zero_division=0)),
        "recall": float(sklearn.recall_score(truth, guess, zero_division=0)),
        "f1": float(sklearn.f1_score(truth, guess, zero_division=0)),
        "log_loss": float(sklearn.log_loss(truth, np.clip(kept, CLIP, 1 - CLIP), labels=[False, True])),
        "brier": float(sklearn.brier_score_loss(truth, kept)),
        "calibration": float(kept.sum() / truth.sum()) if truth.any() else 0.0,
    }


def roc_auc(scores: Sequence[float], outcomes: Sequence[bool]) -> tuple[float, float]:
    """The area under the curve, and how far one made of binned scores may be from it: half the chance that a
    positive and a negative share a bin, by which they count as tied."""
    pairs = [Pair(float(np.float32(s)), o, False) for s, o in zip(scores, outcomes, strict=True)]
    positive, negative = (_bins(pairs, positive=side) for side in (True, False))
    together = sum(count * negative[bin_] for bin_, count in positive.items())
    bound = together / positive.total() / negative.total() / 2
    return float(sklearn.roc_auc_score(outcomes, [pair.score for pair in pairs])), bound


def expected_calibration_error(scores: Sequence[float], outcomes: Sequence[bool]) -> float:
    """Over ten bins of equal width, by numpy's histograms: the mean distance of score and outcome in a
    bin, by how many are in it. C. Guo and others, "On Calibration of Modern Neural Networks", ICML
    2017."""
    kept, truth = np.asarray(scores, np.float32).astype(float), np.asarray(outcomes, float)
    edges = np.arange(11) / 10
    total, of_truth = (np.histogram(kept, edges, weights=weights)[0] for weights in (kept, truth))
    return float(np.abs(total - of_truth).sum() / len(kept))


def _bins(pairs: Sequence[Pair], *, positive: bool) -> Counter[int]:
    return histogram(pairs, positive=positive)
