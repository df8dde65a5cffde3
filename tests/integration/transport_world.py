"""What the transport's tests have in common: the counting stage (`counting.py`) in a process of its own, and
what is put into its topics and found in its output.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

import infra.topics
from infra.local.kafka import Kafka
from schemas import topics
from schemas.settings import Settings
from schemas.topics import REQUESTS, Topic
from streams import offsets
from streams.log import Follower

STAGE = Path(__file__).with_name("counting.py")
PARTITIONS = 4
RANGE = 1000
names = count()


class Stage:
    """A process of the counting stage, and the journal that it keeps."""

    def __init__(self, settings: Settings, folder: Path, **options: object) -> None:
        number = next(names)
        self.journal = folder / f"journal-{number}"
        self.log = folder / f"log-{number}"
        arguments = [f"{name}={value}" for name, value in options.items()]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, STAGE, self.journal, *arguments],
                stdin=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdin is not None
        with self.process.stdin as stdin:
            stdin.write(msgspec.json.encode(settings))

    def entries(self, *whats: str) -> list[dict[str, Any]]:
        """The journal's entries of these kinds, in order; all where none is named."""
        if not self.journal.exists():
            return []
        lines = self.journal.read_bytes().split(b"\n")[:-1]
        entries = [msgspec.json.decode(line, type=dict[str, Any]) for line in lines]
        return [entry for entry in entries if not whats or entry["what"] in whats]

    def until(self, holds: Callable[["Stage"], bool], seconds: float = 60.0) -> None:
        """Returns once `holds` does; fails, with the log, where the process ends first or the time is
        over."""
        deadline = time.monotonic() + seconds
        while not holds(self):
            dead = self.process.poll() is not None
            if dead or time.monotonic() > deadline:
                state = f"ended with {self.process.returncode}" if dead else "is late"
                pytest.fail(f"the stage {state}; its log:\n{self.log.read_text()}", pytrace=True)
            time.sleep(0.05)  # each look reads the whole journal

    def processed(self) -> int:
        """How many records it was given."""
        return sum(entry["count"] for entry in self.entries("process"))

    def owned(self) -> set[tuple[str, int]]:
        """What it has, by what it was told."""
        owned: set[tuple[str, int]] = set()
        for entry in self.entries("assigned", "revoked"):
            where = (entry["topic"], entry["partition"])
            (owned.add if entry["what"] == "assigned" else owned.discard)(where)
        return owned

    def stop(self) -> int:
        """SIGTERM; answers the exit status."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        return self.process.wait(30)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


def prepared(settings: Settings, session: float = 2.0, liveness: float = 60.0) -> Settings:
    own = msgspec.structs.replace(
        settings,
        topics=msgspec.structs.replace(settings.topics, prefix=f"{settings.topics.prefix}{next(names)}."),
        streams=msgspec.structs.replace(settings.streams, session=session, liveness=liveness),
    )
    infra.topics.create(own, forever=True)
    return own


def on(kafka: Kafka) -> Settings:
    return msgspec.structs.replace(
        Settings(), kafka=msgspec.structs.replace(Settings().kafka, brokers=kafka.brokers)
    )


def of(entries: Iterable[dict[str, Any]], topic: Topic, partition: int) -> list[dict[str, Any]]:
    return [entry for entry in entries if (entry["topic"], entry["partition"]) == (topic.name, partition)]


def producer(settings: Settings, **config: object) -> Producer:
    """Idempotent, for the order of records is what these tests know them by: retries could change it."""
    return Producer(settings.kafka.librdkafka() | {"linger.ms": 5, "enable.idempotence": True} | config)


def produce(
    settings: Settings,
    values: Iterable[int],
    topic: Topic = REQUESTS,
    partition: int = 0,
    codec: str = "none",
) -> None:
    sender = producer(settings, **{"compression.type": codec})
    for value in values:
        sender.produce(topic.full_name(settings.topics), str(value), partition=partition)
        sender.poll(0)
    assert sender.flush(30) == 0


def committed(settings: Settings, topic: Topic = REQUESTS, partition: int = 0) -> int:
    """The offset that the stage's group has committed; negative for none."""
    where = TopicPartition(topic.full_name(settings.topics), partition)
    group = f"{settings.topics.prefix}headgate-counting"
    [place] = offsets.committed(settings.kafka.librdkafka(), group, [where], 10).values()
    return place.offset


def sums(settings: Settings) -> dict[tuple[str, int, int], set[tuple[int, int]]]:
    """All snapshots of each range that were ever emitted: (count, total)."""
    follower = Follower(settings, topics.PANES)
    found: dict[tuple[str, int, int], set[tuple[int, int]]] = {}
    for entry in follower.refresh():
        row = msgspec.json.decode(entry.value or b"", type=dict[str, Any])
        where = (row["topic"], row["partition"], row["number"])
        found.setdefault(where, set()).add((row["count"], row["total"]))
    follower.close()
    return found


def delete(settings: Settings, below: int) -> None:
    admin = AdminClient(settings.kafka.librdkafka())
    where = TopicPartition(REQUESTS.full_name(settings.topics), 0, below)
    [deletion] = admin.delete_records([where]).values()
    deletion.result(30)


def has_read(records: int) -> Callable[[Stage], bool]:
    return lambda stage: stage.processed() >= records


def expected(topic: Topic, partition: int, values: range) -> dict[tuple[str, int, int], set[tuple[int, int]]]:
    full = range(len(values) // RANGE)
    parts = {number: values[number * RANGE : (number + 1) * RANGE] for number in full}
    return {(topic.name, partition, n): {(len(part), sum(part))} for n, part in parts.items()}


def read_to_end(stage: Stage, *partitions: int, topic: Topic = REQUESTS, end: int) -> bool:
    ends = {
        (entry["topic"], entry["partition"])
        for entry in stage.entries("end")
        if entry["offset"] >= end and entry["end"] >= end
    }
    return ends >= {(topic.name, partition) for partition in partitions}


def given(stage: Stage, topic: Topic) -> int:
    """How many records of a topic it was given."""
    return sum(entry["count"] for entry in stage.entries("process") if entry["topic"] == topic.name)
