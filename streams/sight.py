"""Whether a client of librdkafka can find Kafka again by itself.

A broker that shuts down, the last of its cluster or so it seems to it, may answer with topics and without a
single broker. librdkafka (2.10 to 2.16 at least) then forgets all brokers that it knows and never asks
anybody again: https://github.com/confluentinc/librdkafka/issues/5301. Nothing tells of it but its statistics;
such a client has to be made anew.
"""

import threading
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from schemas import topics
from schemas.settings import Settings

INTERVAL = 5_000
"""Milliseconds between a client's statistics."""

PROBE = 2.0
"""Seconds that a broker has to answer."""

ANEW = "a client of Kafka has lost sight of all brokers; another one takes its place"


class _Broker(msgspec.Struct):
    source: str


class _Statistics(msgspec.Struct):
    brokers: dict[str, _Broker] = {}


class Sight:
    """What one consumer knows of brokers, by its statistics. They come with what it consumes, so it is for
    clients that are polled all the time."""

    def __init__(self) -> None:
        self.lost = False
        """It knows none, and will not find any."""
        self.config: dict[str, Any] = {"statistics.interval.ms": INTERVAL, "stats_cb": self._look}
        """For the client's configuration."""

    def _look(self, text: str) -> None:
        brokers = msgspec.json.decode(text, type=_Statistics).brokers.values()
        # A group's coordinator is a logical one: it is another's name, and of no use alone.
        self.lost = all(broker.source in ("logical", "internal") for broker in brokers)


class Inquiry(threading.Thread):
    """Asks whether `client` is lost beside what else there is to do. `found`: what came of it; None: nothing
    yet."""

    def __init__(self, client: Producer, settings: Settings) -> None:
        super().__init__(name="inquiry", daemon=True)
        self._client = client
        self._settings = settings
        self.found: bool | None = None
        self.start()

    def run(self) -> None:
        """The thread's work."""
        self.found = is_lost(self._client, self._settings)


def is_lost(client: Producer | Consumer, settings: Settings) -> bool:
    """Whether Kafka does not answer `client`, but another that has just been made; asks both, so it takes up
    to two times `PROBE` seconds."""
    topic = topics.RELEASES.full_name(settings.topics)
    return not _answers(client, topic) and _answers(AdminClient(settings.kafka.librdkafka()), topic)


def _answers(client: Producer | Consumer | AdminClient, topic: str) -> bool:
    try:
        client.list_topics(topic, PROBE)
    except KafkaException:
        return False
    return True
