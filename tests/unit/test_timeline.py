"""Policies in time: which one is in force when, as a function of the log alone."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import policies
from schemas.errors import HeadgateError
from schemas.policies import Duration, Policy
from schemas.timeline import Timeline

MINUTE = 60_000
HOUR = 60 * MINUTE
NOON = 1_735_732_800_000
"""An instant (epoch ms) at which panes of any length start."""

panes = st.sampled_from([10_000, 30_000, MINUTE, 5 * MINUTE, HOUR])
times = st.integers(NOON, NOON + 5 * HOUR)


def policy(pane: int, model: str = "m", **fields: Any) -> Policy:
    return Policy(model=model, pane=Duration(pane), **fields)


def starts(timeline: Timeline, model: str = "m") -> list[int]:
    """The instants from NOON to NOON + 8 h, in steps of 10 s, at which another policy comes into force."""
    instants = range(NOON, NOON + 8 * HOUR, 10_000)
    return [
        late
        for early, late in pairwise(instants)
        if timeline.at(model, early) is not timeline.at(model, late)
    ]


def test_a_model_without_a_policy_has_the_defaults() -> None:
    timeline = Timeline()
    assert timeline.at("m", NOON).pane == policies.default("m").pane
    assert timeline.latest("m") == policies.default("m")
    assert not timeline.knows("m")


def test_a_models_first_policy_holds_from_the_beginning() -> None:
    timeline = Timeline()
    timeline.add(policy(30_000), NOON)
    assert timeline.at("m", 0).pane == 30_000
    assert timeline.at("m", NOON - HOUR).pane == 30_000


def test_one_models_policy_is_not_anothers() -> None:
    timeline = Timeline()
    timeline.add(policy(30_000), NOON)
    assert timeline.at("n", NOON).pane == 10_000
    assert timeline.models() == ["m"]


@pytest.mark.parametrize(
    ("old", "new", "published", "in_force"),
    [
        (10_000, 10_000, 0, 20_000),  # 15 s after, at the next boundary
        (10_000, 10_000, 5_000, 20_000),  # 20 s is a boundary itself
        (10_000, 10_000, 5_001, 30_000),
        (10_000, MINUTE, 0, MINUTE),
        (MINUTE, 10_000, 0, MINUTE),  # the old pane's boundary counts as well
        (MINUTE, 5 * MINUTE, 50_000, 5 * MINUTE),
        (4 * MINUTE, 6 * MINUTE, 0, 12 * MINUTE),
        (1_000, 1_000, 0, 15_000),
    ],
)
def test_a_later_policy_holds_from_a_boundary_of_old_and_new_panes(
    old: int, new: int, published: int, in_force: int
) -> None:
    timeline = Timeline()
    first, second = policy(old), policy(new)
    timeline.add(first, NOON - HOUR)
    timeline.add(second, NOON + published)
    assert timeline.at("m", NOON + in_force - 1) is first
    assert timeline.at("m", NOON + in_force) is second


@given(st.lists(st.tuples(panes, times), min_size=2, max_size=6))
def test_panes_never_straddle_a_change(changes: list[tuple[int, int]]) -> None:
    timeline = Timeline()
    for pane, time in changes:
        timeline.add(policy(pane), time)
    for instant in starts(timeline):
        assert instant % timeline.at("m", instant - 1).pane == 0
        assert instant % timeline.at("m", instant).pane == 0


@given(st.lists(st.tuples(panes, times), min_size=2, max_size=6))
def test_every_reader_has_the_notice_of_fifteen_seconds(changes: list[tuple[int, int]]) -> None:
    timeline = Timeline()
    for pane, time in changes:
        before = {instant: timeline.at("m", instant) for instant in range(NOON, time + 15_000, 5_000)}
        known = timeline.knows("m")
        timeline.add(policy(pane), time)
        assert not known or all(timeline.at("m", instant) is old for instant, old in before.items())


def test_of_two_that_come_into_force_together_the_later_one_holds() -> None:
    timeline = Timeline()
    timeline.add(policy(10_000), NOON - HOUR)
    timeline.add(policy(MINUTE), NOON + 1)
    last = policy(MINUTE)
    timeline.add(last, NOON + 2)
    assert timeline.at("m", NOON + MINUTE) is last
    assert timeline.at("m", NOON + MINUTE - 1).pane == 10_000


def test_a_policy_that_is_to_hold_later_than_the_next_one_does_not_come_back() -> None:
    timeline = Timeline()
    timeline.add(policy(10_000), NOON - HOUR)
    timeline.add(policy(HOUR), NOON + 1)  # from NOON + 1 h
    last = policy(10_000)
    timeline.add(last, NOON + 20_000)
    assert timeline.at("m", NOON + 8 * HOUR) is last
    assert timeline.latest("m") is last


def test_feedback_waits_for_the_longest_deadline_of_the_models() -> None:
    timeline = Timeline()
    timeline.add(policy(10_000, "short"), NOON)
    timeline.add(policy(HOUR, "long"), NOON)
    assert timeline.longest_deadline(NOON + 1) == NOON + HOUR + 11 * MINUTE


def test_without_any_policy_the_longest_deadline_is_the_defaults() -> None:
    assert Timeline().longest_deadline(NOON + 1) == NOON + 10_000 + 11 * MINUTE


# Records


def record(**fields: Any) -> bytes:
    return msgspec.json.encode({"model": "m", "ts": NOON, "actor": "a", "policy": {"model": "m"}} | fields)


def test_a_record_counts_from_the_later_of_its_own_time_and_kafkas() -> None:
    for ts, timestamp in ((NOON, NOON + MINUTE), (NOON + MINUTE, NOON)):
        timeline = Timeline()
        timeline.read(record(), NOON - HOUR)
        second = timeline.read(record(ts=ts, policy={"model": "m", "slow_ms": 5}), timestamp)
        assert timeline.at("m", NOON + MINUTE + 19_999) is not second
        assert timeline.at("m", NOON + MINUTE + 20_000) is second


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "found null"),
        (b"{}", "model: found nothing"),
        (record(policy={"model": "m", "pane": "7s"}), "at `$.pane`"),
        (record(policy={"model": "n"}), "found `n`, expected the record's `m`"),
        (record(policy="pane: 10s"), "Expected `object`"),
    ],
)
def test_a_record_that_is_no_policy_changes_nothing(value: bytes | None, message: str) -> None:
    timeline = Timeline()
    first = timeline.read(record(), NOON - HOUR)
    with pytest.raises(HeadgateError) as caught:
        timeline.read(value, NOON)
    assert message in str(caught.value)
    assert str(caught.value).startswith("control.policies: ")
    assert timeline.latest("m") is first


def test_the_longest_deadline_of_a_stretch_may_be_that_of_a_time_before_a_change() -> None:
    timeline = Timeline()
    timeline.add(policy(MINUTE, attribution=policies.Attribution(window=Duration(HOUR))), NOON)
    timeline.add(policy(MINUTE, attribution=policies.Attribution(window=Duration(MINUTE))), NOON)
    change = starts(timeline)[0]
    stretch = timeline.longest_deadline_between(change - 10_000, change + 10_000)
    assert stretch == timeline.longest_deadline(change - 1)
    assert stretch > timeline.longest_deadline(change + 10_000)
    assert timeline.longest_deadline_between(change, change + 1) == timeline.longest_deadline(change)
