"""Every metric of the catalogue in the judge: in rules, those of final panes too, and in releases' tests."""

from collections.abc import Mapping

import numpy as np
import pytest

from schemas.errors import HeadgateError
from schemas.policies import Guardrail, ReleasePolicy, Step, parse
from schemas.records import BUCKETS, Alert, Progress
from streams.judge.check import check
from streams.judge.facts.panes import Panes
from streams.judge.releases.evidence import Evidence
from streams.judge.releases.release import Span
from streams.judge.statistics.compare import Finding, State
from tests.judging import PANE, START, World, pane, take

# Rules. Panes are one second long; attribution window and lateness are one second each.


def world(metric: str, **rule: object) -> World:
    return World({"rules": [{"name": "rule", "metric": metric, "window": "1s", **rule}]})


def seconds(made: World, number: int, **fields: object) -> list[Alert]:
    """So many panes, each there at its end; answers the rules' alerts."""
    found = []
    for _ in range(number):
        start = made.now
        made.now += PANE
        made.take(pane("v1", start, **fields))  # type: ignore[arg-type]
        found += made.progress()
    return found


@pytest.mark.parametrize(
    ("metric", "fields", "value"),
    [
        ("missing_rate", {"quality": {"age": [8, 2, 0, 0, 0], "city": [8, 0, 0, 0, 1]}}, 0.125),
        ("freshness_ms", {"sums": {"predictions": 4.0, "freshness_ms": 100.0}}, 25.0),
        ("ndcg@5", {"sums": {"relevant_predictions": 4.0, "hits@5": 0.0, "ndcg@5": 3.0}}, 0.75),
        ("mse", {"sums": {"labelled": 4.0, "squared_error": 3.0}}, 0.75),
        ("f1", {"sums": {"true_positives": 1.0, "positives": 2.0, "predicted_positives": 6.0}}, 0.25),
        ("roc_auc", {"positive_scores": {1: 3, 5: 1}, "negative_scores": {0: 1, 3: 1}}, 0.625),
        ("ece", {"reliability": {2: [4.0, 1.0, 2.0]}}, 0.25),
    ],
)
def test_a_rule_reads_any_metric(metric: str, fields: Mapping[str, object], value: float) -> None:
    found = seconds(world(metric, above=0.1), 4, **fields)
    assert [alert.value for alert in found] == [value]


def test_a_rule_with_a_cut_off_that_is_new_rests_on_the_panes_that_have_it() -> None:
    made = world("recall@5", below=0.5, window="2s")
    assert seconds(made, 2, sums={"relevant": 4.0, "hits@10": 4.0}) == []
    assert seconds(made, 1, sums={"relevant": 4.0, "hits@5": 3.0, "hits@10": 4.0}) == []
    found = seconds(made, 3, sums={"relevant": 8.0, "hits@5": 2.0, "hits@10": 8.0})
    assert [alert.value for alert in found] == [5 / 12]


def test_a_rule_on_a_metric_of_final_panes_reads_those_whose_deadline_all_sources_have_passed() -> None:
    made = world("accuracy", below=0.5)
    wrong = {"pairs": 10.0, "correct": 2.0}
    assert seconds(made, 2, sums=wrong) == []
    (fired,) = seconds(made, 2, sums=wrong)
    assert (fired.starts_at, fired.value) == (START, 0.2)


def test_a_rule_on_a_metric_of_final_panes_waits_for_the_source_that_lags() -> None:
    """The clocks' event time alone does not make panes final: their last snapshots are still to come."""
    made = world("accuracy", below=0.5)
    made.take(pane("v1", START, sums={"pairs": 10.0, "correct": 9.0}))
    made.now = START + 9 * PANE
    assert made.progress(made.now, partition=0, partitions=2) == []
    lagging = Progress(partition=1, partitions=2, time=START + PANE, clock=made.now, snapshot=2)
    assert made.take(lagging) == []
    made.take(pane("v1", START, sums={"pairs": 90.0, "correct": 1.0}, partition=1))
    found = made.progress(made.now, partition=1, partitions=2)
    assert [alert.value for alert in found if alert.starts_at == START] == [0.1]


def test_a_successor_finds_the_same_alerts_on_metrics_of_final_panes() -> None:
    logs = [seconds(world("accuracy", below=0.5), 9, sums={"pairs": 10.0, "correct": 1.0}) for _ in range(2)]
    assert logs[0] == logs[1] != []


def test_what_a_rule_on_final_panes_needs_is_kept_until_those_are_final() -> None:
    made = world("accuracy", below=0.5)
    seconds(made, 6, sums={"pairs": 10.0, "correct": 9.0})
    needed = made.judge.needed()
    assert needed is not None
    assert needed <= made.now - 4 * PANE


# Releases


SPAN = Span(generation=2, ts=START, stable="v1", candidate="v2", settled=START)


def finding(metric: str, sums: Mapping[str, Mapping[str, float]], *, time: int | None) -> Finding:
    """What a guardrail of `worse_by: 0` says of ten seconds with so much in each user bucket, by version; all
    panes with a deadline before `time` are final.
    """
    panes = Panes()
    for second in range(10):
        random = np.random.default_rng(second)
        for version, arm in (("v1", "stable"), ("v2", "candidate")):
            buckets = {
                name: (random.poisson(8, BUCKETS) * value / 8).tolist()
                for name, value in sums[version].items()
            }
            take(panes, pane(version, START + second * PANE, arm=arm, generation=2, buckets=buckets))
    if time is not None:
        panes.finish(time)
    policy = ReleasePolicy(
        steps=(Step(weight=0.5),), min_samples=100, guardrails=(Guardrail(metric=metric, worse_by=0.0),)
    )
    (found,) = Evidence("v2", "v1").look(policy, panes.all(), [SPAN], START + 100 * PANE).guardrails
    return found


EVER = START + 1_000 * PANE
PRECISE = {"true_positives": 4.0, "positives": 5.0, "predicted_positives": 5.0}
SLOPPY = {"true_positives": 2.0, "positives": 5.0, "predicted_positives": 5.0}


def test_a_guardrail_may_be_on_a_metric_whose_sums_are_added_up_from_several() -> None:
    found = finding("f1", {"v1": PRECISE, "v2": SLOPPY}, time=EVER)
    assert found.state is State.PROVEN
    assert found.reference == pytest.approx(0.8, rel=0.05)
    assert found.value == pytest.approx(0.4, rel=0.05)


def test_a_guardrail_on_a_metric_of_final_panes_rests_on_those_alone() -> None:
    assert finding("f1", {"v1": PRECISE, "v2": SLOPPY}, time=None).state is State.FEW


def test_a_guardrail_on_ranking_rests_on_mature_panes() -> None:
    sums = {"relevant_predictions": 8.0, "reciprocal_rank": 4.0}
    worse = sums | {"reciprocal_rank": 2.0}
    assert finding("mrr", {"v1": sums, "v2": worse}, time=None).state is State.PROVEN


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("roc_auc", "no sums by user"),
        ("ece", "no sums by user"),
        ("calibration", "good or bad"),
        ("missing_rate", "by user"),
        ("predictions", "a ratio"),
        ("latency_p99_ms", "use slow_rate"),
        ("recall@7", "k: [5, 10]"),
        ("click_rate", "expected one of predictions"),
    ],
)
@pytest.mark.parametrize("part", ["guardrails", "success"])
def test_what_versions_cannot_be_compared_by_is_a_mistake_that_says_why(
    part: str, metric: str, words: str
) -> None:
    tests = {
        "guardrails": [{"metric": metric, "worse_by": 0}],
        "success": {"metric": metric, "better_by": 0},
    }
    policy = parse({"model": "m", "release": {"steps": [{"weight": 0.5}], part: tests[part]}})
    with pytest.raises(HeadgateError, match=part) as caught:
        check(policy)
    assert words in str(caught.value)
