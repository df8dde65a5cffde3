"""A judge as a process on a real broker, and a model of its own whose traffic a test invents: panes, commands
and acks.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar
from uuid import uuid4

import msgspec
import numpy as np
import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from schemas import policies, topics
from schemas.records import (
    BUCKETS,
    ENCODER,
    Ack,
    Alert,
    Codec,
    Command,
    CommandRecord,
    Pane,
    PolicyRecord,
    Progress,
    Record,
    Release,
)
from schemas.settings import Settings
from schemas.topics import Topic
from streams import offsets, registry
from streams.judge.writer import Message, Writer
from streams.log import Follower, Output

JUDGE = """
import os, sys
from streams.worker import main
sys.exit(main("judge", os.getppid()))
"""
"""The judge's process, as the supervisor starts it."""

POLICY: dict[str, Any] = {
    "model": "ranker",
    "pane": "1s",
    "attribution": {"window": "1s", "lateness": "1s"},
    "maturity": "1s",
    "rules": [{"name": "slow", "metric": "latency_mean_ms", "above": 100, "window": "1s"}],
    "release": {
        "steps": [{"weight": 0.3, "for": "1s"}],
        "min_samples": 500,
        "guardrails": [{"metric": "ctr", "worse_by": 0.0}],
        "success": {"metric": "ctr", "better_by": -0.3},
        "watch_after": "1h",
        "no_data": "1h",
        "cooldown": "1s",
        "ack_deadline": "1s",
    },
}

Value = TypeVar("Value", bound=Record)


def now() -> int:
    return time.time_ns() // 1_000_000


def canary(model: str) -> Release:
    return Release(
        model=model, generation=1, ts=now(), stable="v1", candidate="v2", weight=0.5, phase="canary",
        decision_id="d", reason="r",
    )  # fmt: skip


class Log(Generic[Value]):
    """The records of a topic so far."""

    def __init__(self, settings: Settings, topic: Topic, type_: type[Value]) -> None:
        self._follower = Follower(settings, topic)
        self._codec: Codec[Value] = Codec(type_)
        self._records: list[Value] = []

    def read(self) -> list[Value]:
        with suppress(KafkaException):  # a topic that was just made has no leader yet; it goes on from there
            self._records += [self._codec.decode(entry.value) for entry in self._follower.refresh()]
        return self._records


class Bench:
    """A model of its own on the shared broker, its traffic, and judge processes."""

    def __init__(self, settings: Settings, folder: Path, model: str) -> None:
        self.settings = settings
        self.model = model
        self._folder = folder
        self._output = Output(settings)
        self._random = np.random.default_rng(0)
        self._number = now()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._admin = AdminClient(settings.kafka.librdkafka())
        self._place = TopicPartition(topics.PANES.full_name(settings.topics), 0)
        self._releases = Log(settings, topics.RELEASES, Release)
        self._alerts = Log(settings, topics.ALERTS, Alert)

    def twin(self) -> "Bench":
        """The same model, for another thread."""
        return Bench(self.settings, self._folder, self.model)

    def send(self, topic: Topic, record: Record) -> None:
        self._output.send(topic, self.model, ENCODER.encode(record))
        self._output.flush()

    def raw(self, topic: Topic, value: bytes) -> None:
        self._output.send(topic, self.model, value)
        self._output.flush()

    def apply(self, policy: Mapping[str, object]) -> None:
        value = msgspec.Raw(msgspec.json.encode({**policy, "model": self.model}))
        policies.parse(msgspec.json.decode(value))
        self.send(topics.POLICIES, PolicyRecord(model=self.model, ts=now(), policy=value, actor="olga"))

    def command(self, word: Command, version: str | None = None) -> None:
        record = CommandRecord(
            model=self.model, ts=now(), command=word, command_id=uuid4().hex, actor="olga", version=version
        )
        self.send(topics.COMMANDS, record)

    def second(self, rates: dict[str, float], latency: float = 10.0) -> None:
        """A second's traffic of the release in force, sent at once, and the worker's ack."""
        record = self.release
        assert record is not None
        self.send(
            topics.ACKS,
            Ack(
                model=self.model,
                worker="w1",
                ts=now(),
                kind="ack",
                generation=record.generation,
                status="applied",
            ),
        )
        start = now() // 1_000 * 1_000
        shares = {record.stable: 1 - record.weight}
        if record.candidate is not None:
            shares[record.candidate] = record.weight
        for version, share in shares.items():
            self._number += 1
            seen = self._random.poisson(3_000 * share / BUCKETS, BUCKETS)
            clicked = self._random.binomial(seen, rates[version])
            sums = {"predictions": seen, "impressions": seen, "clicks": clicked}
            pane = Pane(
                model=self.model, version=version, arm="stable" if version == record.stable else "candidate",
                segment="", segment_value="", start=start, end=start + 1_000, generation=record.generation,
                partition=0, part=0, snapshot=self._number, deadline=start + 3_000,
                sums={name: float(values.sum()) for name, values in sums.items()}
                | {"latency_ms": latency * float(seen.sum()), "timed": float(seen.sum())},
                buckets=list(range(BUCKETS)),
                bucket_sums={name: values.astype(float).tolist() for name, values in sums.items()},
            )  # fmt: skip
            self._output.send(topics.PANES, self.model, ENCODER.encode(pane))
        self._number += 1
        progress = Progress(
            partition=0, partitions=1, time=start + 1_000, clock=start + 1_000, snapshot=self._number
        )
        self._output.send(topics.PANES, self.model, ENCODER.encode(progress))
        self._output.flush()

    def start(self, program: str = JUDGE) -> subprocess.Popen[bytes]:
        """A judge process; its log goes to a file."""
        with (self._folder / f"judge-{len(self._processes)}.log").open("wb") as log:
            process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stderr=log)
        assert process.stdin is not None
        with process.stdin as stdin:
            stdin.write(msgspec.json.encode(self.settings))
        self._processes.append(process)
        return process

    def kill(self) -> None:
        """`kill -9` to all of its judges."""
        for process in self._processes:
            process.kill()
            process.wait()

    def close(self) -> None:
        self.kill()

    def logs(self) -> str:
        return "\n".join(file.read_text() for file in sorted(self._folder.glob("judge-*.log")))

    def releases(self) -> list[Release]:
        return [record for record in self._releases.read() if record.model == self.model]

    def alerts(self) -> list[Alert]:
        return [record for record in self._alerts.read() if record.model == self.model]

    @property
    def release(self) -> Release | None:
        return next(iter(reversed(self.releases())), None)

    def phase(self) -> str:
        return "" if self.release is None else self.release.phase

    def until(self, holds: Callable[[], bool], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                pytest.fail(f"late; the judge's logs:\n{self.logs()}\nreleases: {self.releases()}")
            time.sleep(0.1)

    def until_noted(self) -> None:
        """Waits until the judge has committed that it has dealt with all panes there are now."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        end = self._admin.list_offsets({self._place: latest})[self._place].result().offset
        connection, group = self.settings.kafka.librdkafka(), registry.group("judge", self.settings)

        def noted() -> bool:
            [place] = offsets.committed(connection, group, [self._place], 10).values()
            try:
                note = place.metadata or ""
            except UnicodeDecodeError:  # what stands behind it in memory is part of it, and differs each time
                return False
            return bool(note) and json.JSONDecoder().raw_decode(note)[0].get("done", 0) >= end

        self.until(noted)

    def traffic_until(
        self, holds: Callable[[], bool], rates: dict[str, float], seconds: float = 60.0
    ) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                pytest.fail(f"late; the judge's logs:\n{self.logs()}\nreleases: {self.releases()}")
            self.second(rates)
            time.sleep(1.0)


def publish_release(settings: Settings, partition: int, record: Release) -> None:
    """Writes `record` as another judge would, which fences the one that runs."""
    writer = Writer(settings, partition)
    writer.open(60.0)
    writer.write([Message(topics.RELEASES, record.model, record)], 60.0)
