"""A shadow beside the stable version: what is compared, which limits are exceeded, and what is kept."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import pytest
from scipy import stats

from schemas.errors import HeadgateError
from schemas.policies import parse
from schemas.records import BUCKETS, Alert, Distribution, Pane, Profile, Progress
from streams.judge.check import check
from streams.judge.releases import beside
from streams.judge.releases.beside import Report
from streams.metrics import drift, histogram
from tests.judging import PANE, START, World, pane

LIMITS = [
    {"metric": "slow_rate", "worse_by": 0.5},
    {"metric": "latency_p99_ms", "worse_by": 0.2},
    {"metric": "score_psi", "above": 0.2},
    {"metric": "score_mean", "differs_by": 0.1},
    {"metric": "error_rate", "above": 0.2},
]
EDGES = [0.2, 0.4, 0.6, 0.8]


def profile(version: str, edges: Sequence[float] = EDGES) -> Profile:
    score = Distribution(counts=[1] * (len(edges) + 1), edges=[*edges], lowest=0.0, highest=1.0)
    return Profile(model="ranker", version=version, ts=START, features={}, score=score)


class Recorded(World):
    """Keeps what it was given."""

    def __init__(self, policy: Mapping[str, object]) -> None:
        self.taken: list[Pane | Progress] = []
        super().__init__(policy)

    def take(self, record: Pane | Progress) -> list[Alert]:
        self.taken.append(record)
        return super().take(record)


def world(limits: Sequence[Mapping[str, object]] = LIMITS, min_samples: int = 1_000) -> Recorded:
    made = Recorded(
        {
            "release": {
                "steps": [{"weight": 0.1}],
                "shadow": {"min_samples": min_samples, "limits": limits},
                "ack_deadline": "1s",
            }
        }
    )
    for version in ("v1", "v2"):
        made.profiles.add(profile(version))
    made.command("start", "v1")
    made.second({"v1": 0.1})
    made.command("start", "v2", mode="shadow")
    return made


class Answers:
    """How a version answers: the share of slow ones and of errors, its latencies, its scores by bin, and how
    well it ranks."""

    def __init__(
        self,
        slow: float = 0.05,
        latency: float = 20.0,
        scores: Sequence[int] = (20, 20, 20, 20, 20),
        errors: float = 0.01,
        ndcg: float = 0.5,
    ) -> None:
        self.slow, self.latency, self.scores, self.errors, self.ndcg = slow, latency, scores, errors, ndcg


def second(made: World, stable: Answers, shadow: Answers | None, seed: int) -> None:
    """A second in which both answer the same requests."""
    random = np.random.default_rng(seed)
    made.ack()
    start = made.now - made.now % PANE
    made.now = start + PANE
    seen = random.poisson(4, BUCKETS)
    for version, arm, answers in (("v1", "stable", stable), ("v2", "shadow", shadow)):
        if answers is None:
            continue
        made.take(
            pane(
                version,
                start,
                arm=arm,
                generation=made.release.generation,
                buckets={
                    "predictions": seen.tolist(),
                    "slow": random.binomial(seen, answers.slow).tolist(),
                    "errors": random.binomial(seen, answers.errors).tolist(),
                    "hits@5": seen.tolist(),
                    "ndcg@5": (seen * answers.ndcg).tolist(),
                    "relevant_predictions": seen.tolist(),
                },
                latency={histogram.bin_of(answers.latency): int(seen.sum())},
                features={"score": list(answers.scores)},
            )
        )
    made.progress()
    made.decide()


def run(made: World, seconds: int, stable: Answers, shadow: Answers | None) -> Report:
    for seed in range(seconds):
        second(made, stable, shadow, seed)
    report = made.checkpoints[-1].beside
    assert report is not None
    return report


def by_metric(report: Report) -> dict[str, beside.Comparison]:
    return {found.metric: found for found in report.comparisons}


def fired(made: World) -> dict[str, str]:
    return {a.labels["metric"]: a.status for a in made.alerts if a.rule == "shadow_limit"}


def test_a_shadow_like_the_stable_version_exceeds_nothing() -> None:
    made = world()
    report = run(made, 30, Answers(), Answers())
    assert {found.state for found in report.comparisons} == {"within"}
    assert fired(made) == {}
    assert report.samples[0] == report.samples[1] > 10_000


def test_what_is_compared_without_being_limited_is_told_too() -> None:
    made = world(limits=[])
    found = by_metric(run(made, 30, Answers(), Answers(latency=30.0, ndcg=0.4)))
    assert {
        "error_rate",
        "slow_rate",
        "latency_p50_ms",
        "latency_p99_ms",
        "score_mean",
        "score_psi",
        "ndcg@5",
    } <= set(found)
    assert found["latency_p99_ms"].shadow == pytest.approx(30.0, rel=0.01)
    assert found["latency_p99_ms"].effect == pytest.approx(0.5, rel=0.05)
    assert found["ndcg@5"].shadow == pytest.approx(0.4)
    assert found["ndcg@5"].stable == pytest.approx(0.5)
    assert found["slow_rate"].lower is not None
    assert found["slow_rate"].upper is not None
    assert found["slow_rate"].lower < 0 < found["slow_rate"].upper


@pytest.mark.parametrize(
    ("answers", "metric"),
    [
        (Answers(slow=0.15), "slow_rate"),
        (Answers(latency=26.0), "latency_p99_ms"),
        (Answers(scores=(60, 20, 10, 5, 5)), "score_psi"),
        (Answers(errors=0.4), "error_rate"),
    ],
)
def test_a_limit_that_is_exceeded_is_one_alert_of_its_own(answers: Answers, metric: str) -> None:
    made = world()
    report = run(made, 40, Answers(), answers)
    assert by_metric(report)[metric].state == "exceeded"
    assert fired(made)[metric] == "firing"
    told = [alert for alert in made.alerts if alert.labels.get("metric") == metric]
    assert len(told) == 1
    assert (told[0].severity, told[0].labels["version"]) == ("warning", "v2")
    assert f"beyond {told[0].labels['limit']}" in told[0].annotations["summary"]


def test_a_mean_that_differs_either_way_is_exceeded() -> None:
    for scores in ((30, 25, 20, 15, 10), (10, 15, 20, 25, 30)):
        found = by_metric(run(world(), 10, Answers(), Answers(scores=scores)))
        assert found["score_mean"].state == "exceeded"


def test_nothing_is_said_of_too_few_samples() -> None:
    made = world(min_samples=1_000_000)
    report = run(made, 10, Answers(), Answers(slow=0.9, latency=100.0, errors=0.9))
    assert {found.state for found in report.comparisons} == {"too few samples"}
    assert fired(made) == {}


def test_no_traffic_moves_whatever_is_exceeded() -> None:
    made = world()
    before = made.release
    run(made, 40, Answers(), Answers(slow=0.9, errors=0.9))
    assert made.release == before


def test_panes_in_which_the_shadow_did_not_answer_do_not_count() -> None:
    made = world()
    run(made, 20, Answers(slow=0.9), None)
    report = run(made, 20, Answers(), Answers())
    assert report.samples[0] == report.samples[1]
    assert by_metric(report)["slow_rate"].stable == pytest.approx(0.05, abs=0.02)


def test_the_record_that_ends_the_shadow_says_how_it_did() -> None:
    made = world()
    run(made, 30, Answers(), Answers(slow=0.15))
    made.command("abort")
    assert made.release.evidence is not None
    report = msgspec.convert(made.release.evidence["shadow"], Report)
    assert report.shadow == "v2"
    assert by_metric(report)["slow_rate"].state == "exceeded"
    assert fired(made) == {"slow_rate": "resolved"}


def test_an_operator_makes_a_canary_of_it_with_its_report() -> None:
    made = world()
    run(made, 30, Answers(), Answers())
    made.command("start", "v2")
    assert (made.release.phase, made.release.candidate, made.release.shadow) == ("canary", "v2", None)
    assert made.release.evidence is not None
    assert made.release.evidence["shadow"]["samples"][0] > 10_000


def test_promote_of_a_mere_shadow_is_refused_with_what_to_do() -> None:
    made = world()
    made.command("promote")
    assert "v2 is a shadow" in made.checkpoints[-1].refusals[-1].reason
    assert "start v2" in made.checkpoints[-1].refusals[-1].reason


def test_the_comparison_begins_anew_with_another_shadow() -> None:
    made = world()
    run(made, 10, Answers(), Answers())
    made.command("abort")
    made.command("start", "v2", mode="shadow")
    second(made, Answers(), Answers(), 99)
    made.now += 5_000
    second(made, Answers(), Answers(), 100)
    report = made.checkpoints[-1].beside
    assert report is not None
    assert report.samples[0] < 2_000


def test_a_successor_goes_on_with_what_was_folded() -> None:
    one, other = world(), world()
    run(one, 20, Answers(), Answers(slow=0.1))
    run(other, 20, Answers(), Answers(slow=0.1))
    assert other.checkpoints[-1].shadow is not None
    kept = other.checkpoints[-1].shadow
    assert kept.through > kept.since
    other.successor()
    for record in other.taken[:]:
        if not isinstance(record, Pane) or record.start >= kept.through:
            other.take(record)
    for made in (one, other):
        made.now += 5_000
        second(made, Answers(), Answers(slow=0.1), 20)
    assert by_metric(one.checkpoints[-1].beside) == by_metric(other.checkpoints[-1].beside)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_the_mean_of_binned_scores_is_within_half_a_bin_of_the_mean(seed: int) -> None:
    random = np.random.default_rng(seed)
    edges = np.sort(random.uniform(0, 1, 9))
    values = random.beta(2, 5, 10_000)
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=10).tolist()
    found = beside.mean(counts, profile("v1", edges.tolist()).score)  # type: ignore[arg-type]
    widest = float(np.diff([0.0, *edges, 1.0]).max())
    assert found == pytest.approx(values.mean(), abs=widest / 2)


@pytest.mark.parametrize("seed", range(5))
def test_counts_in_other_bins_are_those_of_the_interpolated_distribution(seed: int) -> None:
    random = np.random.default_rng(seed)
    mine, theirs = np.sort(random.uniform(0, 1, 9)), np.sort(random.uniform(0, 1, 6))
    counts = random.integers(0, 1_000, 10)
    found = beside.rebinned(counts.tolist(), profile("v2", mine.tolist()).score, theirs.tolist())  # type: ignore[arg-type]
    histogram_ = stats.rv_histogram((counts, np.concatenate([[0.0], mine, [1.0]])), density=False)
    expected = np.diff(histogram_.cdf([0.0, *theirs, 1.0])) * counts.sum()
    assert found == pytest.approx(expected.tolist(), abs=1.0)
    assert sum(found) == counts.sum()


def test_bins_that_are_the_same_stay_as_they_are() -> None:
    assert beside.rebinned([3, 1, 4, 1, 5], profile("v2").score, EDGES) == [3, 1, 4, 1, 5]  # type: ignore[arg-type]


def test_the_distance_is_the_index_of_one_against_the_other() -> None:
    report = run(world(), 10, Answers(scores=(10, 20, 40, 20, 10)), Answers(scores=(20, 20, 20, 20, 20)))
    expected = drift.psi([20] * 5, Distribution(counts=[10, 20, 40, 20, 10], edges=EDGES))
    assert by_metric(report)["score_psi"].shadow == pytest.approx(expected)


def test_without_profiles_nothing_is_said_of_scores() -> None:
    made = World(
        {"release": {"steps": [{"weight": 0.1}], "shadow": {"limits": LIMITS}, "ack_deadline": "1s"}}
    )
    made.command("start", "v1")
    made.command("start", "v2", mode="shadow")
    assert not {"score_mean", "score_psi"} & set(by_metric(run(made, 20, Answers(), Answers())))


@pytest.mark.parametrize(
    ("limit", "value", "exceeded"),
    [
        ({"worse_by": 0.2}, 125.0, True),
        ({"worse_by": 0.2}, 115.0, False),
        ({"worse_by": 0.2}, 50.0, False),
        ({"differs_by": 0.2}, 75.0, True),
        ({"differs_by": 0.2}, 125.0, True),
        ({"differs_by": 0.2}, 85.0, False),
        ({"above": 150.0}, 155.0, True),
        ({"above": 150.0}, 145.0, False),
        ({"below": 90.0}, 85.0, True),
        ({"below": 90.0}, 95.0, False),
    ],
)
def test_latencies_against_their_limits(limit: dict[str, float], value: float, exceeded: bool) -> None:
    made = world(limits=[{"metric": "latency_p99_ms", **limit}])
    report = run(made, 6, Answers(latency=100.0), Answers(latency=value))
    assert (by_metric(report)["latency_p99_ms"].state == "exceeded") == exceeded


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ({"metric": "ctr", "worse_by": 0.1}, "found `ctr`, expected one of error_rate"),
        ({"metric": "roc_auc", "below": 0.1}, "found `roc_auc`, expected one of"),
        ({"metric": "ndcg@7", "worse_by": 0.1}, "found `ndcg@7`"),
        ({"metric": "score_psi", "worse_by": 0.1}, "expected `above`"),
        ({"metric": "score_mean", "worse_by": 0.1}, "expected differs_by, above or below"),
        ({"metric": "slow_rate"}, "expected one of worse_by, differs_by, above, below, got `none`"),
        ({"metric": "slow_rate", "above": 1, "worse_by": 1}, "got `worse_by, above`"),
        ({"metric": "slow_rate", "worse_by": -1}, "expected `float` >= 0"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_by_its_path(limit: dict[str, object], expected: str) -> None:
    with pytest.raises(HeadgateError) as raised:
        check(parse({"model": "m", "release": {"steps": [{"weight": 0.1}], "shadow": {"limits": [limit]}}}))
    assert expected.lower() in str(raised.value).lower()
    assert "$.release.shadow.limits[0]" in str(raised.value)


@pytest.mark.parametrize("metric", ["slow_rate", "mrr", "ndcg@5", "latency_p999_ms", "latency_mean_ms"])
def test_what_can_be_limited(metric: str) -> None:
    limits = {"limits": [{"metric": metric, "worse_by": 0.1}]}
    check(parse({"model": "m", "release": {"steps": [{"weight": 0.1}], "shadow": limits}}))
