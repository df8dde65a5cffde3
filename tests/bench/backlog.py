"""The workload on a real broker's topics, with its batch truth: what is read by whoever is measured.

Produced with the events' own times as Kafka's, so that it is a backlog of recorded traffic. Behind it come a
few records five and ten minutes ahead in every partition: whoever closes windows by watermarks can close them
all.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import msgspec
from confluent_kafka import KafkaException, Producer

from infra import topics as broker
from schemas import topics
from schemas.policies import Policy
from schemas.settings import Settings
from schemas.topics import Topic
from tests.bench import workload
from tests.bench.workload import CHUNK, MODEL, PANE, RATE, SERIES, START, Counts, Event, Key, Slates

LEAPS = (300_000, 600_000)
"""How far behind the workload's end the two rounds of records are that close it (ms)."""
CLOSING = 64
"""Records of a series, topic and round: enough for every partition to get some."""
PATIENCE = 120.0
"""Seconds that the broker may take for what is queued."""


class Backlog(NamedTuple):
    """What lies in the topics of `settings`.

    `read` are the records of predictions and feedback, `records` those of requests, too; `size` is the
    bytes of all values. `last` is the start of the workload's last pane, which whoever loses rows may
    lose to the closing records.
    """

    settings: Settings
    predictions: int
    read: int
    records: int
    size: int
    truth: dict[Key, Counts]
    last: int


def fill(
    settings: Settings,
    predictions: int,
    prefix: str,
    policy: Policy | None = None,
    sources: Collection[Topic] = topics.EVENTS,
    leaps: Sequence[int] = LEAPS,
) -> Backlog:
    """Creates the contract's topics under `prefix` and fills those of `sources` with the first `predictions`
    predictions of the workload and what belongs to them, under the workload's policy or another.

    Raises `KafkaException` for what the broker does not take.
    """
    own = prepare(settings, prefix, policy or workload.policy())
    filling = Filling(own, sources)
    truth: dict[Key, Counts] = {}
    clicks: list[Event] = []
    for first in range(0, predictions, CHUNK):
        slates = Slates(first, min(CHUNK, predictions - first))
        filling.send(topics.REQUESTS, slates.requests())
        filling.send(topics.PREDICTIONS, slates.predictions())
        clicks += [click.event for click in slates.clicks()]
        for key, counts in slates.counts().items():
            truth[key] = truth[key].plus(counts) if key in truth else counts
    filling.send(topics.FEEDBACK, sorted(clicks, key=lambda event: event.ts))
    end = START + predictions * 1000 // RATE
    for leap in leaps:
        filling.close(end + leap)
    return Backlog(
        settings=own,
        predictions=predictions,
        read=filling.records[topics.PREDICTIONS.name] + filling.records[topics.FEEDBACK.name],
        records=sum(filling.records.values()),
        size=filling.size,
        truth=truth,
        last=(end - 1) // PANE * PANE,
    )


def prepare(settings: Settings, prefix: str, policy: Policy) -> Settings:
    """Creates the contract's topics under `prefix`, with a policy and the reference profiles; answers the
    settings for them.
    """
    own = msgspec.structs.replace(settings, topics=msgspec.structs.replace(settings.topics, prefix=prefix))
    broker.create(own, forever=True)
    workload.apply(own, policy, START)
    workload.describe(own)
    return own


class Filling:
    """Produces into the event topics, and counts what it produced."""

    def __init__(self, settings: Settings, sources: Collection[Topic] = topics.EVENTS) -> None:
        self._settings = settings
        self._sources = sources
        self._failed: list[object] = []
        self._producer = Producer(
            settings.kafka.librdkafka()
            | {
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": 50,
                "batch.size": 1 << 20,
                "queue.buffering.max.messages": 500_000,
                "delivery.report.only.error": True,
                "error_cb": self._failed.append,
            }
        )
        self.records = {topic.name: 0 for topic in topics.EVENTS}
        self.size = 0

    def send(self, topic: Topic, events: Iterable[Event]) -> None:
        """Produces all events, unless the topic is none of the sources, and waits for the broker to have
        them.
        """
        if topic not in self._sources:
            return
        name, produce = topic.full_name(self._settings.topics), self._producer.produce
        count = size = 0
        for key, ts, value in events:
            count, size = count + 1, size + len(value)
            while True:
                try:
                    produce(name, value, key, timestamp=ts)
                    break
                except BufferError:
                    self._producer.poll(0.05)
        left = self._producer.flush(PATIENCE)
        if left or self._failed:
            raise KafkaException(
                self._failed[0] if self._failed else f"{left} records not delivered in {PATIENCE:.0f} s"
            )
        self.records[topic.name] += count
        self.size += size

    def close(self, ts: int) -> None:
        """One round of records that close what is before `ts`, of both series in every partition."""
        requests, predictions, clicks = [], [], []
        for version, arm in SERIES:
            names = (MODEL.encode(), version.encode(), arm.encode())
            for number in range(CLOSING):
                key = b"closing-%d-%b-%d" % (ts, names[1], number)
                requests.append(
                    Event(key, ts, b'{"request_id":"%b","ts":%d,"model":"%b"}' % (key, ts, names[0]))
                )
                text = (
                    b'{"request_id":"%b","ts":%d,"model":"%b","version":"%b","arm":"%b","status":"ok",'
                    b'"latency_ms":1.0,"generation":2,"items":[1,2,3,4,5,6,7,8,9,10]}'
                )
                predictions.append(Event(key, ts, text % (key, ts, *names)))
                text = b'{"request_id":"%b","ts":%d,"kind":"click","item":1}'
                clicks.append(Event(key, ts, text % (key, ts)))
        self.send(topics.REQUESTS, requests)
        self.send(topics.PREDICTIONS, predictions)
        self.send(topics.FEEDBACK, clicks)
