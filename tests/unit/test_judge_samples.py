"""Rules on custom metrics: samples in, alerts out, with time as a number."""

import tracemalloc
from collections.abc import Iterable
from typing import Any

import pytest

from schemas.policies import parse
from schemas.records import Alert, Sample
from schemas.timeline import Timeline
from streams.judge.rules.samples import Samples
from streams.metrics.samples import SKEW
from tests.judging import PANE, START


def timeline(*rules: dict[str, object], model: str = "ranker") -> Timeline:
    """Panes of a second, and these rules on the means of a second."""
    made = Timeline()
    base: dict[str, object] = {"name": "rule", "metric": "gpu_use", "window": "1s"}
    made.add(parse({"model": model, "pane": "1s", "rules": [base | rule for rule in rules]}), START)
    return made


class World:
    """The samples of a partition; each comes at its own time where nothing else is said."""

    def __init__(self, *rules: dict[str, object]) -> None:
        self.samples = Samples(timeline(*rules))
        self.alerts: list[Alert] = []

    def take(
        self, second: float, value: float, timestamp: int | None = None, **fields: object
    ) -> list[Alert]:
        ts = START + round(second * PANE)
        base: dict[str, object] = {"model": "ranker", "ts": ts, "name": "gpu_use", "value": value}
        found = self.samples.take(Sample(**base | fields), ts if timestamp is None else timestamp)  # type: ignore[arg-type]
        self.alerts += found
        return found

    def series(self, values: Iterable[float]) -> list[Alert]:
        """One sample a second, and one more to pass the last pane's end."""
        for second, value in enumerate(values):
            self.take(second, value)
        self.take(second + 1, 0.0, name="other")
        return self.alerts


def statuses(alerts: list[Alert]) -> list[str]:
    return [alert.status for alert in alerts]


def test_the_mean_of_a_panes_samples_is_held_against_the_limit() -> None:
    world = World({"above": 0.9})
    world.take(0.1, 0.8)
    world.take(0.9, 1.2)
    (fired,) = world.take(1.0, 0.0)
    assert (fired.status, fired.rule, fired.threshold) == ("firing", "rule", 0.9)
    assert fired.value == pytest.approx(1.0)
    assert fired.starts_at == START
    assert fired.labels == {"metric": "gpu_use"}


def test_it_is_resolved_with_the_same_id() -> None:
    fired, resolved = World({"above": 0.9}).series([1.0, 1.0, 0.5])
    assert (fired.status, resolved.status) == ("firing", "resolved")
    assert fired.alert_id == resolved.alert_id
    assert resolved.ends_at == START + 3 * PANE


def test_the_window_is_the_mean_of_all_its_samples_not_of_its_panes() -> None:
    world = World({"above": 1.5, "window": "2s"})
    for tenth in range(9):
        world.take(tenth / 10, 1.0)
    world.take(1.5, 11.0)
    (fired,) = world.take(2.0, 0.0)
    assert fired.value == pytest.approx(2.0)


def test_for_and_clear_mean_what_they_mean_of_other_metrics() -> None:
    world = World({"above": 0.9, "for": "2s", "clear": 0.5})
    assert statuses(world.series([1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 0.7, 0.4])) == ["firing", "resolved"]
    assert world.alerts[0].starts_at == START + 3 * PANE


def test_a_pane_without_samples_is_no_verdict() -> None:
    world = World({"above": 0.9})
    world.take(0, 1.0)
    world.take(5, 1.0)
    assert statuses(world.take(6, 0.0)) == []
    assert statuses(world.alerts) == ["firing"]


def test_where_narrows_by_version_phase_and_labels() -> None:
    where = {"version": "v2", "phase": "training", "worker": "w1"}
    world = World({"above": 0.9, "where": where})
    right: dict[str, Any] = {"version": "v2", "phase": "training", "labels": {"worker": "w1", "step": "7"}}
    world.take(0.1, 1.0, **right)
    for wrong in ({"version": "v1"}, {"phase": "serving"}, {"labels": {"worker": "w2"}}, {"labels": None}):
        world.take(0.2, -100.0, **(right | wrong))
    (fired,) = world.take(1.0, 0.0)
    assert fired.value == 1.0
    assert fired.labels == {"metric": "gpu_use"} | where


def test_other_names_and_other_models_do_not_count() -> None:
    world = World({"above": 0.9})
    world.take(0.1, 1.0)
    world.take(0.2, -100.0, name="gpu_memory")
    world.take(0.3, -100.0, model="other")
    assert statuses(world.take(1.0, 0.0)) == ["firing"]


def test_samples_of_any_model_pass_the_time() -> None:
    world = World({"above": 0.9})
    world.take(0.1, 1.0)
    assert world.take(1.0, 0.0, model="other") == []
    assert statuses(world.samples.pass_time()) == ["firing"]


def test_two_rules_that_ask_the_same_count_each_sample_once() -> None:
    world = World({"name": "a", "above": 0.9}, {"name": "b", "above": 1.5})
    world.take(0.1, 1.0)
    assert [alert.rule for alert in world.take(1.0, 0.0)] == ["a"]


def test_a_sample_with_a_name_of_the_catalogue_answers_only_to_its_prefix() -> None:
    world = World(
        {"name": "own", "metric": "ctr", "above": 0.9},
        {"name": "theirs", "metric": "samples.ctr", "above": 0.9},
    )
    world.take(0.1, 1.0, name="ctr")
    assert [alert.rule for alert in world.take(1.0, 0.0)] == ["theirs"]


def test_a_late_sample_counts_in_the_windows_that_are_still_to_come() -> None:
    world = World({"above": 0.9, "window": "2s"})
    world.take(0.5, 0.0)
    world.take(1.5, 1.0)
    world.take(0.9, 5.0)
    assert statuses(world.take(2.0, 0.0)) == ["firing"]


def test_a_time_far_ahead_is_replaced_by_kafkas() -> None:
    world = World({"above": 0.9})
    world.take(0.1, 1.0)
    world.take(0.201 + SKEW / PANE, 2.0, timestamp=START + 200)
    assert world.samples.clock == START + 200
    (fired,) = world.take(1.0, 0.0)
    assert fired.value == pytest.approx(1.5)


def test_the_clock_never_runs_ahead_of_kafkas() -> None:
    world = World({"above": 0.9})
    world.take(0.1, 1.0)
    assert world.take(30.0, 0.0, timestamp=START + 500) == []


def test_where_nothing_comes_time_goes_on() -> None:
    world = World({"above": 0.9})
    world.take(0.1, 1.0)
    assert world.samples.pass_time(idle=899) == []
    assert statuses(world.samples.pass_time(idle=900)) == ["firing"]


def test_verdicts_do_not_depend_on_when_time_is_passed() -> None:
    """A late sample comes after another model's has passed its pane's end: nobody may have looked by then."""
    seldom, often = World({"above": 0.9}), World({"above": 0.9})
    for second in range(6):
        for world in (seldom, often):
            world.take(second + 0.1, 1.0)
            world.take(second + 1.0, 0.0, model="other")
        often.alerts += often.samples.pass_time()
        for world in (seldom, often):
            world.take(second + 0.2, -100.0 * (second % 2))
    assert seldom.alerts == often.alerts
    assert statuses(seldom.alerts) == ["firing"]


def test_a_successor_that_reads_from_what_is_needed_finds_the_same() -> None:
    rule: dict[str, object] = {"above": 0.9, "window": "3s", "for": "2s"}
    values = [0.5, 1.0, 1.2, 1.1, 0.9, 1.4, 1.5, 0.2, 0.1, 0.1]
    whole = World(rule).series(values)
    assert statuses(whole) == ["firing", "resolved"]
    for restart in range(2, len(values)):
        first = World(rule)
        for second, value in enumerate(values[:restart]):
            first.take(second, value)
        needed = first.samples.needed()
        assert needed is not None
        successor = World()
        successor.samples = Samples(timeline(rule), floor=needed)
        for second, value in enumerate(values):
            if START + second * PANE >= needed:
                successor.take(second, value)
        successor.take(len(values), 0.0, name="other")
        assert {alert.alert_id for alert in whole} == {alert.alert_id for alert in successor.alerts}


def test_windows_that_begin_before_what_is_known_whole_are_no_verdict() -> None:
    world = World()
    world.samples = Samples(timeline({"below": 0.9, "window": "2s"}), floor=START + PANE)
    world.take(1.1, 0.0)
    assert world.take(2.0, 0.0) == []
    assert statuses(world.take(3.0, 1.0)) == ["firing"]


def test_a_policy_that_asks_for_no_samples_needs_none() -> None:
    world = World({"metric": "error_rate", "above": 0.1})
    world.take(0, 1.0)
    world.take(100, 1.0)
    assert world.samples.needed() is None


def test_however_many_samples_come_only_what_rules_ask_for_is_held() -> None:
    world = World({"above": 1e9, "window": "5s"})

    def feed(seconds: range) -> int:
        for second in seconds:
            world.take(second, 1.0)
            world.take(second, 1.0, name=f"name-{second}", labels={"step": str(second)})
            world.take(second, 1.0, model=f"model-{second}")
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    before, after = feed(range(500)), feed(range(500, 3_000))
    tracemalloc.stop()
    assert after - before < 50_000
    needed = world.samples.needed()
    assert needed is not None
    assert needed >= START + 2_990 * PANE
