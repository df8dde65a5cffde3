"""The keys of a policy, held against the contract's section 6; and those that have been added since, each
with its default, what it takes, and what is said of a value that it does not take.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import pytest

from schemas import policies
from schemas.errors import HeadgateError
from schemas.policies import Baseline, Part

CONTRACT = {
    "Policy": "model pane attribution answer k relevant impressions truth threshold slow_ms anomaly drift "
    "segments unit maturity rules release",
    "Attribution": "window lateness",
    "Drift": "psi js ks wasserstein",
    "Rule": "name metric where above below outside baseline window for clear severity",
    "Votes": "of at_least",
    "Baseline": "of sigmas",
    "Step": "weight for",
    "ReleasePolicy": "steps min_samples alpha guardrails success timeout no_data cooldown watch_after "
    "watch_weight ack_deadline",
    "Guardrail": "metric worse_by above below",
    "Success": "metric better_by",
}
"""The contract's section 6: the keys of each part of a policy, by its type."""

RULE = {"name": "r", "metric": "ctr", "above": 1}
MEASURED = {"name": "r", "metric": "error_rate"}
BURNING = {"objective": 0.99, "factor": 14.4, "windows": ["1h", "5m"]}
MISSING = object()
"""In the place of a default: the key is required where its part is given."""


class Key(NamedTuple):
    """A key that was added: whose it is, where, and what stands around it in a policy."""

    owner: str
    path: str
    around: Mapping[str, object]
    default: object
    takes: Mapping[str, tuple[object, object]]
    """In words: a value as it is written, and what it is read as."""
    refuses: Mapping[str, tuple[object, str]]
    """In words: a value, and what is expected instead."""

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]


def rule(**keys: object) -> dict[str, object]:
    return {"rules": [RULE | keys]}


def without(key: str) -> dict[str, object]:
    kept = {name: value for name, value in BURNING.items() if name != key}
    return {"rules": [MEASURED | {"burn_rate": kept}]}


SHADOW: dict[str, object] = {"release": {"shadow": {}}}
LESS: dict[str, tuple[object, str]] = {"less than none": (-1, "Expected `float` >= 0.0")}
LIMITED: dict[str, object] = {"release": {"shadow": {"limits": [{"metric": "slow_rate"}]}}}
NEITHER: dict[str, object] = {"release": {"shadow": {"limits": [{"above": 1}]}}}

ADDED = (
    Key(
        "Policy", "explore", {}, policies.Explore(),
        {"nothing in it": ({}, policies.Explore())},
        {"a share alone": (0.1, "Expected `object`, got `float`")},
    ),
    Key(
        "Explore", "explore.share", {"explore": {}}, 0.0,
        {"none": (0, 0.0), "some": (0.05, 0.05), "all": (1, 1.0)},
        {
            "more than all": (1.5, "Expected `float` <= 1.0"),
            "less than none": (-0.1, "Expected `float` >= 0.0"),
            "text": ("half", "Expected `float`, got `str`"),
        },
    ),
    Key(
        "Explore", "explore.depth", {"explore": {}}, 10,
        {"one": (1, 1)},
        {"none": (0, "Expected `int` >= 1"), "a fraction": (2.5, "Expected `int`, got `float`")},
    ),
    Key(
        "Policy", "examples", {}, policies.Examples(),
        {"nothing in it": ({}, policies.Examples())},
        {"a share alone": (0.1, "Expected `object`, got `float`")},
    ),
    Key(
        "Examples", "examples.share", {"examples": {}}, 0.0,
        {"none": (0, 0.0), "one in a thousand": (0.001, 0.001), "all": (1, 1.0)},
        {
            "more than all": (1.5, "Expected `float` <= 1.0"),
            "less than none": (-0.1, "Expected `float` >= 0.0"),
        },
    ),
    *(
        Key(
            "Examples", f"examples.{name}", {"examples": {}}, (),
            {"one": (["age"], ("age",))},
            {
                "one without a list": ("age", "Expected `array`, got `str`"),
                "a yes": (True, "Expected `array`, got `bool`"),
            },
        )
        for name in ("inputs", "features")
    ),
    Key(
        "Policy", "examples", {}, policies.Examples(),
        {"nothing in it": ({}, policies.Examples())},
        {"a share alone": (0.1, "Expected `object`, got `float`")},
    ),
    Key(
        "Examples", "examples.share", {"examples": {}}, 0.0,
        {"a few": (0.001, 0.001), "all": (1, 1.0)},
        {
            "more than all": (1.5, "Expected `float` <= 1.0"),
            "less than none": (-1, "Expected `float` >= 0.0"),
        },
    ),
    *(
        Key(
            "Examples", f"examples.{name}", {"examples": {}}, (),
            {"names": (["age"], ("age",))},
            {"a name without a list": ("age", "Expected `array`, got `str`")},
        )
        for name in ("inputs", "features")
    ),
    Key(
        "Rule", "rules[0].burn_rate", {"rules": [MEASURED]}, None,
        {"a budget": (BURNING, policies.BurnRate(objective=0.99, factor=14.4, windows=(
            policies.Duration(3_600_000), policies.Duration(300_000)
        )))},
        {"a factor alone": (14.4, "Expected `object | null`, got `float`")},
    ),
    Key(
        "BurnRate", "rules[0].burn_rate.objective", without("objective"), MISSING,
        {"nearly all": (0.999, 0.999)},
        {"all": (1, "Expected `float` < 1.0"), "none": (0, "Expected `float` > 0.0")},
    ),
    Key(
        "BurnRate", "rules[0].burn_rate.factor", without("factor"), MISSING,
        {"one": (1, 1.0)},
        {"none": (0, "Expected `float` > 0.0")},
    ),
    Key(
        "BurnRate", "rules[0].burn_rate.windows", without("windows"), MISSING,
        {"one": (["1h"], (3_600_000,))},
        {"one without a list": ("1h", "Expected `array`, got `str`")},
    ),
    Key(
        "Rule", "rules[0].no_data", {"rules": [MEASURED]}, None,
        {"minutes": ("5m", 300_000)},
        {"no unit": (5, "Expected a duration such as `10s` (units ms, s, m, h, d), got `5`")},
    ),
    Key(
        "Rule", "rules[0].impact", rule(), None,
        {"a metric": ({"metric": "ctr"}, policies.Impact(metric="ctr"))},
        {"a metric alone": ("ctr", "Expected `object | null`, got `str`")},
    ),
    Key(
        "Impact", "rules[0].impact.metric", rule(impact={}), MISSING,
        {"a metric": ("ctr", "ctr")},
        {"nothing": ("", "Expected `str` of length >= 1")},
    ),
    Key(
        "Impact", "rules[0].impact.worse_by", rule(impact={"metric": "ctr"}), 0.05,
        {"at all": (0, 0.0)},
        {"less than none": (-0.1, "Expected `float` >= 0.0")},
    ),
    Key(
        "Impact", "rules[0].impact.baseline", rule(impact={"metric": "ctr"}),
        Baseline(of="moving", sigmas=3.0),
        {"stable": ({"of": "stable"}, Baseline(of="stable"))},
        {"a name alone": ("stable", "Expected `object`, got `str`")},
    ),
    Key(
        "Impact", "rules[0].impact.severity", rule(impact={"metric": "ctr"}), "page",
        {"a word": ("ticket", "ticket")},
        {"nothing": ("", "Expected `str` of length >= 1")},
    ),
    Key(
        "Baseline", "rules[0].baseline.over", {"rules": [MEASURED | {"baseline": {"of": "moving"}}]}, None,
        {"days": ("3d", 259_200_000)},
        {"days without a unit": (3, "Expected a duration such as `10s`")},
    ),
    Key(
        "Rule", "rules[0].labels", rule(), {},
        {"a label": ({"team": "search"}, {"team": "search"})},
        {"a list": (["team"], "Expected `object`, got `array`")},
    ),
    Key(
        "Rule", "rules[0].summary", rule(), None,
        {"words": ("Too many errors", "Too many errors")},
        {"a number": (7, "Expected `str | null`, got `int`")},
    ),
    Key(
        "Rule", "rules[0].runbook", rule(), None,
        {"an address": ("https://wiki/errors", "https://wiki/errors")},
        {"a list": (["https://wiki/errors"], "Expected `str | null`, got `array`")},
    ),
    Key(
        "ReleasePolicy", "release.dry_run", {"release": {}}, False,
        {"yes": (True, True)},
        {"a word": ("yes", "Expected `bool`, got `str`")},
    ),
    Key(
        "ReleasePolicy", "release.shadow", {"release": {}}, policies.ShadowPolicy(),
        {"nothing in it": ({}, policies.ShadowPolicy())},
        {"a list": ([], "Expected `object`, got `array`")},
    ),
    Key(
        "ShadowPolicy", "release.shadow.min_samples", SHADOW, 1000,
        {"one": (1, 1)},
        {"none": (0, "Expected `int` >= 1")},
    ),
    Key(
        "ShadowPolicy", "release.shadow.limits", SHADOW, (),
        {"one": ([{"metric": "slow_rate", "above": 0.1}], (
            policies.ShadowLimit(metric="slow_rate", above=0.1),
        ))},
        {"one without a list": ({"metric": "slow_rate", "above": 0.1}, "Expected `array`, got `object`")},
    ),
    Key(
        "ShadowLimit", "release.shadow.limits[0].metric", NEITHER, MISSING,
        {"a metric": ("slow_rate", "slow_rate")},
        {"nothing": ("", "Expected `str` of length >= 1")},
    ),
    *(
        Key(
            "ShadowLimit", f"release.shadow.limits[0].{name}", LIMITED, None,
            {"a number": (0.1, 0.1)},
            {"text": ("much", "Expected `float | null`, got `str`"), **less},
        )
        for name, less in (("worse_by", LESS), ("differs_by", LESS), ("above", {}), ("below", {}))
    ),
)  # fmt: skip
"""Every key that the contract's page does not have. `README.md` of the folder that it is for explains it."""


def steps(path: str) -> list[str | int]:
    """`rules[0].labels` as what to look up one after the other."""
    return [
        int(step) if step.isdigit() else step for step in path.replace("[", ".").replace("]", "").split(".")
    ]


def written(key: Key, value: object) -> dict[str, object]:
    """A policy in which the key has that value."""
    policy: dict[str, object] = msgspec.json.decode(msgspec.json.encode({"model": "m", **key.around}))
    *way, last = steps(key.path)
    part: object = policy
    for step in way:
        part = part[step]  # type: ignore[index]
    part[last] = value  # type: ignore[index]
    return policy


def found(key: Key, policy: object) -> object:
    """What the policy has for the key."""
    for step in steps(key.path):
        policy = policy[step] if isinstance(step, int) else getattr(policy, step)  # type: ignore[index]
    return policy


def parts(of: type[Part] = Part) -> list[type[Part]]:
    """All parts that policies are made of."""
    return [each for part in of.__subclasses__() for each in (part, *parts(part))]


def test_a_policy_has_the_contracts_keys_and_those_that_are_told_of_here() -> None:
    added: dict[str, set[str]] = {part.__name__: set() for part in parts()}
    for key in ADDED:
        added[key.owner].add(key.name)
    expected = {name: set(CONTRACT.get(name, "").split()) | added[name] for name in added}
    assert {part.__name__: set(part.__struct_encode_fields__) for part in parts()} == expected


@pytest.mark.parametrize("key", ADDED, ids=lambda key: key.path)
def test_without_an_added_key_there_is_its_default(key: Key) -> None:
    policy: object = {"model": "m", **key.around}
    if key.default is MISSING:
        with pytest.raises(HeadgateError, match=f"missing required field `{key.name}`"):
            policies.convert(policy)
    else:
        assert found(key, policies.convert(policy)) == key.default


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        pytest.param(key, *each, id=f"{key.path}-{words}")
        for key in ADDED
        for words, each in key.takes.items()
    ],
)
def test_an_added_key_takes(key: Key, value: object, read: object) -> None:
    policy = policies.parse(written(key, value))
    assert found(key, policy) == read
    assert policies.parse(msgspec.json.decode(msgspec.json.encode(policies.to_object(policy)))) == policy


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        pytest.param(key, *each, id=f"{key.path}-{words}")
        for key in ADDED
        for words, each in key.refuses.items()
    ],
)
def test_an_added_key_refuses_with_its_path_and_what_is_expected(
    key: Key, value: object, expected: str
) -> None:
    with pytest.raises(HeadgateError) as caught:
        policies.parse(written(key, value))
    assert str(caught.value).startswith(expected)
    assert str(caught.value).endswith(f" - at `$.{key.path}`")


def test_what_a_rule_outside_two_limits_is_cleared_by_is_two_numbers() -> None:
    """The contract's `clear` is one number; beside `outside` there are two."""
    rules = [{"name": "r", "metric": "throughput_rps", "outside": [10, 20], "clear": [12, 18]}]
    assert policies.parse({"model": "m", "rules": rules}).rules[0].clear == (12, 18)
