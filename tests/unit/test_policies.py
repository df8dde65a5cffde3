"""Policies as objects: the contract's defaults, durations, mistakes, and the way to JSON and back."""

from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from schemas import policies
from schemas.errors import HeadgateError
from schemas.policies import AUTO, Duration, Policy, ReleasePolicy

CONTRACT = """
model: ranker
pane: 10s
attribution: {window: 10m, lateness: 1m}
answer: 30s
k: [5, 10]
relevant: [click, cart, purchase, relevant]
impressions: shown
truth: click
threshold: 0.5
slow_ms: 200
anomaly: 1.0
drift: {psi: 0.2, js: 0.1, ks: 0.1, wasserstein: 0.1}
segments: [surface]
unit: user
maturity: auto
"""
"""The contract's section 6, where it gives defaults."""

CONTRACT_RULE = """
name: slow
metric: latency_p99_ms
above: 200
window: 1m
for: 30s
clear: 150
severity: page
"""

CONTRACT_RELEASE = """
steps: [{weight: 0.1, for: 5m}, {weight: 0.5, for: 10m}]
min_samples: 1000
alpha: 0.05
guardrails:
  - {metric: ctr, worse_by: 0.0}
  - {metric: error_rate, above: 0.05}
  - {metric: slow_rate, worse_by: 0.1}
success: {metric: ctr, better_by: -0.02}
timeout: 24h
no_data: 2m
cooldown: 1h
watch_after: 24h
watch_weight: 0.02
ack_deadline: 10s
"""


def contract() -> dict[str, Any]:
    whole = yaml.safe_load(CONTRACT)
    whole["rules"] = [yaml.safe_load(CONTRACT_RULE)]
    whole["release"] = yaml.safe_load(CONTRACT_RELEASE)
    assert isinstance(whole, dict)
    return whole


# Defaults


def test_a_policy_of_nothing_but_a_model_has_the_contracts_defaults() -> None:
    assert policies.parse({"model": "ranker"}) == policies.parse(yaml.safe_load(CONTRACT))


def test_a_model_without_a_policy_gets_the_same_defaults() -> None:
    assert policies.default("ranker") == policies.parse({"model": "ranker"})


def test_by_default_there_are_no_rules_and_releases_are_decided_by_hand() -> None:
    policy = policies.default("ranker")
    assert policy.rules == ()
    assert policy.release is None


@pytest.mark.parametrize(
    "name",
    [
        "min_samples", "alpha", "timeout", "no_data", "cooldown",
        "watch_after", "watch_weight", "ack_deadline",
    ],
)  # fmt: skip
def test_a_release_has_the_contracts_defaults(name: str) -> None:
    release = policies.parse(contract()).release
    assert getattr(ReleasePolicy(), name) == getattr(release, name)


def test_the_contracts_policy_means_what_it_says() -> None:
    policy = policies.parse(contract())
    assert policy.pane == 10_000
    assert (policy.attribution.window, policy.attribution.lateness) == (600_000, 60_000)
    assert policy.maturity is AUTO
    rule = policy.rules[0]
    assert (rule.above, rule.window, rule.hold, rule.clear, rule.severity) == (
        200,
        60_000,
        30_000,
        150,
        "page",
    )
    assert policy.release is not None
    assert [(step.weight, step.hold) for step in policy.release.steps] == [(0.1, 300_000), (0.5, 600_000)]
    assert [guardrail.metric for guardrail in policy.release.guardrails] == ["ctr", "error_rate", "slow_rate"]
    assert policy.release.success is not None
    assert policy.release.success.better_by == -0.02
    assert policy.release.watch_after == 86_400_000


# Durations


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("250ms", 250), ("10s", 10_000), ("1.5s", 1_500), ("1m", 60_000), ("24h", 86_400_000),
        ("7d", 604_800_000), ("0s", 0), (" 10 s ", 10_000),
    ],
)  # fmt: skip
def test_a_duration_is_a_number_and_a_unit(text: str, milliseconds: int) -> None:
    assert Duration.parse(text) == milliseconds


@pytest.mark.parametrize(
    "text", ["10", "", "s", "-1s", "1w", "10 seconds", "1m30s", "1e3s", "∞s", 10, 1.5, None, True]
)
def test_anything_else_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match=r"Expected a duration such as `10s`"):
        Duration.parse(text)


@given(st.integers(min_value=0, max_value=10**12))
def test_a_duration_written_out_is_read_back(milliseconds: int) -> None:
    assert Duration.parse(str(Duration(milliseconds))) == milliseconds


# There and back

durations = st.integers(0, 10**9).map(lambda ms: str(Duration(ms)))
numbers = st.floats(-1e6, 1e6)
shares = st.floats(0, 1)
words = st.text(min_size=1, max_size=8)
holds = durations | st.integers(1, 9).flatmap(
    lambda of: st.fixed_dictionaries({"of": st.just(of), "at_least": st.integers(1, of)})
)
limits = (
    st.fixed_dictionaries({"above": numbers})
    | st.fixed_dictionaries({"below": numbers})
    | st.fixed_dictionaries({"outside": st.tuples(numbers, numbers).map(list)})
    | st.fixed_dictionaries(
        {"baseline": st.fixed_dictionaries({"of": st.sampled_from(["stable", "1d", "7d", "moving"])})}
    )
)
rules = st.builds(
    lambda limit, rest: limit | rest,
    limits,
    st.fixed_dictionaries(
        {"name": words, "metric": words},
        optional={
            "where": st.dictionaries(words, words, max_size=2),
            "window": durations,
            "for": holds,
            "clear": numbers,
            "severity": words,
        },
    ),
)
releases = st.fixed_dictionaries(
    {},
    optional={
        "steps": st.lists(
            st.fixed_dictionaries({"weight": shares}, optional={"for": durations}), max_size=3
        ).map(lambda steps: sorted(steps, key=lambda step: step["weight"])),
        "min_samples": st.integers(1, 10**6),
        "guardrails": st.lists(st.fixed_dictionaries({"metric": words, "worse_by": numbers}), max_size=2),
        "success": st.fixed_dictionaries({"metric": words, "better_by": numbers}),
        "timeout": durations,
        "watch_weight": shares,
    },
)
objects = st.fixed_dictionaries(
    {"model": words},
    optional={
        "pane": st.sampled_from(["1s", "500ms", "10s", "1m", "5m", "1h"]),
        "attribution": st.fixed_dictionaries({}, optional={"window": durations, "lateness": durations}),
        "answer": durations,
        "k": st.lists(st.integers(1, 100), max_size=3, unique=True),
        "relevant": st.lists(words, max_size=2, unique=True),
        "impressions": st.sampled_from(["shown", "feedback"]),
        "truth": st.sampled_from(["click", "label"]),
        "threshold": numbers,
        "segments": st.lists(words, max_size=2, unique=True),
        "unit": st.sampled_from(["user", "request"]),
        "maturity": durations | st.just("auto"),
        "examples": st.fixed_dictionaries(
            {}, optional={"share": shares, "features": st.lists(words, max_size=2)}
        ),
        "explore": st.fixed_dictionaries({}, optional={"share": shares, "depth": st.integers(1, 50)}),
        "rules": st.lists(rules, max_size=3, unique_by=lambda rule: rule["name"]),
        "release": st.none() | releases,
    },
)


@given(objects)
def test_a_policy_survives_the_way_through_json(written: dict[str, Any]) -> None:
    policy = policies.parse(written)
    sent = msgspec.json.encode(policies.to_object(policy))
    assert policies.parse(msgspec.json.decode(sent)) == policy


def test_policies_that_differ_only_in_votes_differ() -> None:
    rule = {"name": "r", "metric": "ctr", "below": 1}
    policy = policies.parse({"model": "m", "rules": [rule | {"for": {"of": 5, "at_least": 3}}]})
    other = policies.parse({"model": "m", "rules": [rule | {"for": {"of": 5, "at_least": 4}}]})
    neither = policies.parse({"model": "m", "rules": [rule]})
    assert policy != other
    assert policy != neither
    assert len({policy.rules[0].hold, other.rules[0].hold, neither.rules[0].hold}) == 3


def test_what_is_left_at_its_default_is_not_written() -> None:
    assert policies.to_object(policies.default("m")) == {"model": "m"}


# Mistakes

RULE = {"name": "r", "metric": "ctr"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pane": "7s"}, "Expected a divisor of 1m, or whole minutes that divide 1h, got `7s` - at `$.pane`"),
        ({"pane": "7m"}, "Expected a divisor of 1m, or whole minutes that divide 1h, got `7m` - at `$.pane`"),
        (
            {"pane": "90s"},
            "Expected a divisor of 1m, or whole minutes that divide 1h, got `90s` - at `$.pane`",
        ),
        ({"pane": "0s"}, "- at `$.pane`"),
        ({"pane": "2h"}, "- at `$.pane`"),
        ({"panes": "10s"}, "unknown field `panes`"),
        ({"attribution": {"window": 600}}, "got `600` - at `$.attribution.window`"),
        ({"answer": "36501d"}, "Expected a duration of at most `36500d`, got `36501d` - at `$.answer`"),
        ({"answer": f"{'9' * 400}s"}, "…` - at `$.answer`"),
        ({"k": [0]}, "Expected `int` >= 1 - at `$.k[0]`"),
        ({"k": [10**20]}, "- at `$.k[0]`"),
        ({"release": {"min_samples": 10**400}}, "- at `$.release.min_samples`"),
        ({"k": [5, 10, 5]}, "Expected each only once, got `5` again - at `$.k[2]`"),
        ({"segments": ["surface", "surface"]}, "got `surface` again - at `$.segments[1]`"),
        ({"impressions": "seen"}, "Invalid enum value 'seen' - at `$.impressions`"),
        ({"maturity": "soon"}, "Expected `auto` or a duration such as `10m`, got `soon` - at `$.maturity`"),
        ({"drift": {"psi": 0}}, "- at `$.drift.psi`"),
        (
            {"rules": [RULE]},
            "Expected one of above, below, outside, baseline, burn_rate, no_data, got `none` - at "
            "`$.rules[0]`",
        ),
        ({"rules": [RULE | {"above": 1, "below": 0}]}, "got `above, below` - at `$.rules[0]`"),
        ({"rules": [RULE | {"above": 1}] * 2}, "that no other rule has, got `r` - at `$.rules[1].name`"),
        ({"rules": [RULE | {"above": 1, "for": {"of": 5}}]}, "- at `$.rules[0].for`"),
        ({"rules": [RULE | {"above": 1, "for": {"of": 5, "at_least": 6}}]}, "got `6` - at `$.rules[0].for`"),
        ({"release": {"guardrails": [{"metric": "ctr"}]}}, "got `none` - at `$.release.guardrails[0]`"),
        ({"release": {"steps": [{"weight": 1.5}]}}, "- at `$.release.steps[0].weight`"),
        ({"release": {"steps": [{"weight": 0.5}, {"weight": 0.1}]}}, "weights that grow"),
        ({"release": {"alpha": 0}}, "- at `$.release.alpha`"),
        ({"release": {"success": {"metric": "ctr"}}}, "required field `better_by` - at `$.release.success`"),
    ],
)
def test_a_mistake_says_where_what_and_what_was_expected(change: dict[str, Any], message: str) -> None:
    with pytest.raises(HeadgateError) as caught:
        policies.parse({"model": "m"} | change)
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [None, 7, "model: m", [], {}])
def test_what_is_no_object_with_a_model_is_no_policy(value: object) -> None:
    with pytest.raises(HeadgateError):
        policies.parse(value)


# Panes


@given(st.sampled_from([500, 1_000, 10_000, 60_000, 300_000, 3_600_000]), st.integers(0, 4 * 10**12))
def test_a_pane_holds_its_times_and_is_aligned_to_the_epoch(pane: int, time: int) -> None:
    policy = Policy(model="m", pane=Duration(pane))
    start = policy.pane_start(time)
    assert start % pane == 0
    assert start <= time < start + pane


def test_a_panes_deadline_is_its_end_and_the_attribution_window_and_the_lateness() -> None:
    policy = policies.parse({"model": "m", "pane": "10s", "attribution": {"window": "2m", "lateness": "5s"}})
    assert policy.deadline(1_000_000) == 1_000_000 + 10_000 + 120_000 + 5_000
