"""Kafka transactions under an id that only one process has at a time: the broker lets the newest through and
fences the others. What is written is committed whole, however long the broker takes.

Who uses it decides what is written, and what being fenced means to people.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.errors import HeadgateError
from schemas.settings import Settings
from schemas.topics import Topic
from streams.log import ANY_PARTITION, LARGEST
from streams.sight import ANEW, is_lost

log = logging.getLogger(__name__)

TIMEOUT = 30.0
"""Seconds that one call to the broker may take before it is tried again."""
FIRST, MOST = 0.1, 5.0
"""Seconds between two such attempts."""

FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)


class FencedError(HeadgateError):
    """Somebody else has the transactional id now."""


class Outgoing(NamedTuple):
    """A record to be written; without a value it deletes what a compacted topic has under its key."""

    topic: Topic
    key: str | None
    value: bytes | None
    partition: int = ANY_PARTITION
    headers: Sequence[tuple[str, bytes | None]] = ()


class Transactions:
    """A producer of transactions. `fenced` says to people what it means that somebody else has the id now.
    Blocking; not for two threads at once.
    """

    def __init__(self, settings: Settings, transactional_id: str, fenced: str) -> None:
        self._settings = settings
        self._prefix = settings.topics.prefix
        self._fenced = fenced
        self._producer = Producer(
            settings.kafka.librdkafka()
            | {
                "transactional.id": transactional_id,
                "transaction.timeout.ms": 60_000,
                "message.timeout.ms": 55_000,
                "compression.type": "lz4",
                "linger.ms": 0,
                "message.max.bytes": LARGEST,
            }
        )

    def open(self, patience: float | None = None) -> None:
        """Takes the id over: from here on nobody who had it before gets through. Waits for the broker, at
        most `patience` seconds.
        """
        self._insist(lambda: self._producer.init_transactions(TIMEOUT), _deadline(patience))

    def write(self, records: Sequence[Outgoing], patience: float | None = None) -> None:
        """Returns once all of them are committed. Raises `FencedError`, or `KafkaException` after `patience`
        seconds (None: waits on).
        """
        deadline = _deadline(patience)
        while True:
            try:
                self._producer.begin_transaction()
                for record in records:
                    self._produce(record)
                self._insist(lambda: self._producer.commit_transaction(TIMEOUT), deadline)
                return
            except KafkaException as error:
                if not error.args[0].txn_requires_abort():
                    raise
                log.warning("a transaction has to be made again: %s", error.args[0].str())
                self._insist(lambda: self._producer.abort_transaction(TIMEOUT), deadline)

    def _produce(self, record: Outgoing) -> None:
        while True:
            try:
                self._producer.produce(
                    self._prefix + record.topic.name,
                    record.value,
                    record.key,
                    partition=record.partition,
                    headers=[*record.headers],
                )
                return
            except BufferError:  # the client's queue is full
                self._producer.poll(0.1)

    def _insist(self, call: Callable[[], None], deadline: float | None) -> None:
        pause, said = FIRST, False
        while True:
            try:
                call()
                return
            except KafkaException as failure:
                error = failure.args[0]
                if error.code() in FENCED or error.fatal():
                    raise FencedError(f"{self._fenced} ({error.str()}); this one stops") from failure
                if error.txn_requires_abort() or not error.retriable():
                    raise
                if deadline is not None and time.monotonic() > deadline:
                    raise
                if is_lost(self._producer, self._settings):
                    raise KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN, ANEW)) from failure
                if not said:
                    log.warning("Kafka does not take what is to be written (%s); trying on", error.str())
                said = True
            time.sleep(pause)
            pause = min(2 * pause, MOST)


def _deadline(patience: float | None) -> float | None:
    return None if patience is None else time.monotonic() + patience
