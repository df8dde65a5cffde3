"""The join stage on logs as brokers make them: one whose beginning retention took while nobody read, and one
that is stamped by the broker.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as Partition
from confluent_kafka.admin import AdminClient

import infra.topics
from schemas import policies
from schemas.policies import Policy
from schemas.records import Alert, Codec, Pane, PaneRecord, Progress
from schemas.settings import Settings
from schemas.topics import ALERTS, FEEDBACK, PANES, PREDICTIONS, REQUESTS, Topic
from streams.join.passage import SETTLING
from streams.log import Follower
from tests.conftest import SharedStack, isolated
from tests.oracle import stages, traffic
from tests.oracle.panes import newest

POLICY = Policy(
    model="ranker",
    pane=policies.Duration(1_000),
    attribution=policies.Attribution(window=policies.Duration(20_000), lateness=policies.Duration(5_000)),
    answer=policies.Duration(1_000),
)
QUICK = Policy(
    model="ranker",
    pane=policies.Duration(1_000),
    attribution=policies.Attribution(window=policies.Duration(1_000), lateness=policies.Duration(1_000)),
    answer=policies.Duration(1_000),
)
MINUTE = 60_000


@pytest.fixture
def settings(stack: SharedStack) -> Settings:
    """Topics of one partition, of each test's own."""
    settings = isolated(stack.settings)
    return msgspec.structs.replace(settings, topics=msgspec.structs.replace(settings.topics, partitions=1))


class World:
    """What is produced and what the stages say."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = Producer(settings.kafka.librdkafka() | {"enable.idempotence": True})
        self._panes = Follower(settings, PANES)
        self._alerts = Follower(settings, ALERTS)
        self._admin = AdminClient(settings.kafka.librdkafka())
        self._codec: Codec[PaneRecord] = Codec(PaneRecord)
        self.said: list[Pane] = []
        self.progress: list[Progress] = []
        self.alerts: list[Alert] = []

    def produce(self, topic: Topic, ts: int, number: int = 0) -> None:
        """A record of that time, and of the same Kafka timestamp where producers say it."""
        value = {"request_id": f"r{number}-{ts}", "ts": ts}
        if topic is not FEEDBACK:
            value |= {"model": "ranker"}
        if topic is PREDICTIONS:
            value |= {"version": "v1", "arm": "stable", "status": "ok", "latency_ms": 1, "items": ["a"]}
        if topic is FEEDBACK:
            value |= {"kind": "click", "item": "a"}
        self._producer.produce(
            topic.full_name(self._settings.topics), json.dumps(value), f"r{number}-{ts}", timestamp=ts
        )
        self._producer.flush(30)

    def forget(self, topic: Topic, before: int) -> None:
        """What retention does: the log starts at offset `before`."""
        place = Partition(topic.full_name(self._settings.topics), 0, before)
        self._admin.delete_records([place])[place].result(30)

    def wait(self, holds: Callable[[], bool]) -> None:
        """Waits for what the stages say."""

        def read() -> bool:
            for entry in self._panes.refresh():
                record = self._codec.decode(entry.value)
                self.said += [record] if isinstance(record, Pane) else []
                self.progress += [record] if isinstance(record, Progress) else []
            self.alerts += [
                msgspec.json.decode(each.value or b"", type=Alert) for each in self._alerts.refresh()
            ]
            return holds()

        traffic.wait_until(read)

    def total(self, name: str, start: int | None = None) -> float:
        """A sum over all series but segments, of the pane that starts then, as said last."""
        return sum(
            pane.sums.get(name, 0)
            for pane in newest(self.said).values()
            if not pane.segment and start in (None, pane.start)
        )

    def alert(self, status: str) -> list[Alert]:
        """Alerts about incomplete panes."""
        return [alert for alert in self.alerts if (alert.rule, alert.status) == ("incomplete", status)]


@pytest.mark.timeout(180)
def test_where_retention_overtook_the_reader_old_rows_stay_and_an_alert_says_that_panes_are_incomplete(
    tmp_path: Path, settings: Settings
) -> None:
    stages.prepare(tmp_path, settings, POLICY)
    world = World(settings)
    noon = POLICY.pane_start(time.time_ns() // 1_000_000 - 10 * MINUTE)
    with stages.running(tmp_path, settings, "join"):
        for number in range(10):
            world.produce(PREDICTIONS, noon, number)
        world.wait(lambda: world.total("predictions", noon) == 10)
    world.forget(PREDICTIONS, 5)
    with stages.running(tmp_path, settings, "join", "judge"):
        world.produce(PREDICTIONS, noon + MINUTE)  # whose pane is after all that may have had lost records
        world.wait(lambda: world.total("predictions", noon + MINUTE) == 1)
        world.wait(lambda: bool(world.alert("firing")))
        later = noon + 5 * MINUTE
        for topic in (REQUESTS, PREDICTIONS, FEEDBACK):
            world.produce(topic, later)
        world.wait(lambda: bool(world.alert("resolved")))
    assert world.total("predictions", noon) == 10
    assert world.total("incomplete") == 1
    (alert,) = world.alert("firing")
    assert alert.severity == "warning"
    assert "retention.ms" in alert.annotations["summary"]
    assert [each.alert_id for each in world.alert("resolved")] == [alert.alert_id]


@pytest.mark.timeout(180)
def test_under_log_append_time_panes_are_final_once_all_clocks_are_past_them_however_idle_topics_are(
    tmp_path: Path, settings: Settings
) -> None:
    infra.topics.create(settings, forever=False)
    stages.prepare(tmp_path, settings, QUICK)
    world = World(settings)
    with stages.running(tmp_path, settings, "join"):
        first = QUICK.pane_start(time.time_ns() // 1_000_000)
        world.produce(PREDICTIONS, first)
        world.produce(FEEDBACK, first)
        world.wait(lambda: world.total("clicks", first) == 1)
        # The other two pass the pane's deadline; of the feedback, by its last stamp, more may come.
        while time.time_ns() // 1_000_000 < QUICK.deadline(first) + 2_000:
            time.sleep(0.1)
        past = time.time_ns() // 1_000_000
        world.produce(REQUESTS, past)
        world.produce(PREDICTIONS, past)
        known = len(world.progress)
        world.wait(lambda: world.total("predictions") == 2 and len(world.progress) > known + 3)
        held_back = world.progress[-1]
        world.produce(FEEDBACK, first, 1)  # late by its own clock: no, for that is still before the deadline
        world.produce(FEEDBACK, time.time_ns() // 1_000_000, 2)
        world.wait(lambda: world.progress[-1].time > QUICK.deadline(first))
    assert held_back.time <= max(first + 1_000, time.time_ns() // 1_000_000 - SETTLING)
    assert world.total("predictions", first) == 1
