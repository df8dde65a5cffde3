"""Custom metrics from end to end: samples on a real broker, alerts of a real judge, rows in the real
ClickHouse."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import msgspec
import pytest

import infra.topics
from schemas import topics
from schemas.records import ENCODER, Alert, Codec, DeadLetter, PolicyRecord, Sample
from schemas.settings import Settings
from streams.log import Follower, Output
from streams.storage import migrate

POLICY = {
    "model": "ranker",
    "pane": "1s",
    "rules": [
        {"name": "hot", "metric": "gpu_use", "above": 0.9, "window": "1s", "where": {"worker": "w1"}},
        {"name": "diverged", "metric": "samples.log_loss", "above": 10, "window": "1s"},
    ],
}


def now() -> int:
    return time.time_ns() // 1_000_000


class World:
    """A judge and a sink in processes of their own, and what they answer."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self._folder = folder
        self._output = Output(settings)
        self._alerts = Follower(settings, topics.ALERTS)
        self._letters = Follower(settings, topics.DEAD_LETTERS)
        self._codec: Codec[Alert] = Codec(Alert)
        self._letter_codec: Codec[DeadLetter] = Codec(DeadLetter)
        self.alerts: list[Alert] = []
        self.letters: list[DeadLetter] = []
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, stage: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{stage}-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "streams.worker", stage, str(os.getpid())],
                stdin=subprocess.PIPE,
                stderr=log,
            )
        assert process.stdin is not None
        with process.stdin as stdin:
            stdin.write(msgspec.json.encode(self.settings))
        self.processes.append(process)
        return process

    def apply(self) -> None:
        record = PolicyRecord(
            model="ranker", ts=now(), policy=msgspec.Raw(msgspec.json.encode(POLICY)), actor="olga"
        )
        self._output.send(topics.POLICIES, "ranker", ENCODER.encode(record))
        self._output.flush()

    def sample(self, name: str, value: float, **labels: str) -> None:
        record = Sample(model="ranker", ts=now(), name=name, value=value, labels=labels or None)
        self.raw(ENCODER.encode(record))

    def raw(self, value: bytes) -> None:
        self._output.send(topics.SAMPLES, "ranker", value)
        self._output.flush()

    def told(self, rule: str) -> list[Alert]:
        """What the judge has said of a rule."""
        self.alerts += [self._codec.decode(entry.value) for entry in self._alerts.refresh()]
        return [alert for alert in self.alerts if alert.rule == rule]

    def bad(self) -> list[DeadLetter]:
        """The dead letters about samples."""
        self.letters += [self._letter_codec.decode(entry.value) for entry in self._letters.refresh()]
        return [letter for letter in self.letters if letter.topic == topics.SAMPLES.name]

    def read(self, query: str) -> list[tuple[Any, ...]]:
        client = clickhouse_connect.get_client(
            **self.settings.clickhouse.connect(), autogenerate_session_id=False
        )
        try:
            return [
                tuple(row)
                for row in client.query(query.format(db=self.settings.clickhouse.database)).result_rows
            ]
        finally:
            client.close()

    def until(self, holds: Callable[[], bool], doing: Callable[[], None] = lambda: None) -> None:
        """Does something again and again until `holds` does; fails with the logs."""
        deadline = time.monotonic() + 60
        while not holds():
            if time.monotonic() > deadline:
                logs = "\n".join(file.read_text() for file in sorted(self._folder.glob("*.log")))
                pytest.fail(f"late; alerts: {self.alerts}\n{logs}")
            doing()
            time.sleep(0.2)


@pytest.fixture
def world(settings: Settings, tmp_path: Path) -> Iterator[World]:
    infra.topics.create(settings, forever=True)
    client = clickhouse_connect.get_client(**settings.clickhouse.connect())
    migrate(client, settings.clickhouse.database)
    client.close()
    made = World(settings, tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()


def test_samples_are_series_and_rules_go_by_them_although_the_judge_is_killed_on_the_way(
    world: World,
) -> None:
    world.apply()
    world.start("sink")
    judge = world.start("judge")

    rounds: list[float] = []

    def sent(value: float) -> Callable[[], None]:
        def send() -> None:
            world.sample("gpu_use", value, worker="w1")
            world.sample("gpu_use", 0.125, worker="w2")
            world.sample("log_loss", 99.0 if value > 0.9 else 0.5)
            rounds.append(value)

        return send

    world.until(lambda: len(world.told("hot")) > 0, sent(0.95))
    world.until(lambda: len(world.told("diverged")) > 0, sent(0.95))
    judge.kill()
    judge.wait()
    sent(0.95)()
    world.start("judge")
    world.until(lambda: world.told("hot")[-1].status == "resolved", sent(0.5))
    world.until(lambda: world.told("diverged")[-1].status == "resolved", sent(0.5))
    for rule, value in (("hot", 0.95), ("diverged", 99.0)):
        told = world.told(rule)
        # A judge that is killed may say again what it said last; the same alert has the same id.
        assert list(dict.fromkeys(alert.status for alert in told)) == ["firing", "resolved"]
        assert len({alert.alert_id for alert in told}) == 1
        assert told[0].value == pytest.approx(value)

    count = "SELECT metric, sum(denominator) FROM {{db}}.{} WHERE {} GROUP BY metric ORDER BY metric"
    sent_samples = "SELECT name, count() FROM {db}.samples GROUP BY name ORDER BY name"
    number = len(rounds)
    world.until(lambda: world.read(sent_samples) == [("gpu_use", 2 * number), ("log_loss", number)])
    for view in ("metrics", "metrics_1m", "metrics_1h"):
        rows = world.read(count.format(view, "metric IN ('gpu_use', 'samples.log_loss', 'log_loss')"))
        assert rows == [("gpu_use", 2 * number), ("samples.log_loss", number)]
    worker = "segment = 'worker' AND segment_value = 'w2' AND value = 0.125"
    assert world.read(count.format("metrics_by_segment", worker)) == [("gpu_use", number)]


def test_an_alert_comes_though_no_sample_follows_the_bad_ones(world: World) -> None:
    world.apply()
    world.start("judge")
    before = len(world.told("hot"))
    world.sample("gpu_use", 0.99, worker="w1")
    world.until(lambda: len(world.told("hot")) > before)


def test_a_bad_sample_is_one_dead_letter_the_sinks(world: World) -> None:
    world.start("sink")
    world.start("judge")
    world.raw(b'{"model": "ranker", "ts": 1, "name": "gpu_use", "value": 1}')
    world.raw(b'{"model": "ranker", "ts": 1700000000000, "name": "gpu_use", "value": NaN}')
    world.until(lambda: len(world.bad()) >= 2)
    before = len(world.told("hot"))
    world.apply()
    world.sample("gpu_use", 0.99, worker="w1")
    world.until(lambda: len(world.told("hot")) > before)  # the judge has read past them
    assert [letter.stage for letter in world.bad()] == ["sink", "sink"]
