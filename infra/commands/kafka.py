"""What commands ask of Kafka: is it there, what is in a topic; and an answer for people where it is not."""

import getpass
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.errors import HeadgateError
from schemas.settings import Settings
from schemas.topics import Topic
from streams import offsets
from streams.log import Entry, Follower
from streams.offsets import Offsets

PATIENCE = 5.0
"""Seconds in which a broker must answer."""


class Cluster(NamedTuple):
    """What answers: how many brokers, and each topic's count of partitions, by its full name."""

    brokers: int
    partitions: dict[str, int]


class Broker:
    """A connection to ask about the cluster. Silent: what librdkafka would log is in the errors."""

    def __init__(self, settings: Settings) -> None:
        """Raises `HeadgateError` for settings that librdkafka does not take: a file that is not there."""
        self._brokers = settings.kafka.brokers
        self._complaints: list[KafkaError] = []
        quiet = {"log_level": 0, "error_cb": self._complaints.append}
        self._connection = settings.kafka.librdkafka() | quiet
        try:
            self.admin = AdminClient(self._connection)
        except KafkaException as error:
            raise HeadgateError(
                f"Kafka settings: {error.args[0].str()}; see [kafka] in headgate.toml"
            ) from error

    def cluster(self) -> Cluster:
        """Brokers and topics. Raises `HeadgateError` where nobody answers, or lets us in."""
        try:
            found = self.admin.list_topics(timeout=PATIENCE)
        except KafkaException as error:
            self.admin.poll(0)  # brings the complaints, which know more than the time-out does
            reasons = [c.str() for c in self._complaints if c.code() != KafkaError._ALL_BROKERS_DOWN]
            raise unreachable(self._brokers, reasons[-1] if reasons else error.args[0].str()) from error
        return Cluster(
            len(found.brokers), {name: len(topic.partitions) for name, topic in found.topics.items()}
        )

    def starts(self, partitions: Sequence[TopicPartition]) -> Offsets:
        """Where their logs begin."""
        return offsets.at(self.admin, partitions, offsets.BEGINNING, PATIENCE)

    def ends(self, partitions: Sequence[TopicPartition]) -> Offsets:
        """Where their logs end."""
        return offsets.at(self.admin, partitions, offsets.END, PATIENCE)

    def since(self, partitions: Sequence[TopicPartition], time: int) -> Offsets:
        """Their first records from Kafka time `time` (ms) on; the ends where there are none."""
        return offsets.since(self.admin, partitions, time, PATIENCE)

    def committed(self, group: str, partitions: Sequence[TopicPartition]) -> Offsets:
        """What a group has committed; below 0 where that is nothing."""
        found = offsets.committed(self._connection, group, partitions, PATIENCE)
        return {place: one.offset for place, one in found.items()}


@contextmanager
def connected(settings: Settings, *needed: Topic) -> Iterator[Broker]:
    """Kafka, known to answer and to have the `needed` topics. What it refuses within is a `HeadgateError`."""
    broker = Broker(settings)
    existing = broker.cluster().partitions
    missing = [
        name for name in (topic.full_name(settings.topics) for topic in needed) if name not in existing
    ]
    if missing:
        raise HeadgateError(
            f"Kafka at {settings.kafka.brokers} has no topic {', '.join(missing)}; `headgate check` says how "
            "to create it, `headgate up` has a Kafka with all of them"
        )
    try:
        yield broker
    except KafkaException as error:
        raise HeadgateError(
            f"Kafka at {settings.kafka.brokers}: {error.args[0].str()}; `headgate check` says more"
        ) from error


def unreachable(brokers: str, reason: str) -> HeadgateError:
    """The one line about a broker that does not answer."""
    return HeadgateError(
        f"Kafka at {brokers} does not answer: {reason}; start it (`headgate up` for a local one), or set "
        "HEADGATE_KAFKA, or brokers under [kafka] in headgate.toml"
    )


def read(settings: Settings, topic: Topic, since: int | None = None) -> list[Entry]:
    """All records of a topic up to its end; from Kafka time `since` (ms) on, where given."""
    follower = Follower(settings, topic, since=since)
    try:
        return follower.refresh()
    finally:
        follower.close()


def default_actor() -> str:
    """Who is asking: user@host."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no such user, as in containers
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
