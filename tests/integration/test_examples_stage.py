"""Examples of raw records from end to end: a real broker, the stage's process, the real ClickHouse engine."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import msgspec
import psutil
import pytest
from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as Partition

import infra.topics
from infra.commands import check_examples
from infra.commands.finding import State
from infra.container import healthy
from infra.local import ports
from schemas import topics
from schemas.records import ENCODER, ORIGIN, Feedback, PolicyRecord, Prediction, Request
from schemas.settings import Examples, Settings
from schemas.topics import Topic
from streams import offsets, registry
from streams.columns import Records, Row
from streams.examples import ExamplesStage
from streams.log import Output
from streams.sampling import fractions
from streams.stage import Assigned, Reading, TopicPartition
from streams.storage.examples import Veil
from tests.probing import Answer, ask

SECRET = "of this test alone"
USER = "ann-4711@example.org"
COUNT = 120
SHARE = 0.25
TABLES = ("example_requests_log", "example_predictions_log", "example_feedback_log")
VIEWS = ("example_requests", "example_predictions", "example_feedback")
SEEN = {"share": SHARE, "features": ["who"], "inputs": ["ids"]}


def now() -> int:
    return time.time_ns() // 1_000_000


def sampled(prefix: str) -> list[str]:
    """Which of a model's requests are to be kept."""
    ids = [f"{prefix}-{number}" for number in range(COUNT)]
    records = Records.of([Row(i, 0, key.encode(), b"", ()) for i, key in enumerate(ids)])
    found = fractions(records.data, records.keys) < SHARE
    return sorted(key for key, kept in zip(ids, found, strict=True) if kept)


class World:
    """Topics and a database of this module's own, and the stage's process on them."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.port = ports.free()
        number = registry.number("examples")
        self.settings = msgspec.structs.replace(
            settings,
            examples=Examples(SECRET),
            streams=msgspec.structs.replace(
                settings.streams, health=f"127.0.0.1:{self.port - number}", session=3.0
            ),
        )
        infra.topics.create(self.settings, forever=True)
        self.output = Output(self.settings)
        self.log = folder / "log"
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "streams.worker", "examples", str(os.getpid())],
                stdin=subprocess.PIPE,
                stderr=log,
            )
        assert process.stdin is not None
        with process.stdin as stdin:
            stdin.write(msgspec.json.encode(self.settings))
        return process

    def publish(self, model: str, **examples: object) -> None:
        policy = msgspec.Raw(msgspec.json.encode({"model": model, "examples": examples}))
        record = PolicyRecord(model=model, ts=now(), policy=policy, actor="ann")
        self.send(topics.POLICIES, model, ENCODER.encode(record))
        self.output.flush()

    def send(self, topic: Topic, key: str | None, value: bytes, **more: Any) -> None:
        self.output.send(topic, key, value, **more)

    def traffic(self, model: str, prefix: str) -> None:
        """`COUNT` requests, each with two predictions and a click; and what cannot be read."""
        at = now()
        for number in range(COUNT):
            key = f"{prefix}-{number}"
            request = Request(
                request_id=key, ts=at, model=model, user=USER, surface="search",
                features={"who": USER, "secret": USER},
                inputs={"ids": msgspec.Raw(b'[["%s"]]' % USER.encode())},
            )  # fmt: skip
            self.send(topics.REQUESTS, key, ENCODER.encode(request))
            self.send(topics.REQUESTS, key, b"{" + USER.encode())
            for version in ("v1", "v2"):
                prediction = Prediction(
                    request_id=key, ts=at + 5, model=model, version=version, arm="stable", status="error",
                    latency_ms=5.0, items=[1, "b"], scores=[0.5, 0.25], user=USER,
                    error=f"no vector of {USER}",
                )  # fmt: skip
                self.send(topics.PREDICTIONS, key, ENCODER.encode(prediction))
            click = Feedback(request_id=key, ts=at + 9, kind="click", item="b", event_id="e")
            self.send(topics.FEEDBACK, key, ENCODER.encode(click))
        self.output.flush()

    def read(self, query: str) -> list[tuple[Any, ...]]:
        with clickhouse_connect.get_client(
            **self.settings.clickhouse.connect(), autogenerate_session_id=False
        ) as client:
            text = query.replace("{db}", self.settings.clickhouse.database)
            return [tuple(row) for row in client.query(text).result_rows]

    def kept(self, view: str, model: str) -> list[str]:
        """The request ids in a view, each as often as it has rows; none where there is no table yet."""
        try:
            rows = self.read(f"SELECT request_id FROM {{db}}.{view} WHERE model = '{model}' ORDER BY ALL")
        except clickhouse_connect.driver.exceptions.Error:
            return []
        return [key for (key,) in rows]

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"waited in vain ({self.process.poll()}):\n{self.log.read_text()}")
            time.sleep(0.05)

    def says(self, path: str) -> Answer:
        return ask(self.port, path)

    def committed(self) -> dict[tuple[str, int], int]:
        """What the stage's group has committed: nothing where it has never been."""
        places = [
            Partition(topic.full_name(self.settings.topics), number)
            for topic in topics.EVENTS
            for number in range(self.settings.topics.partitions)
        ]
        group = registry.group("examples", self.settings)
        deadline = time.monotonic() + 30
        while True:
            try:
                found = offsets.committed(self.settings.kafka.librdkafka(), group, places, 10)
            except KafkaException:  # a new broker has to find its groups first
                assert time.monotonic() < deadline
                time.sleep(0.1)
            else:
                return {place: one.offset for place, one in found.items() if one.offset >= 0}


@pytest.fixture(scope="module")
def world(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(settings, tmp_path_factory.mktemp("examples"))
    yield made
    made.process.kill()
    made.process.wait()


def test_as_long_as_no_policy_asks_the_process_is_ready_and_reads_nothing(world: World) -> None:
    world.publish("ranker", share=0)
    world.traffic("ranker", "before")
    world.until(lambda: world.says("/readyz") == (200, ExamplesStage.waits_for))
    assert world.says("/healthz").status == 200
    assert world.committed() == {}


def test_dockers_health_check_knows_how_long_a_process_has_lived(world: World) -> None:
    began = psutil.Process(world.process.pid).create_time()
    assert healthy.ask(world.port, began + healthy.YOUNG / 2) is False
    assert healthy.ask(world.port, began + healthy.YOUNG + 1) is True


def test_what_a_policy_asks_for_comes_together_and_nothing_from_before_or_of_others(world: World) -> None:
    world.publish("ranker", **SEEN)
    world.traffic("ranker", "r")
    world.traffic("other", "o")
    expected = sampled("r")
    assert 0 < len(expected) < COUNT
    world.until(lambda: world.kept("example_feedback", "ranker") == expected)
    world.until(lambda: world.kept("example_requests", "ranker") == expected)
    world.until(lambda: world.kept("example_predictions", "ranker") == sorted(2 * expected))
    assert [world.kept(view, "other") for view in VIEWS] == [[], [], []]
    [row] = world.read(
        "SELECT DISTINCT version, status, items, scores, latency_ms FROM {db}.example_predictions"
        f" WHERE request_id = '{expected[0]}' AND version = 'v1'"
    )
    assert row == ("v1", "error", ["1", "b"], [0.5, 0.25], 5.0)
    assert world.read("SELECT DISTINCT kind, item, event_id FROM {db}.example_feedback") == [
        ("click", "b", "e")
    ]


def test_the_users_id_is_in_no_column_of_any_table(world: World) -> None:
    columns = world.read(
        "SELECT table, name FROM system.columns WHERE database = '{db}' AND table LIKE 'example%_log'"
    )
    assert {table for table, _ in columns} == set(TABLES)
    for table, column in columns:
        query = f"SELECT count() FROM {{db}}.{table} WHERE toString(`{column}`) LIKE '%4711%'"
        assert world.read(query) == [(0,)], column
    hashed = Veil(SECRET).user(USER)
    assert world.read("SELECT DISTINCT user, features, inputs FROM {db}.example_requests") == [
        (hashed, f'{{"who":"{hashed}"}}', f'{{"ids":[["{hashed}"]]}}')
    ]
    assert world.read("SELECT DISTINCT user, error FROM {db}.example_predictions") == [
        (hashed, f"no vector of {hashed}")
    ]


def test_killed_while_it_reads_its_successor_keeps_the_same_and_makes_none_twice(world: World) -> None:
    world.traffic("ranker", "k")
    world.process.send_signal(signal.SIGKILL)
    world.process.wait()
    world.process = world.start()
    expected = sorted(sampled("r") + sampled("k"))
    for view, times in zip(VIEWS, (1, 2, 1), strict=True):
        world.until(lambda view=view, times=times: world.kept(view, "ranker") == sorted(times * expected))  # type: ignore[misc]


def test_when_the_last_policy_stops_asking_the_process_ends_for_its_successor_to_wait(world: World) -> None:
    world.until(lambda: world.says("/readyz").status == 200)
    world.publish("ranker", share=0)
    assert world.process.wait(30) == 1
    assert "no policy asks for examples any more" in world.log.read_text().splitlines()[-1]


# The stage by itself


PLACE = TopicPartition(topics.FEEDBACK.name, 3)


def rows(*records: Row) -> Records:
    return Records.of(records)


def event(offset: int, key: str = "once", request_id: str = "once", **more: Any) -> Row:
    value = ENCODER.encode(Feedback(request_id=request_id, ts=now(), kind="click"))
    return Row(offset, now(), key.encode(), value, more.get("headers", ()))


async def stored(settings: Settings, *batches: Records) -> None:
    """Each batch through a stage of its own, as successors of each other."""
    for records in batches:
        stage = ExamplesStage(settings)
        await stage.work()
        stage.assigned({PLACE: Assigned(None, 0, 10)})
        await stage.process(PLACE, records)
        await stage.close()


def places(world: World, request_id: str) -> list[tuple[Any, ...]]:
    return world.read(
        "SELECT topic_partition, topic_offset FROM {db}.example_feedback_log FINAL"
        f" WHERE request_id = '{request_id}' ORDER BY ALL"
    )


def test_a_record_that_is_read_again_or_was_republished_is_one_row(world: World) -> None:
    world.publish("everything", share=1)
    first = event(7)
    copy = first._replace(offset=9, headers=((ORIGIN, b"feedback.events/3/7"),))
    odd = event(11, headers=((ORIGIN, b"nobody knows"),))
    asyncio.run(stored(world.settings, rows(first), rows(first, copy, odd)))
    assert places(world, "once") == [(3, 7), (3, 11)]


def test_a_record_whose_key_is_another_requests_is_not_taken_for_it(world: World) -> None:
    asyncio.run(stored(world.settings, rows(event(12, key="liar", request_id="truth"))))
    assert places(world, "truth") == places(world, "liar") == []


def test_with_clickhouse_away_nothing_is_safe_and_the_successor_brings_it(world: World) -> None:
    nowhere = msgspec.structs.replace(world.settings.clickhouse, url=f"http://127.0.0.1:{ports.free()}")

    async def scenario() -> None:
        stage = ExamplesStage(msgspec.structs.replace(world.settings, clickhouse=nowhere))
        await stage.work()
        stage.assigned({PLACE: Assigned(None, 0, 10)})
        await stage.process(PLACE, rows(event(20, "away", "away")))
        deadline = time.monotonic() + 30
        while not stage.vitals()["clickhouse_away_seconds"]:
            assert time.monotonic() < deadline
            await stage.tick({PLACE: Reading(21, 21, now())}, now())
            await asyncio.sleep(0.05)
        assert stage.safe(PLACE) is None

    asyncio.run(scenario())
    asyncio.run(stored(world.settings, rows(event(20, "away", "away"))))
    assert places(world, "away") == [(3, 20)]


def test_check_says_where_a_policy_asks_and_nobody_keeps_any(world: World) -> None:
    without = msgspec.structs.replace(world.settings, examples=Examples())
    [finding] = check_examples.check(without, ["ranker"])
    assert (finding.state, "HEADGATE_EXAMPLES_SECRET" in finding.text) == (State.NOTE, True)
    assert [each.state for each in check_examples.check(world.settings, ["ranker"])] == [State.OK]
    assert list(check_examples.check(without, [])) == []
    assert "examples" in check_examples.stages(world.settings, ["ranker"])
    assert "examples" not in check_examples.stages(world.settings, [])
