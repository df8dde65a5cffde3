"""The catalogue of metrics: what it has, what it is called, and what versions can be compared by."""

import pytest

from streams.metrics.catalogue import METRICS, Binned, Good, Quantile, Ratio, find

CONTRACT = [
    *("predictions", "errors", "error_rate", "throughput_rps", "impressions", "clicks", "ctr"),
    *("conversions", "cvr", "recall@5", "precision@5", "hit_rate@5", "mrr", "ndcg@5", "map@5"),
    *("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "brier", "ece", "calibration"),
    *("mse", "mae", "anomaly_rate", "slow_rate", "latency_mean_ms", "freshness_ms"),
    *("latency_p50_ms", "latency_p90_ms", "latency_p95_ms", "latency_p99_ms", "latency_p999_ms"),
    *("missing_rate", "out_of_range_rate", "type_error_rate", "unseen_rate"),
    *("late", "duplicates", "expired", "unmatched", "unanswered"),
    *("skewed", "mispartitioned", "dead_letters", "incomplete"),
]
"""The metrics of the contract's section 3, but for drift, which is of one feature."""


@pytest.mark.parametrize("name", CONTRACT)
def test_every_metric_of_the_contract_is_found_by_its_written_out_name(name: str) -> None:
    metric = find(name)
    assert metric is not None
    assert metric.name == name
    assert metric.doc


def test_no_other_metric_and_none_twice() -> None:
    names = [metric.name for metric in METRICS]
    assert sorted(names) == sorted(name.replace("@5", "@k") for name in CONTRACT)


def test_a_cut_off_is_written_out_in_the_sums_that_have_one() -> None:
    metric = find("precision@10")
    assert isinstance(metric, Ratio)
    assert metric.sums == ("hits@10", "places@10")
    recall = find("recall@3")
    assert isinstance(recall, Ratio)
    assert recall.sums == ("hits@3", "relevant@3")


@pytest.mark.parametrize(
    "name",
    ["", "recall@", "recall@k", "recall@0", "recall@05", "recall@-1", "recall@²", "ctr@5", "mrr@5", "hits@5"],
)
def test_what_is_no_metric_is_not_found(name: str) -> None:
    assert find(name) is None


def test_a_sum_that_counts_twice_is_named_once_among_the_sums() -> None:
    metric = find("f1")
    assert isinstance(metric, Ratio)
    assert metric.numerator == ("true_positives", "true_positives")
    assert metric.sums == ("true_positives", "positives", "predicted_positives")


@pytest.mark.parametrize(
    "name", ["ctr", "cvr", "error_rate", "slow_rate", "recall@5", "ndcg@5", "f1", "mse", "brier"]
)
def test_versions_can_be_compared_by_ratios_that_are_good_or_bad(name: str) -> None:
    metric = find(name)
    assert isinstance(metric, Ratio)
    assert metric.testable


@pytest.mark.parametrize(
    "name", ["clicks", "predictions", "throughput_rps", "calibration", "missing_rate", "late"]
)
def test_versions_cannot_be_compared_by_counts_or_what_is_not_kept_by_user(name: str) -> None:
    metric = find(name)
    assert isinstance(metric, Ratio)
    assert not metric.testable


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_what_is_of_final_panes_only_waits_for_feedback_too(metric: Ratio | Quantile | Binned) -> None:
    assert metric.feedback or not metric.final


def test_errors_and_losses_are_good_when_low_and_ranking_when_high() -> None:
    low = {name for name in CONTRACT if getattr(find(name), "good", None) is Good.LOW}
    assert {
        "error_rate",
        "log_loss",
        "brier",
        "ece",
        "mse",
        "mae",
        "latency_p99_ms",
        "unseen_rate",
        "late",
    } <= low
    assert not low & {"ctr", "recall@5", "ndcg@5", "roc_auc", "f1", "accuracy", "calibration", "predictions"}
