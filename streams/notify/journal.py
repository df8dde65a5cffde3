"""`alerts.open`: what a notify stage keeps for its successor, by partition of `alerts`: what fires, what is
to be said yet, and who has been told. Compacted, so it is as long as there are such alerts.

Written in transactions under an id that is fixed for each partition: a zombie that comes back must not write
over its successor that an alert fires which has ended since.
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec
from confluent_kafka import KafkaError, KafkaException, Producer

from schemas import topics
from schemas.errors import HeadgateError
from schemas.records import ENCODER, Codec, DeadLetter
from schemas.settings import Settings
from schemas.topics import Topic
from streams.log import ANY_PARTITION, Entry
from streams.notify.book import Case

log = logging.getLogger(__name__)

TIMEOUT = 30.0
"""Seconds that one call to the broker may take before it is tried again."""
FIRST, MOST = 0.1, 5.0
"""Seconds between two such attempts."""

FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)


class FencedError(HeadgateError):
    """Somebody else keeps this partition's journal now."""


class Note(NamedTuple):
    """What is to be written of a case, by its key: how it stands, as JSON; None: it is no longer kept."""

    key: str
    value: bytes | None


def note(key: str, case: Case | None) -> Note:
    """Of a case as it stands now."""
    return Note(key, None if case is None else ENCODER.encode(case))


class Journal:
    """The journal of one partition. Blocking; not for two threads at once."""

    def __init__(self, settings: Settings, partition: int) -> None:
        self._prefix = settings.topics.prefix
        self._partition = partition
        self._producer = Producer(
            settings.kafka.librdkafka()
            | {
                "transactional.id": f"{self._prefix}headgate-notify-{partition}",
                "transaction.timeout.ms": 60_000,
                "message.timeout.ms": 55_000,
                "compression.type": "lz4",
                "linger.ms": 0,
                "message.max.bytes": 8_000_000,
            }
        )

    def open(self) -> None:
        """Takes the partition over: from here on nobody who had it before gets through."""
        self._insist(lambda: self._producer.init_transactions(TIMEOUT))

    def write(self, notes: Iterable[Note], letters: Iterable[DeadLetter]) -> None:
        """Returns once all of them are committed, however long the broker takes. Raises `FencedError`."""
        notes, letters = list(notes), list(letters)
        while True:
            try:
                self._producer.begin_transaction()
                for key, value in notes:
                    self._produce(topics.OPEN_ALERTS, key, value, self._partition)
                for letter in letters:
                    self._produce(topics.DEAD_LETTERS, letter.key, ENCODER.encode(letter), ANY_PARTITION)
                self._insist(lambda: self._producer.commit_transaction(TIMEOUT))
                return
            except KafkaException as error:
                if not error.args[0].txn_requires_abort():
                    raise
                log.warning("a transaction has to be made again: %s", error.args[0].str())
                self._insist(lambda: self._producer.abort_transaction(TIMEOUT))

    def _produce(self, topic: Topic, key: str | None, value: bytes | None, partition: int) -> None:
        while True:
            try:
                self._producer.produce(self._prefix + topic.name, value, key, partition)
                return
            except BufferError:  # the client's queue is full
                self._producer.poll(0.1)

    def _insist(self, call: Callable[[], None]) -> None:
        pause, said = FIRST, False
        while True:
            try:
                call()
                return
            except KafkaException as failure:
                error = failure.args[0]
                if error.code() in FENCED or error.fatal():
                    raise FencedError(
                        f"notify: another process has partition {self._partition} of alerts now "
                        f"({error.str()}); this one stops"
                    ) from failure
                if error.txn_requires_abort() or not error.retriable():
                    raise
                if not said:
                    log.warning("Kafka does not take what is to be written (%s); trying on", error.str())
                said = True
            time.sleep(pause)
            pause = min(2 * pause, MOST)


def kept(entries: Iterable[Entry], partition: int) -> dict[str, Case]:
    """What is kept of a partition, by key. A record that cannot be read is left out: it is not ours."""
    codec: Codec[Case] = Codec(Case)
    found: dict[str, Case] = {}
    for entry in entries:
        key = (entry.key or b"").decode("utf-8", "replace")
        if entry.partition != partition:
            continue
        found.pop(key, None)
        if entry.value is None:
            continue
        try:
            found[key] = codec.decode(entry.value)
        except msgspec.DecodeError as error:
            log.error("alerts.open, offset %d: %s; it is left out", entry.offset, error)
    return found
