"""The judge as a process on a real broker: fed with panes, commands and acks, killed, fenced, forced."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import infra.topics
from schemas import topics
from schemas.errors import HeadgateError
from schemas.records import Ack, Alert, DeadLetter
from schemas.settings import Settings
from streams.judge.releases import release
from streams.judge.releases.release import Occasion
from streams.judge.writer import force_rollback
from tests.judge_processes import POLICY, Bench, Log, canary, now, publish_release


@pytest.fixture
def bench(settings: Settings, tmp_path: Path) -> Iterator[Bench]:
    infra.topics.create(settings, forever=True)
    made = Bench(settings, tmp_path, f"ranker-{now()}")
    made.apply(POLICY)
    made.command("start", "v1")
    yield made
    made.close()


def test_a_worse_candidate_is_rolled_back_once_although_the_judge_is_killed_on_the_way(bench: Bench) -> None:
    judge = bench.start()
    bench.until(lambda: bench.phase() == "stable")
    bench.command("start", "v2")
    bench.until(lambda: bench.phase() == "canary")
    judge.kill()
    judge.wait()
    for _ in range(3):
        bench.second({"v1": 0.2, "v2": 0.05})
        time.sleep(1.0)
    bench.start()
    bench.traffic_until(lambda: bench.phase() == "rolled_back", {"v1": 0.2, "v2": 0.05})
    assert [record.generation for record in bench.releases()] == [1, 2, 3]
    bench.until(lambda: any(alert.rule == "release_rolled_back" for alert in bench.alerts()))


def test_a_healthy_candidate_is_promoted_and_then_watched(bench: Bench) -> None:
    bench.start()
    bench.until(lambda: bench.phase() == "stable")
    bench.command("start", "v2")
    bench.until(lambda: bench.phase() == "canary")
    bench.traffic_until(lambda: bench.phase() == "watching", {"v1": 0.2, "v2": 0.2})
    assert bench.release is not None
    assert (bench.release.stable, bench.release.candidate) == ("v2", "v1")


def test_a_version_that_turns_out_worse_after_its_promotion_is_rolled_back_by_itself(bench: Bench) -> None:
    bench.start()
    bench.until(lambda: bench.phase() == "stable")
    bench.command("start", "v2")
    bench.until(lambda: bench.phase() == "canary")
    bench.command("promote")
    bench.until(lambda: bench.phase() == "watching")
    bench.traffic_until(lambda: bench.phase() == "rolled_back", {"v1": 0.2, "v2": 0.05})
    assert bench.release is not None
    assert (bench.release.stable, bench.release.candidate) == ("v1", None)


def test_a_forced_rollback_fences_the_judge_which_ends_and_a_new_one_goes_on(bench: Bench) -> None:
    judge = bench.start()
    bench.until(lambda: bench.phase() == "stable")
    bench.command("start", "v2")
    bench.until(lambda: bench.phase() == "canary")
    forced = force_rollback(bench.settings, bench.model, "olga", "it burns", now())
    assert (forced.phase, forced.stable, forced.generation) == ("rolled_back", "v1", 3)
    bench.command("start", "v3")
    assert judge.wait(30) == 1
    assert "somebody else writes partition 0" in bench.logs()
    bench.start()
    bench.until(lambda: bench.phase() == "canary")
    assert bench.release is not None
    assert (bench.release.generation, bench.release.candidate) == (4, "v3")


def test_a_forced_rollback_works_without_any_judge(bench: Bench) -> None:
    publish_release(bench.settings, 0, canary(bench.model))
    force_rollback(bench.settings, bench.model, "olga", None, now())
    assert bench.release is not None
    assert (bench.release.phase, bench.release.stable, bench.release.candidate) == ("rolled_back", "v1", None)


def test_who_forces_a_rollback_behind_another_goes_back_further_only_knowingly(bench: Bench) -> None:
    before = canary(bench.model)
    state = msgspec.structs.replace(release.read(before).state, previous="v0")
    before.evidence = {**(before.evidence or {}), "state": msgspec.to_builtins(state)}
    publish_release(bench.settings, 0, before)
    first = force_rollback(bench.settings, bench.model, "olga", "it burns", now())
    with pytest.raises(HeadgateError, match=r"back to v1 already .*it burns.*, to v0, add --generation"):
        force_rollback(bench.settings, bench.model, "ada", None, now())
    with pytest.raises(HeadgateError, match="found generation"):
        force_rollback(bench.settings, bench.model, "ada", None, now(), first.generation - 1)
    again = force_rollback(bench.settings, bench.model, "ada", None, now(), first.generation)
    assert (again.stable, again.generation) == ("v0", first.generation + 1)


def test_a_rollback_is_forced_behind_one_that_the_judge_decided(bench: Bench) -> None:
    runs = canary(bench.model)
    state = msgspec.structs.replace(release.read(runs).state, previous="v0")
    runs.evidence = {**(runs.evidence or {}), "state": msgspec.to_builtins(state)}
    proven = Occasion(now=now(), key="k", reason="proven", as_of={}, evidence={"cause": "guardrail"})
    publish_release(bench.settings, 0, release.roll_back(release.read(runs), proven))
    assert force_rollback(bench.settings, bench.model, "olga", None, now()).stable == "v0"


def test_a_forced_rollback_ends_the_alert_about_the_pause_that_it_ends(bench: Bench) -> None:
    occasion = Occasion(now=now(), key="k", reason="no data", as_of={})
    paused = release.pause(release.read(canary(bench.model)), "no_data", occasion)
    publish_release(bench.settings, 0, paused)
    bench.start()

    def told() -> list[Alert]:
        return [alert for alert in bench.alerts() if alert.rule == "release_paused"]

    bench.until(lambda: len(told()) == 1)
    force_rollback(bench.settings, bench.model, "olga", None, now())
    bench.start()
    bench.until(lambda: len(told()) == 2)
    assert [alert.status for alert in told()] == ["firing", "resolved"]
    assert len({alert.alert_id for alert in told()}) == 1


def test_a_forced_rollback_of_what_has_no_release_says_so(bench: Bench) -> None:
    with pytest.raises(HeadgateError, match="has no release"):
        force_rollback(bench.settings, "nobody", "olga", None, now())


@pytest.mark.soak
def test_a_judge_that_is_killed_again_and_again_applies_each_command_once(bench: Bench) -> None:
    judge = bench.start()
    bench.until(lambda: bench.phase() == "stable")
    for version in ("v2", "v3", "v4"):
        bench.command("start", version)
        bench.command("abort")
        judge.send_signal(signal.SIGKILL)
        judge.wait()
        judge = bench.start()
    bench.until(lambda: len(bench.releases()) >= 7)
    bench.command("start", "v5")
    bench.until(lambda: bench.phase() == "canary")
    assert [record.generation for record in bench.releases()] == list(range(1, 9))
    assert [record.candidate for record in bench.releases()] == [
        None,
        "v2",
        None,
        "v3",
        None,
        "v4",
        None,
        "v5",
    ]


def test_a_rule_fires_once_and_is_resolved_with_the_same_id(bench: Bench) -> None:
    bench.start()
    bench.until(lambda: bench.phase() == "stable")
    for latency in (10.0, 500.0, 500.0, 500.0, 10.0, 10.0, 10.0):
        bench.second({"v1": 0.1}, latency)
        time.sleep(1.0)
    bench.until(lambda: len([alert for alert in bench.alerts() if alert.rule == "slow"]) >= 2)
    fired, resolved = [alert for alert in bench.alerts() if alert.rule == "slow"]
    assert (fired.status, resolved.status) == ("firing", "resolved")
    assert fired.alert_id == resolved.alert_id
    assert fired.value is not None
    assert fired.value > 100


def test_an_alert_that_fires_while_the_judge_is_killed_is_resolved_by_its_successor_with_the_same_id(
    bench: Bench,
) -> None:
    judge = bench.start()
    bench.until(lambda: bench.phase() == "stable")

    def slow() -> list[Alert]:
        return [alert for alert in bench.alerts() if alert.rule == "slow"]

    bench.second({"v1": 0.1}, 10.0)
    time.sleep(1.0)
    while not slow():
        bench.second({"v1": 0.1}, 500.0)
        time.sleep(1.0)
    bench.until_noted()
    judge.kill()
    judge.wait()
    bench.second({"v1": 0.1}, 500.0)
    time.sleep(1.0)
    bench.start()
    bench.second({"v1": 0.1}, 500.0)
    time.sleep(1.0)
    while slow()[-1].status != "resolved":
        bench.second({"v1": 0.1}, 10.0)
        time.sleep(1.0)
    assert len({alert.alert_id for alert in slow()}) == 1
    assert [alert.status for alert in slow()] == ["firing", "resolved"]


def test_a_worker_that_does_not_acknowledge_is_an_alert_until_it_does(bench: Bench) -> None:
    bench.start()
    bench.until(lambda: bench.phase() == "stable")
    bench.command("start", "v2")
    bench.until(lambda: bench.phase() == "canary")
    bench.send(topics.ACKS, Ack(model=bench.model, worker="w7", ts=now(), kind="heartbeat", generation=1))

    def missing() -> list[Alert]:
        return [alert for alert in bench.alerts() if alert.rule == "ack_missing"]

    bench.until(lambda: len(missing()) == 1)
    assert (missing()[0].status, missing()[0].labels["worker"]) == ("firing", "w7")
    bench.send(
        topics.ACKS,
        Ack(model=bench.model, worker="w7", ts=now(), kind="ack", generation=2, status="applied"),
    )
    bench.until(lambda: len(missing()) == 2)
    assert missing()[1].status == "resolved"
    assert missing()[1].alert_id == missing()[0].alert_id


def test_a_record_that_cannot_be_read_is_a_dead_letter_and_the_judge_goes_on(bench: Bench) -> None:
    bench.start()
    bench.raw(topics.PANES, b"{}")
    bench.raw(topics.COMMANDS, b"\xff")
    bench.raw(topics.POLICIES, b'{"model":"m","ts":1735689600000,"actor":"a","policy":{"model":"m","k":[0]}}')
    letters = Log(bench.settings, topics.DEAD_LETTERS, DeadLetter)
    expected = {"metrics.panes", "control.commands", "control.policies"}
    bench.until(lambda: expected <= {letter.topic for letter in letters.read()})
    assert {letter.reason for letter in letters.read() if letter.topic == "control.policies"} == {
        "control.policies: Expected `int` >= 1 - at `$.k[0]`"
    }
    bench.until(lambda: bench.phase() == "stable")
