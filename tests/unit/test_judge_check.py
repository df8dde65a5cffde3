"""What a policy may ask of the judge."""

import pytest

from schemas.errors import HeadgateError
from schemas.policies import parse
from streams.judge.check import check, mistakes, notes

GOOD = {
    "model": "ranker",
    "rules": [
        {"name": "slow", "metric": "latency_p99_ms", "above": 200, "clear": 150, "for": "30s"},
        {
            "name": "recall",
            "metric": "recall@5",
            "below": 0.1,
            "where": {"arm": "candidate", "surface": "search"},
        },
        {"name": "late", "metric": "late", "above": 0},
    ],
    "release": {
        "steps": [{"weight": 0.1, "for": "5m"}, {"weight": 0.5, "for": "10m"}],
        "guardrails": [
            {"metric": "ctr", "worse_by": 0.0},
            {"metric": "error_rate", "above": 0.05},
            {"metric": "slow_rate", "worse_by": 0.1},
        ],
        "success": {"metric": "ctr", "better_by": -0.02},
    },
}


def test_the_contracts_example_is_fine() -> None:
    check(parse(GOOD))


def test_a_policy_that_only_names_its_model_is_fine() -> None:
    check(parse({"model": "ranker"}))


def rule(**changes: object) -> dict[str, object]:
    base = {"name": "rule", "metric": "ctr", "above": 1}
    return {
        "model": "ranker",
        "rules": [{key: value for key, value in (base | changes).items() if value is not None}],
    }


def release(**changes: object) -> dict[str, object]:
    return {"model": "ranker", "release": {"steps": [{"weight": 0.5}]} | changes}


@pytest.mark.parametrize(
    ("policy", "path", "words"),
    [
        (rule(metric="latncy_p99_ms"), "$.rules[0].metric", "expected `latency_p99_ms`, or `samples."),
        (rule(metric="recal@5"), "$.rules[0].metric", "expected `recall@5`, or `samples.recal@5`"),
        (rule(metric="samples."), "$.rules[0].metric", "the name of samples after `samples.`"),
        (rule(metric="loss", where={"arm": "stable"}), "$.rules[0].where.arm", "samples have no arm"),
        (rule(metric="loss", where={"phase": "test"}), "$.rules[0].where.phase", "training or serving"),
        (rule(metric="recall@7"), "$.rules[0].metric", "k: [5, 10]"),
        (rule(metric="recall@"), "$.rules[0].metric", "Found `recall@`"),
        (rule(window="15s"), "$.rules[0].window", "a multiple of the pane `10s`"),
        (rule(above=None, outside=[2, 1]), "$.rules[0].outside", "the lower limit first"),
        (rule(above=None, outside=[1, 2], clear=1.5), "$.rules[0].clear", "expected two numbers inside"),
        (rule(above=1, clear=2), "$.rules[0].clear", "at most the limit"),
        (rule(above=None, below=1, clear=0.5), "$.rules[0].clear", "at least the limit"),
        (rule(where={"country": "DE"}), "$.rules[0].where.country", "expected one of version, arm, surface"),
        (rule(where={"arm": "canary"}), "$.rules[0].where.arm", "expected stable, candidate or shadow"),
        ({"model": "ranker", "release": {}}, "$.release.steps", "expected at least one"),
        (release(steps=[{"weight": 1.0}]), "$.release.steps[0].weight", "Found `1`"),
        (
            release(guardrails=[{"metric": "latency_p99_ms", "above": 200}]),
            "$.release.guardrails[0].metric",
            "use slow_rate",
        ),
        (release(guardrails=[{"metric": "clicks", "below": 1}]), "$.release.guardrails[0].metric", "a ratio"),
        (
            release(guardrails=[{"metric": "throughput_rps", "below": 1}]),
            "$.release.guardrails[0].metric",
            "a ratio",
        ),
        (
            release(guardrails=[{"metric": "ctr", "worse_by": -0.1}]),
            "$.release.guardrails[0].worse_by",
            "at least 0",
        ),
        (release(success={"metric": "hits", "better_by": 0}), "$.release.success.metric", "Found `hits`"),
        (release(success={"metric": "ctr", "better_by": -1}), "$.release.success.better_by", "above -1"),
    ],
)
def test_a_mistake_is_named_with_its_path(policy: dict[str, object], path: str, words: str) -> None:
    with pytest.raises(HeadgateError) as caught:
        check(parse(policy))
    assert str(caught.value).endswith(f"- at `{path}`")
    assert words in str(caught.value)


@pytest.mark.parametrize("metric", ["gpu_use", "train_loss", "rmse", "samples.ctr", "samples.latncy_p99_ms"])
def test_a_name_that_is_not_like_one_of_the_catalogue_is_a_custom_metric_and_noted(metric: str) -> None:
    policy = parse(rule(metric=metric, where={"version": "v1", "phase": "training", "worker": "w1"}))
    check(policy)
    (noted,) = notes(policy)
    assert f"rule rule: {metric} is no metric of the catalogue" in noted
    assert f"the samples named {metric.removeprefix('samples.')!r}" in noted


def test_metrics_of_the_catalogue_are_not_noted() -> None:
    assert list(notes(parse(GOOD))) == []


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (rule(metric="error_rate", above=5), "rule rule: error_rate is a share, from 0 to 1, and never a"),
        (rule(metric="error_rate", above=5), "(5 % is 0.05), so it never fires"),
        (rule(above=None, below=0), "rule rule: ctr is a share, from 0 to 1, and never below 0, so"),
        (
            release(guardrails=[{"metric": "error_rate", "above": 2}]),
            "guardrail on error_rate: error_rate is a share, from 0 to 1, and never above 2 (2 % is 0.02), "
            "so it never rolls back",
        ),
        (
            release(guardrails=[{"metric": "ctr", "worse_by": 3}]),
            "ctr never falls by more than all of it, as `worse_by: 3` asks (3 % is 0.03)",
        ),
    ],
)
def test_a_limit_that_nothing_is_ever_beyond_is_noted(policy: dict[str, object], words: str) -> None:
    (noted,) = notes(parse(policy))
    assert words in noted


@pytest.mark.parametrize(
    "policy",
    [
        rule(metric="error_rate", above=0.05),
        rule(metric="cvr", above=2),
        rule(metric="latency_p99_ms", above=200),
        release(guardrails=[{"metric": "error_rate", "worse_by": 3}, {"metric": "ctr", "worse_by": 0.5}]),
        release(guardrails=[{"metric": "ctr", "below": 0.01}, {"metric": "mse", "above": 5}]),
    ],
)
def test_a_limit_that_can_be_passed_is_not_noted(policy: dict[str, object]) -> None:
    assert list(notes(parse(policy))) == []


def test_a_cut_off_without_end_is_a_mistake_like_any_other() -> None:
    (found,) = mistakes(parse(rule(metric=f"recall@{'9' * 5_000}")))
    assert found[0] == "$.rules[0].metric"


def test_two_segments_are_not_crossed() -> None:
    policy = rule(where={"surface": "search", "country": "DE"}) | {"segments": ["surface", "country"]}
    assert [path for path, _ in mistakes(parse(policy))] == ["$.rules[0].where"]


def test_all_mistakes_can_be_had_at_once() -> None:
    policy = rule(metric="recall@") | {"release": {"steps": []}}
    assert [path for path, _ in mistakes(parse(policy))] == ["$.rules[0].metric", "$.release.steps"]
