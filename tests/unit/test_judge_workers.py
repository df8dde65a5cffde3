"""Workers: who is live, who follows, and whom people are told about."""

import msgspec
import pytest

from schemas.records import Ack
from streams.judge.facts.workers import LIVE, Standing, Workers
from tests.judging import START, World


def ack(worker: str, ts: int, generation: int = 2, status: str | None = "applied") -> Ack:
    return Ack(model="ranker", worker=worker, ts=ts, kind="ack", generation=generation, status=status)  # type: ignore[arg-type]


def heartbeat(worker: str, ts: int, generation: int = 1) -> Ack:
    return Ack(model="ranker", worker=worker, ts=ts, kind="heartbeat", generation=generation)


def heard(*acks: Ack) -> Workers:
    workers = Workers()
    for record in acks:
        workers.take(record)
    return workers


def test_a_worker_is_live_for_fifteen_seconds_after_its_last_word() -> None:
    workers = heard(heartbeat("w1", START))
    assert [worker.name for worker in workers.live(START + LIVE)] == ["w1"]
    assert list(workers.live(START + LIVE + 1)) == []


@pytest.mark.parametrize(
    ("record", "after", "standing"),
    [
        (ack("w1", START), 0, Standing.APPLIED),
        (ack("w1", START, generation=3), 0, Standing.APPLIED),
        (heartbeat("w1", START, generation=2), 0, Standing.APPLIED),
        (heartbeat("w1", START, generation=1), 9_999, Standing.WAITING),
        (ack("w1", START, status="loading"), 9_999, Standing.WAITING),
        (heartbeat("w1", START, generation=1), 10_000, Standing.LATE),
        (ack("w1", START, status="failed"), 0, Standing.FAILED),
    ],
)
def test_how_a_worker_stands_to_a_generation(record: Ack, after: int, standing: Standing) -> None:
    assert heard(record).stand(2, START, 10_000, START + after) == {"w1": standing}


def test_of_what_a_worker_says_is_wrong_so_much_is_kept_as_an_alert_takes() -> None:
    failed = msgspec.structs.replace(ack("w1", START, status="failed"), error="out of memory" * 100_000)
    said = heard(failed).error("w1")
    assert said.startswith("out of memory")
    assert len(said) <= 1_000


def test_a_worker_that_starts_later_has_its_own_time_to_load() -> None:
    workers = heard(heartbeat("w1", START + 60_000, generation=0))
    assert workers.stand(2, START, 10_000, START + 69_999) == {"w1": Standing.WAITING}
    assert workers.stand(2, START, 10_000, START + 70_000) == {"w1": Standing.LATE}


def test_a_worker_that_is_started_anew_under_its_name_has_applied_nothing_yet() -> None:
    workers = heard(ack("w1", START), heartbeat("w1", START + 1_000, generation=0))
    assert workers.stand(2, START, 10_000, START + 10_999) == {"w1": Standing.WAITING}
    assert workers.stand(2, START, 10_000, START + 11_000) == {"w1": Standing.LATE}


def test_a_generation_is_settled_when_the_last_live_worker_has_applied_it() -> None:
    workers = heard(heartbeat("w1", START), heartbeat("w2", START), ack("w1", START + 100))
    assert workers.settled(2, START, 10_000, START + 200) is None
    workers.take(ack("w2", START + 300))
    assert workers.settled(2, START, 10_000, START + 400) == START + 300


def test_a_generation_is_settled_by_the_deadline_whoever_is_missing() -> None:
    workers = heard(heartbeat("w1", START))
    assert workers.settled(2, START, 10_000, START + 9_999) is None
    assert workers.settled(2, START, 10_000, START + 10_000) == START + 10_000


def test_without_workers_a_generation_is_settled_at_the_deadline() -> None:
    assert Workers().settled(2, START, 10_000, START + 10_000) == START + 10_000


def released() -> World:
    made = World({"release": {"steps": [{"weight": 0.5}], "ack_deadline": "2s"}})
    made.heartbeat("w1")
    made.heartbeat("w2")
    made.command("start", "v1")
    return made


def test_a_worker_that_does_not_acknowledge_in_time_is_an_alert_of_its_own_until_it_does() -> None:
    made = released()
    made.ack("w1")
    assert made.alerts == []
    made.now += 2_000
    made.decide()
    (fired,) = made.alerts
    assert (fired.rule, fired.status, fired.labels) == ("ack_missing", "firing", {"worker": "w2"})
    made.decide()
    assert len(made.alerts) == 1
    made.ack("w2")
    made.decide()
    assert (made.alerts[1].status, made.alerts[1].alert_id) == ("resolved", fired.alert_id)


def test_a_worker_that_could_not_apply_is_an_alert_at_once_that_says_why() -> None:
    made = released()
    made.ack("w1")
    made.fail("w2", "no such file: model.onnx")
    made.decide()
    (fired,) = made.alerts
    assert "no such file: model.onnx" in fired.annotations["summary"]


def test_a_worker_that_is_gone_is_no_longer_an_alert() -> None:
    made = released()
    made.ack("w1")
    made.now += 2_000
    made.decide()
    made.now += LIVE
    made.heartbeat("w1", 1)
    made.decide()
    assert [alert.status for alert in made.alerts] == ["firing", "resolved"]


def test_a_successor_resolves_what_was_acknowledged_while_nobody_watched() -> None:
    made = released()
    made.now += 2_000
    made.decide()
    fired, made.alerts = made.alerts, []
    made.successor()
    made.now = START
    made.heartbeat("w1")
    made.heartbeat("w2")
    made.now = START + 3_000
    made.ack("w1")
    made.ack("w2")
    made.decide()
    assert [alert.status for alert in made.alerts] == ["resolved", "resolved"]
    assert [alert.alert_id for alert in made.alerts] == [alert.alert_id for alert in fired]


def test_a_generation_replaces_the_alerts_of_the_one_before() -> None:
    made = released()
    made.ack("w1")
    made.now += 2_000
    made.decide()
    made.command("start", "v2")
    assert [alert.status for alert in made.alerts] == ["firing", "resolved"]
