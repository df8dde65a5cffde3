"""The sink's process between a real Kafka and the real ClickHouse engine."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import msgspec
import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, Producer, TopicPartition

import infra.topics
from infra.local.stack import LocalStack
from schemas import topics
from schemas.records import (
    DAY,
    ENCODER,
    Ack,
    Alert,
    CommandRecord,
    DeadLetter,
    Distribution,
    Evidence,
    Finding,
    Findings,
    Outlook,
    Pane,
    PolicyRecord,
    Profile,
    Progress,
    Release,
    Sample,
)
from schemas.settings import Settings
from schemas.topics import Topic
from streams.log import Output
from streams.registry import group
from streams.storage import migrate
from tests.conftest import SharedStack, isolated

NOW = time.time_ns() // 1_000_000
MINUTE = 60_000


class Sink:
    """A process of the sink, with its log."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.log = log
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streams.worker", "sink", str(os.getpid())],
                stdin=subprocess.PIPE,
                stderr=stderr,
            )
        assert self.process.stdin is not None
        with self.process.stdin as stdin:
            stdin.write(msgspec.json.encode(settings))

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status, after the signal."""
        self.process.send_signal(number)
        return self.process.wait(30)


class World:
    """A stack's Kafka and ClickHouse, as the tests use them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        infra.topics.create(settings, forever=True)
        self.output = Output(settings)

    def client(self) -> Client:
        return clickhouse_connect.get_client(
            **self.settings.clickhouse.connect(), autogenerate_session_id=False
        )

    def send(self, topic: Topic, *records: msgspec.Struct | bytes, key: str = "ranker") -> None:
        for record in records:
            self.output.send(topic, key, record if isinstance(record, bytes) else ENCODER.encode(record))

    def read(self, query: str) -> list[tuple[Any, ...]]:
        """The query's rows; `{db}` in it is the database."""
        client = self.client()
        try:
            text = query.format(db=self.settings.clickhouse.database)
            return [tuple(row) for row in client.query(text).result_rows]
        finally:
            client.close()

    def until(self, query: str, expected: list[tuple[Any, ...]], sink: Sink, seconds: float = 60.0) -> None:
        """Returns once the query's rows are `expected`; fails with the rows and the log after `seconds`."""
        found: object = None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and sink.process.poll() is None:
            try:
                found = self.read(query)
            except clickhouse_connect.driver.exceptions.Error as error:  # not there yet
                found = error
            if found == expected:
                return
            time.sleep(0.1)
        pytest.fail(f"found {found}, expected {expected}; the sink's log:\n{sink.log.read_text()}")

    def offsets(self, topic: Topic, partition: int = 0) -> tuple[int, int]:
        """What the sink has committed of a topic partition, and its end."""
        name = topic.full_name(self.settings.topics)
        config = {"group.id": group("sink", self.settings), "enable.auto.commit": False}
        consumer = Consumer(self.settings.kafka.librdkafka() | config)
        try:
            [committed] = consumer.committed([TopicPartition(name, partition)], timeout=10)
            _, end = consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=10)
            return committed.offset, end
        finally:
            consumer.close()

    def until_committed(self, topic: Topic, sink: Sink, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while (offsets := self.offsets(topic))[0] != offsets[1]:
            if time.monotonic() > deadline or sink.process.poll() is not None:
                pytest.fail(f"{topic.name}: committed and end are {offsets}; log:\n{sink.log.read_text()}")
            time.sleep(0.1)


@pytest.fixture(scope="module")
def world(settings: Settings) -> World:
    return World(settings)


@pytest.fixture(scope="module")
def sink(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    """A sink that runs for all tests that do not kill it."""
    running = Sink(world.settings, tmp_path_factory.mktemp("sink") / "log")
    yield running
    running.end()


def sample(name: str, value: float, ts: int = NOW, **labels: str) -> Sample:
    return Sample(model="ranker", ts=ts, name=name, value=value, labels=labels)


def pane(model: str, number: int, clicks: int, snapshot: int) -> Pane:
    start = NOW - NOW % MINUTE - DAY + number * 10_000
    return Pane(
        model=model,
        version="v1",
        arm="stable",
        segment="",
        segment_value="",
        start=start,
        end=start + 10_000,
        generation=1,
        partition=0,
        part=0,
        snapshot=snapshot,
        deadline=start + 20_000,
        sums={"predictions": 100.0, "impressions": 100.0, "clicks": float(clicks)},
    )


# What comes in goes into its view


def test_the_records_of_every_topic_are_in_their_views(world: World, sink: Sink) -> None:
    world.send(topics.PANES, pane("every", 0, 7, 1))
    world.send(topics.ALERTS, Alert("a1", "every", "slow", "firing", "page", NOW))
    world.send(
        topics.RELEASES,
        Release(model="every", generation=1, ts=NOW, stable="v1", decision_id="d", reason="first"),
    )
    world.send(topics.ACKS, Ack(model="every", worker="w", ts=NOW, kind="ack", generation=1))
    world.send(
        topics.COMMANDS, CommandRecord(model="every", ts=NOW, command="start", command_id="c", actor="ann")
    )
    world.send(
        topics.POLICIES,
        PolicyRecord(model="every", ts=NOW, policy=msgspec.Raw(b'{"model":"every"}'), actor="ann"),
    )
    world.send(
        topics.PROFILES,
        Profile(model="every", version="v1", ts=NOW, features={"age": Distribution(counts=[1, 2])}),
    )
    world.send(topics.SAMPLES, Sample(model="every", ts=NOW, name="loss", value=0.5))
    look = Outlook(at=NOW, context=Findings(findings=[Finding("ctr worse_by 0", effect=-0.1)]))
    no_release = Evidence(model="every", ts=NOW + 1)
    world.send(topics.EVIDENCE, Evidence(model="every", ts=NOW, outlook=look), no_release)
    world.send(
        topics.DEAD_LETTERS,
        DeadLetter(ts=NOW, topic="t", partition=0, offset=1, stage="join", reason="every"),
    )
    world.output.flush()
    world.until("SELECT value FROM {db}.metrics WHERE model = 'every' AND metric = 'ctr'", [(0.07,)], sink)
    world.until("SELECT alert_id, status FROM {db}.alerts WHERE model = 'every'", [("a1", "firing")], sink)
    world.until("SELECT generation, stable FROM {db}.releases WHERE model = 'every'", [(1, "v1")], sink)
    world.until("SELECT worker FROM {db}.acks WHERE model = 'every'", [("w",)], sink)
    world.until("SELECT command FROM {db}.commands WHERE model = 'every'", [("start",)], sink)
    world.until("SELECT policy FROM {db}.policies WHERE model = 'every'", [('{"model":"every"}',)], sink)
    world.until("SELECT features FROM {db}.profiles WHERE model = 'every'", [({"age": [1, 2]},)], sink)
    world.until("SELECT name, value FROM {db}.samples WHERE model = 'every'", [("loss", 0.5)], sink)
    world.until("SELECT metric, effect FROM {db}.evidence WHERE model = 'every'", [("ctr", -0.1)], sink)
    world.until("SELECT topic FROM {db}.dead_letters WHERE reason = 'every'", [("t",)], sink)


BAD = {
    "not JSON": b"\xff\xfe{",
    "not an object": b"[1]",
    "empty": b"",
    "nested": b"[" * 100_000,
    "a megabyte": b"x" * (1 << 20),
    "no name": b'{"model":"ranker","ts":%d,"value":1}' % NOW,
    "mistyped": b'{"model":"ranker","ts":%d,"name":"loss","value":"high"}' % NOW,
    "1970": b'{"model":"ranker","ts":0,"name":"loss","value":1}',
    "3000": b'{"model":"ranker","ts":32503680000000,"name":"loss","value":1}',
    "in two days": b'{"model":"ranker","ts":%d,"name":"loss","value":1}' % (NOW + 2 * DAY),
    "too large a number": b'{"model":"ranker","ts":%d,"name":"loss","value":1}' % (1 << 80),
}


def test_each_bad_record_is_a_dead_letter_and_every_good_one_counts(world: World, sink: Sink) -> None:
    chance = random.Random(5)
    mixed: list[bytes | Sample] = [sample("mixed", 1.0, NOW + i) for i in range(2_000)]
    mixed += [value for kind, value in BAD.items() for _ in range(3 if kind == "a megabyte" else 50)]
    chance.shuffle(mixed)
    bad = sum(isinstance(record, bytes) for record in mixed)
    world.send(topics.SAMPLES, *mixed)
    world.output.flush()
    world.until("SELECT count(), sum(value) FROM {db}.samples WHERE name = 'mixed'", [(2_000, 2_000.0)], sink)
    counted = "SELECT count(), countIf(reason = '') FROM {db}.dead_letters WHERE topic = 'metrics.samples'"
    world.until(counted, [(bad, 0)], sink)


def test_a_bad_dead_letter_is_passed_over_and_makes_no_other(world: World, sink: Sink) -> None:
    world.until_committed(topics.DEAD_LETTERS, sink)
    _, before = world.offsets(topics.DEAD_LETTERS)
    letter = DeadLetter(ts=NOW, topic="after", partition=0, offset=1, stage="join", reason="r")
    world.send(topics.DEAD_LETTERS, b"{", letter)
    world.output.flush()
    world.until("SELECT reason FROM {db}.dead_letters WHERE topic = 'after'", [("r",)], sink)
    world.until_committed(topics.DEAD_LETTERS, sink)
    assert world.offsets(topics.DEAD_LETTERS)[1] == before + 2


def test_a_topic_that_ends_with_a_transactions_marker_is_committed_to_its_end(
    world: World, sink: Sink
) -> None:
    producer = Producer(world.settings.kafka.librdkafka() | {"transactional.id": "releases"})
    producer.init_transactions(30)
    producer.begin_transaction()
    release = Release(model="marked", generation=1, ts=NOW, stable="v1", decision_id="d", reason="first")
    producer.produce(topics.RELEASES.full_name(world.settings.topics), ENCODER.encode(release), "marked")
    producer.commit_transaction(30)
    world.until("SELECT generation FROM {db}.releases WHERE model = 'marked'", [(1,)], sink)
    world.until_committed(topics.RELEASES, sink)


# When it dies


def test_killed_at_random_it_loses_nothing_and_calls_nothing_final_too_early(
    stack: SharedStack, tmp_path: Path
) -> None:
    """Each pane gets snapshots that grow, the last with 100 clicks, and then progress beyond its deadline."""
    world = World(isolated(stack.settings))
    client = world.client()
    migrate(client, world.settings.clickhouse.database)
    client.close()
    chance = random.Random(7)
    sink = Sink(world.settings, tmp_path / "log")
    panes = samples = kills = 0
    too_early = "SELECT count() FROM {db}.metrics WHERE metric = 'clicks' AND final AND value != 100"
    while kills < 6:
        for number in range(panes, panes + 200):
            snapshots = [
                pane("ranker", number, clicks, 10 * number + i) for i, clicks in enumerate((1, 60, 100))
            ]
            progress = Progress(
                partition=0,
                partitions=1,
                time=snapshots[0].deadline + 1,
                clock=snapshots[0].deadline + 1,
                snapshot=number,
            )
            world.send(topics.PANES, *snapshots, progress)
        panes += 200
        world.send(topics.SAMPLES, *(sample("loss", 1.0, NOW + i) for i in range(samples, samples + 1_000)))
        samples += 1_000
        world.output.flush()
        assert world.read(too_early) == [(0,)]
        if chance.random() < 0.5:
            sink.end(signal.SIGKILL)
            kills += 1
            sink = Sink(world.settings, tmp_path / "log")
    counted = "SELECT count(), sum(value), countIf(NOT final) FROM {db}.metrics WHERE metric = 'clicks'"
    world.until(counted, [(panes, 100.0 * panes, 0)], sink)
    world.until("SELECT count(), sum(value) FROM {db}.samples", [(samples, float(samples))], sink)
    assert sink.end() == 0


# While ClickHouse is away


def test_with_clickhouse_away_at_start_and_later_nothing_is_lost_and_each_time_it_says_so_once(
    own_stack: LocalStack, tmp_path: Path
) -> None:
    world = World(own_stack.settings)
    own_stack.clickhouse.stop()
    sink = Sink(world.settings, tmp_path / "log")

    def send(first: int) -> None:
        world.send(topics.SAMPLES, *(sample("loss", 1.0, NOW + i) for i in range(first, first + 5_000)))
        world.output.flush()

    def said(what: str, times: int) -> Callable[[], bool]:
        return lambda: sink.log.read_text().count(what) == times

    def wait(holds: Callable[[], bool], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline or sink.process.poll() is not None:
                pytest.fail(f"waited in vain; the sink's log:\n{sink.log.read_text()}")
            time.sleep(0.05)

    send(0)
    wait(said("ClickHouse takes no rows", 1))
    own_stack.clickhouse.start()
    world.until("SELECT count() FROM {db}.samples", [(5_000,)], sink)
    wait(said("ClickHouse takes rows again", 1))

    own_stack.clickhouse.kill()
    send(5_000)
    wait(said("ClickHouse takes no rows", 2))
    send(10_000)
    committed, _ = world.offsets(topics.SAMPLES)
    assert committed <= 5_000
    own_stack.clickhouse.restart()
    world.until("SELECT count(), sum(value) FROM {db}.samples", [(15_000, 15_000.0)], sink)
    world.until_committed(topics.SAMPLES, sink)
    assert sink.end() == 0
    assert said("ClickHouse takes no rows", 2)()
