"""Reading and writing Kafka's log outside consumer groups: small topics followed whole, and output that is
flushed before offsets move.

Not for event topics (those come through `transport/`, or the serving worker's own consumer).
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as Partition
from confluent_kafka.admin import AdminClient, ConfigResource

from schemas.errors import HeadgateError
from schemas.settings import Settings
from schemas.topics import Topic
from streams.sight import ANEW, Inquiry, Sight

log = logging.getLogger(__name__)

Found = TypeVar("Found")

ANY_PARTITION = -1
"""librdkafka's word for: let the partitioner choose."""

MISSING = "`headgate check` says what is missing, `headgate up` creates topics"

TIMEOUT = 10.0
"""Seconds that one question to the broker may take."""

BACKOFF = 10.0
"""Seconds at most between two attempts."""

LEADERLESS = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
"""What the broker says while a partition has no leader, or the client does not know yet which it is."""

ELECTION = 0.1
"""Seconds to wait for one."""

LARGEST = 8_000_000
"""Bytes of the largest record that our producers send; a broker that takes less refuses it."""

STALLED = 10.0
"""Seconds after which it is asked whether a client that does not deliver still can."""

SLICE = 1.0
"""Seconds that are waited at a time for what has to be delivered."""

UNDELIVERED = (KafkaError._MSG_TIMED_OUT, KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
"""What is said of a record that the broker may not have got, for want of a connection."""

DELIVERY = 120_000
"""Milliseconds after which a record that the broker has not taken counts as not delivered."""


class Layout(NamedTuple):
    """How a topic is laid out on the broker."""

    partitions: int
    log_append_time: bool


def layout(settings: Settings, topic: Topic) -> Layout:
    """Asks the broker about a topic. Raises `HeadgateError` where it does not exist."""
    name = topic.full_name(settings.topics)
    admin = AdminClient(settings.kafka.librdkafka())
    metadata = admin.list_topics(name, TIMEOUT).topics[name]
    if metadata.error is not None:
        raise HeadgateError(f"topic {name}: {metadata.error.str()}; {MISSING}")
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    config = admin.describe_configs([resource])[resource].result(TIMEOUT)
    return Layout(len(metadata.partitions), config["message.timestamp.type"].value == "LogAppendTime")


def answer(question: Callable[[], Found], timeout: float = TIMEOUT) -> Found:
    """What the broker answers to a question about partitions, which is asked again for `timeout` seconds
    while one of them has no leader: it was made a moment ago, or its broker was lost.

    Raises `KafkaException`.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return question()
        except KafkaException as error:
            if error.args[0].code() not in LEADERLESS or time.monotonic() > deadline:
                raise
            time.sleep(ELECTION)


class Entry(NamedTuple):
    """A record of a followed topic. `timestamp` is Kafka's, in ms."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Follower:
    """Follows all partitions of one topic, from the beginning or from a time on, outside any group; sees
    committed transactions only.

    >>> follower = Follower(settings, topics.RELEASES)      # doctest: +SKIP
    >>> for entry in follower.refresh(): ...                # doctest: +SKIP
    """

    def __init__(
        self,
        settings: Settings,
        topic: Topic,
        on_error: Callable[[KafkaError], None] | None = None,
        since: int | None = None,
    ) -> None:
        """`on_error` is told, from within `refresh` and `poll`, what the client meets and goes on trying
        about. `since` (Kafka time, ms) skips what is older.
        """
        self._topic = topic.full_name(settings.topics)
        self._since = since
        self._config = (
            settings.kafka.librdkafka()
            | {
                "group.id": f"headgate-follower-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
            }
            | ({} if on_error is None else {"error_cb": on_error})
        )
        self._positions: dict[int, int] = {}
        self._open()
        self._read: list[Entry] = []
        self._whole = False

    def refresh(self, timeout: float = TIMEOUT) -> list[Entry]:
        """All records between the last refresh and the topic's end as it is now; blocks until they are read.

        Raises `KafkaException` where the broker does not answer in `timeout` seconds; the next call goes on
        where this one stopped.
        """
        deadline = time.monotonic() + timeout
        self._hear(10_000, 0.0)
        ends = answer(lambda: self._ends(timeout), timeout)
        while any(self._positions[partition] < end for partition, end in ends.items()):
            left = deadline - time.monotonic()
            if left <= 0:
                raise KafkaException(
                    KafkaError(KafkaError._TIMED_OUT, f"{self._topic}: not read to its end in {timeout} s")
                )
            self._hear(10_000, min(left, 1.0))
        self._whole = True
        entries, self._read = self._read, []
        return entries

    def poll(self, timeout: float) -> list[Entry]:
        """What has come since, waiting at most `timeout` seconds for the first; nothing before the first
        `refresh` that succeeds, which then answers that too.
        """
        self._hear(1_000, timeout)
        if not self._whole:
            return []
        entries, self._read = self._read, []
        return entries

    def close(self) -> None:
        """Ends the consumer's threads and connections."""
        self._consumer.close()

    def _open(self) -> None:
        """A client that goes on where the one before it stopped."""
        self._sight = Sight()
        self._consumer = Consumer(self._config | self._sight.config)
        self._assign()

    def _assign(self) -> None:
        if self._positions:
            places = [Partition(self._topic, place, offset) for place, offset in self._positions.items()]
            self._consumer.assign(places)

    def _hear(self, most: int, timeout: float) -> None:
        for message in self._consume(most, timeout):
            self._take(message)
        if self._sight.lost:
            log.warning("%s: %s", self._topic, ANEW)
            self._consumer.close()
            self._open()

    def _consume(self, most: int, timeout: float) -> list[Message]:
        """Waits for the first message only: the client's own `consume` waits until it has all that it may."""
        first = self._consumer.consume(1, timeout)
        return first + self._consumer.consume(most - 1, 0) if first else first

    def _take(self, message: Message) -> None:
        """Notes a record until it is answered, or that a partition is read to its end."""
        error = message.error()
        if error is None:
            entry = entry_of(message)
            self._read.append(entry)
            self._positions[entry.partition] = entry.offset + 1
        elif error.code() == KafkaError._PARTITION_EOF:  # it may lie behind a transaction's marker
            end = entry_of(message)
            self._positions[end.partition] = max(self._positions[end.partition], end.offset)

    def _ends(self, timeout: float) -> dict[int, int]:
        if not self._positions:
            found = self._partitions(timeout)
            starts = {partition: self._start(partition, timeout) for partition in found}
            self._positions = dict(starts)
            self._assign()
        return {partition: self._watermarks(partition, timeout)[1] for partition in self._positions}

    def _start(self, partition: int, timeout: float) -> int:
        low, high = self._watermarks(partition, timeout)
        if self._since is None:
            return low
        asked = [Partition(self._topic, partition, self._since)]
        offset = self._consumer.offsets_for_times(asked, timeout)[0].offset
        return offset if offset >= 0 else high

    def _partitions(self, timeout: float) -> list[int]:
        metadata = self._consumer.list_topics(self._topic, timeout).topics[self._topic]
        if metadata.error is not None and metadata.error.code() == KafkaError.LEADER_NOT_AVAILABLE:
            raise KafkaException(metadata.error)  # it is still starting
        if metadata.error is not None:
            raise HeadgateError(f"topic {self._topic}: {metadata.error.str()}; {MISSING}")
        return sorted(metadata.partitions)

    def _watermarks(self, partition: int, timeout: float) -> tuple[int, int]:
        low, high = self._consumer.get_watermark_offsets(Partition(self._topic, partition), timeout)
        return low, high


def entry_of(message: Message) -> Entry:
    """What a client's message says."""
    partition, offset = message.partition(), message.offset()
    assert partition is not None and offset is not None  # every message that a consumer hands over has both
    pairs = message.headers() or []
    headers = [
        (n, v if isinstance(v, bytes) else b"")
        for n, v in (pairs.items() if isinstance(pairs, dict) else pairs)
    ]
    return Entry(partition, offset, message.timestamp()[1], message.key(), message.value(), headers)


async def patiently(refresh: Callable[[], list[Found]]) -> list[Found]:
    """What a follower's `refresh`, or what is made of it, answers: in a thread of its own, however long the
    broker takes; says once that it waits.
    """
    said, pause = False, 0.5
    while True:
        try:
            return await asyncio.to_thread(refresh)
        except KafkaException as error:
            if not said:
                log.warning("control topics cannot be read (%s); trying on", error.args[0].str())
            said = True
            await asyncio.sleep(pause)
            pause = min(2 * pause, BACKOFF)


class Output:
    """Produces records and knows when the broker has them all; a failed delivery is an exception at the next
    `flush`, but for records whose sender wants to be `told` himself."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._prefix = settings.topics.prefix
        self._failed: KafkaError | None = None
        self._stalled: float | None = None
        """Since when (monotonic seconds) no flush has come to its end."""
        self._inquiry: Inquiry | None = None
        self._swap = Lock()  # held while a record is queued, so that none comes to a client that is given up
        self._producer = self._new()

    def send(
        self,
        topic: Topic,
        key: str | bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        timestamp: int | None = None,
        told: Callable[[KafkaError | None, Message], None] | None = None,
    ) -> None:
        """Queues a record; to the key's partition where none is given. Waits where the queue is full. `told`
        is told what became of it, in place of the next `flush`, from within any method.
        """
        self.put(topic, key, value, partition, headers, timestamp, told)
        self.serve()

    def put(
        self,
        topic: Topic,
        key: str | bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        timestamp: int | None = None,
        told: Callable[[KafkaError | None, Message], None] | None = None,
    ) -> None:
        """The same, for many at a time: whoever puts them calls `serve` after the last, once for all."""
        while True:
            try:
                with self._swap:
                    self._producer.produce(
                        self._prefix + topic.name,
                        value,
                        key,
                        ANY_PARTITION if partition is None else partition,
                        on_delivery=told or self._delivered,
                        timestamp=timestamp or 0,
                        headers=list(headers),
                    )
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def serve(self) -> None:
        """Hears what has become of records so far; never waits."""
        self._producer.poll(0)

    def flush(self, timeout: float = 150.0) -> None:
        """Waits until the broker has everything. Raises `KafkaException` for what it did not take."""
        left = self._flush(timeout)
        if self._failed is not None:
            error, self._failed = self._failed, None
            raise KafkaException(error)
        if left:
            raise KafkaException(
                KafkaError(KafkaError._TIMED_OUT, f"{left} records not delivered in {timeout} s")
            )

    def _new(self) -> Producer:
        return Producer(
            self._settings.kafka.librdkafka()
            | {
                "enable.idempotence": True,
                "linger.ms": 5,
                "compression.type": "lz4",
                "partitioner": "murmur2_random",
                "message.max.bytes": LARGEST,
                "message.timeout.ms": DELIVERY,
            }
        )

    def _flush(self, timeout: float) -> int:
        """Waits until nothing is left, at most `timeout` seconds; answers how much is."""
        began = time.monotonic()
        while True:
            left = self._producer.flush(min(max(began + timeout - time.monotonic(), 0.0), SLICE))
            if not left:
                self._stalled = None
                return 0
            self._stalled = began if self._stalled is None else self._stalled
            self._doubt(self._stalled)
            if time.monotonic() >= began + timeout:
                return left

    def _doubt(self, stalled: float) -> None:
        """Nothing has come to its end since `stalled`: finds out whether it ever will. Never waits."""
        now = time.monotonic()
        if self._inquiry is None:
            if now - stalled >= STALLED:
                self._inquiry = Inquiry(self._producer, self._settings)
        elif self._inquiry.found is not None:
            lost, self._inquiry, self._stalled = self._inquiry.found, None, now
            if lost:
                self._replace()

    def _replace(self) -> None:
        """Gives a client up that delivers nothing any more. What it has not delivered has failed: whoever
        sent it is told so, and sends it again."""
        log.warning(ANEW)
        with self._swap:
            lost, self._producer = self._producer, self._new()
        lost.purge()
        lost.poll(0)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None and self._failed is None:
            self._failed = error
