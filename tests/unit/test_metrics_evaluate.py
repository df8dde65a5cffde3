"""What the metrics say of tallies, against scikit-learn and numpy on the values themselves."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics as sklearn
from sklearn.calibration import calibration_curve

from streams.metrics import scores
from streams.metrics.catalogue import QUANTILES, find
from streams.metrics.evaluate import Row, evaluate, rows
from streams.metrics.histogram import bin_of
from streams.metrics.tallies import EMPTY, Tally, merge

Floats = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]


def row(name: str, *tallies: Tally, seconds: float = 10.0) -> Row:
    metric = find(name)
    assert metric is not None
    return evaluate(metric, tallies, seconds)


def value(name: str, *tallies: Tally) -> float | None:
    return row(name, *tallies).value


def pairs(seed: int, number: int = 400, separation: float = 1.0, digits: int = 3) -> tuple[Truths, Floats]:
    """Scores that are rather higher where the truth is 1, with ties."""
    random = np.random.default_rng(seed)
    truth = random.random(number) < 0.3
    logit = random.normal(np.where(truth, separation, -separation), 1.5)
    return truth, np.round(1 / (1 + np.exp(-logit)), digits).clip(0.0, 1.0)


def classified(truth: Truths, score: Floats, threshold: float = 0.5) -> Tally:
    """What a pane tallies of pairs, by the definitions of its sums."""
    said = score >= threshold
    clipped = score.clip(1e-15, 1 - 1e-15)
    tenths = [scores.tenth_of(one) for one in score]
    return Tally(
        sums={
            "predictions": 1.0,
            "pairs": float(len(truth)),
            "positives": float(truth.sum()),
            "predicted_positives": float(said.sum()),
            "true_positives": float((truth & said).sum()),
            "correct": float((truth == said).sum()),
            "log_loss": float(-np.log(np.where(truth, clipped, 1 - clipped)).sum()),
            "squared_score_error": float(((score - truth) ** 2).sum()),
            "expected_positives": float(score.sum()),
        },
        positive_scores=Counter(scores.bin_of(one) for one in score[truth]),
        negative_scores=Counter(scores.bin_of(one) for one in score[~truth]),
        reliability={
            tenth: [float(np.sum(here)), float(score[here].sum()), float(truth[here].sum())]
            for tenth in set(tenths)
            for here in [np.array(tenths) == tenth]
        },
    )


# Classification


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("accuracy", lambda truth, score: sklearn.accuracy_score(truth, score >= 0.5)),
        ("precision", lambda truth, score: sklearn.precision_score(truth, score >= 0.5)),
        ("recall", lambda truth, score: sklearn.recall_score(truth, score >= 0.5)),
        ("f1", lambda truth, score: sklearn.f1_score(truth, score >= 0.5)),
        ("log_loss", lambda truth, score: sklearn.log_loss(truth, score.clip(1e-15, 1 - 1e-15))),
        ("brier", sklearn.brier_score_loss),
    ],
)
def test_classification_is_scikit_learns(seed: int, name: str, oracle: object) -> None:
    truth, score = pairs(seed)
    expected = oracle(truth, score)  # type: ignore[operator]
    assert value(name, classified(truth, score)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("separation", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("digits", [1, 2, 6])
@pytest.mark.parametrize("seed", range(3))
def test_roc_auc_is_off_by_half_the_probability_that_a_positive_and_a_negative_share_a_bin_at_most(
    seed: int, digits: int, separation: float
) -> None:
    truth, score = pairs(seed, separation=separation, digits=digits)
    bins = np.array([scores.bin_of(one) for one in score])
    together = bins[truth][:, np.newaxis] == bins[~truth]
    tied = score[truth][:, np.newaxis] == score[~truth]
    bound = (together & ~tied).mean() / 2
    found = value("roc_auc", classified(truth, score))
    assert found == pytest.approx(sklearn.roc_auc_score(truth, score), abs=bound + 1e-12)
    assert bound < 0.01


def test_roc_auc_is_exact_where_no_two_different_scores_share_a_bin() -> None:
    truth, score = pairs(7, digits=1)
    score = score.clip(0.1, 0.9)
    assert value("roc_auc", classified(truth, score)) == pytest.approx(
        sklearn.roc_auc_score(truth, score), rel=1e-12
    )


def test_the_bound_of_roc_auc_is_reached() -> None:
    """All scores in one bin: the area is 1, what is found is 1/2."""
    truth, score = np.array([True, False]), np.array([0.5001, 0.5])
    assert sklearn.roc_auc_score(truth, score) == 1.0
    assert value("roc_auc", classified(truth, score)) == 0.5


def test_the_bins_of_scores_keep_their_order() -> None:
    ordered = np.sort(
        np.concatenate([np.random.default_rng(1).random(1_000), [0.0, 1.0, 5e-324, 1 - 1e-16, 1e-9]])
    )
    assert (np.diff([scores.bin_of(score) for score in ordered]) >= 0).all()


def test_ece_is_the_gap_of_scikit_learns_calibration_curve_weighted_by_pairs() -> None:
    truth, score = pairs(3, digits=6)
    shares, means = calibration_curve(truth, score, n_bins=10)
    counts = np.histogram(score, bins=10, range=(0, 1))[0]
    expected = (np.abs(shares - means) * counts[counts > 0]).sum() / len(score)
    assert value("ece", classified(truth, score)) == pytest.approx(expected, rel=1e-9)


def test_calibration_is_what_scores_promise_by_what_came() -> None:
    truth, score = pairs(5)
    assert value("calibration", classified(truth, score)) == pytest.approx(
        score.sum() / truth.sum(), rel=1e-12
    )


def test_without_pairs_classification_has_no_value() -> None:
    names = ["accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "brier", "ece", "calibration"]
    assert {name: value(name, EMPTY) for name in names} == dict.fromkeys(names)


@pytest.mark.parametrize("truth", [[True, True], [False, False]])
def test_of_one_class_alone_there_is_no_roc_auc(truth: Sequence[bool]) -> None:
    found = row("roc_auc", classified(np.array(truth), np.array([0.2, 0.8])))
    assert (found.value, found.denominator, found.lower, found.upper) == (None, 0.0, None, None)


# Latency


@pytest.mark.parametrize("number", [1, 2, 10, 999, 5_000])
def test_percentiles_are_within_1_percent_of_numpys_order_statistics(number: int) -> None:
    latencies = np.random.default_rng(number).lognormal(3, 1, number)
    tally = Tally(latency=Counter(bin_of(float(one)) for one in latencies))
    for metric in QUANTILES:
        found = evaluate(metric, [tally], 10.0)
        expected = np.quantile(latencies, metric.q, method="inverted_cdf")
        assert found.value == pytest.approx(expected, rel=0.01)
        assert found.denominator == number


def test_the_bounds_of_a_percentile_hold_the_populations_in_at_least_19_of_20_samples_or_nearly() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        tally = Tally(latency=Counter(bin_of(float(one)) for one in random.exponential(100, 500)))
        found = row("latency_p90_ms", tally)
        assert found.lower is not None and found.upper is not None
        held += found.lower / 1.01 <= -100 * np.log(0.1) <= found.upper * 1.01
    assert held / 400 > 0.93


def test_where_too_few_values_are_beyond_a_percentile_it_has_no_upper_bound() -> None:
    found = row("latency_p999_ms", Tally(latency={bin_of(10.0): 100}))
    assert found.lower is not None
    assert found.upper is None


# Ratios


def test_a_ratio_is_the_ratio_of_all_tallies_together_not_the_mean_of_theirs() -> None:
    busy = Tally(sums={"clicks": 10.0, "impressions": 1000.0})
    quiet = Tally(sums={"clicks": 1.0, "impressions": 2.0})
    assert value("ctr", busy, quiet) == 11 / 1002


def test_throughput_divides_by_the_windows_length() -> None:
    assert row("throughput_rps", Tally(sums={"predictions": 30.0}), seconds=60.0).value == 0.5


def test_quality_rates_are_over_all_features() -> None:
    tally = Tally(quality={"age": [10, 1, 2, 0, 0], "city": [30, 0, 0, 3, 4]})
    found = [
        row(name, tally) for name in ("missing_rate", "out_of_range_rate", "type_error_rate", "unseen_rate")
    ]
    assert [one.value for one in found] == [1 / 40, 2 / 40, 3 / 40, 4 / 40]
    assert {one.denominator for one in found} == {40.0}


def test_a_count_has_its_value_as_numerator_and_no_denominator() -> None:
    assert row("late", Tally(sums={"late": 3.0})) == Row("late", 3.0, 3.0, None)


def test_a_mean_of_fractions_has_bounds_and_one_of_amounts_has_none() -> None:
    tally = Tally(
        sums={"ndcg@5": 40.0, "relevant_predictions@5": 50.0, "squared_error": 7.0, "labelled": 9.0}
    )
    ndcg, mse = row("ndcg@5", tally), row("mse", tally)
    assert ndcg.lower is not None and ndcg.upper is not None
    assert 0.6 < ndcg.lower < 0.8 < ndcg.upper < 0.95
    assert (mse.lower, mse.upper) == (None, None)


# Rows


def test_rows_stand_in_the_catalogues_order_with_cut_offs_ascending() -> None:
    tally = Tally(sums={"predictions": 1.0, "hits@10": 0.0, "hits@5": 0.0})
    names = [one.metric for one in rows(tally, 10.0)]
    assert names[:2] == ["predictions", "errors"]
    assert [name for name in names if "@" in name] == ["recall@5", "recall@10", "precision@5", "precision@10"]


def test_without_predictions_there_are_rows_for_what_is_counted_only() -> None:
    assert rows(Tally(sums={"late": 2.0, "skewed": 0.0}), 10.0) == [Row("late", 2.0, 2.0, None)]


def test_evaluating_several_tallies_is_evaluating_their_merge() -> None:
    several = [classified(*pairs(seed)) for seed in range(3)]
    for name in ("roc_auc", "ece", "f1", "log_loss", "accuracy"):
        assert row(name, *several) == row(name, merge(several))
