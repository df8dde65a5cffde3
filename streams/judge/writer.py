"""The one writer of `control.releases`: a Kafka transaction under an id that is fixed for each partition, so
that the broker lets only the newest writer through. `release rollback --force` takes the same id: it works
with the judge dead, and fences it if it is not.

What is decided is not decided here.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
from confluent_kafka import KafkaError, KafkaException, Producer

from schemas import signing, topics
from schemas.errors import HeadgateError
from schemas.records import ENCODER, Codec, Record, Release
from schemas.settings import Settings
from schemas.topics import Topic
from streams.judge.releases import escalation, release
from streams.judge.releases.release import Occasion, Standing
from streams.log import Follower

log = logging.getLogger(__name__)

TIMEOUT = 30.0
"""Seconds that one call to the broker may take before it is tried again."""
PATIENCE = 60.0
"""Seconds that `force_rollback` waits for the broker."""

FENCED = (
    KafkaError._FENCED,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
)


class FencedError(HeadgateError):
    """Somebody else writes this partition now."""


class Message(NamedTuple):
    """A record to be written, to the writer's partition; as bytes where it is to be written as it was; None
    deletes what a compacted topic has under the key.
    """

    topic: Topic
    key: str
    value: Record | bytes | None


class Writer:
    """Writes one partition of the model-keyed topics, all or nothing. Not for two threads at once."""

    def __init__(self, settings: Settings, partition: int) -> None:
        self._prefix = settings.topics.prefix
        self._partition = partition
        self._keys = signing.keyring(settings.signing)
        self._producer = Producer(
            settings.kafka.librdkafka()
            | {
                "transactional.id": transactional_id(settings, partition),
                "transaction.timeout.ms": 60_000,
                "message.timeout.ms": 55_000,
                "compression.type": "lz4",
                "linger.ms": 0,
                "message.max.bytes": 8_000_000,
            }
        )

    def open(self, patience: float | None = None) -> None:
        """Takes the partition over: from here on no other writer gets through. Waits for the broker, at most
        `patience` seconds.
        """
        self._insist(lambda: self._producer.init_transactions(TIMEOUT), patience)

    def write(self, messages: Sequence[Message], patience: float | None = None) -> None:
        """Returns once all of them are committed. Raises `FencedError`, or `KafkaException` after `patience`
        seconds (None: waits on).
        """
        deadline = None if patience is None else time.monotonic() + patience
        while True:
            try:
                self._producer.begin_transaction()
                for message in messages:
                    self._produce(message)
                self._insist(lambda: self._producer.commit_transaction(TIMEOUT), _left(deadline))
                return
            except KafkaException as error:
                if not error.args[0].txn_requires_abort():
                    raise
                log.warning("a transaction has to be made again: %s", error.args[0].str())
                self._insist(lambda: self._producer.abort_transaction(TIMEOUT), _left(deadline))

    def _produce(self, message: Message) -> None:
        value = ENCODER.encode(message.value) if isinstance(message.value, Record) else message.value
        self._producer.produce(
            self._prefix + message.topic.name,
            value,
            message.key,
            partition=self._partition if message.topic.key.split("/")[0] == "model" else -1,
            headers=[*self._keys.sign(value)] if value and message.topic is topics.RELEASES else [],
        )

    def _insist(self, call: Callable[[], None], patience: float | None) -> None:
        deadline = None if patience is None else time.monotonic() + patience
        pause, said = 0.1, False
        while True:
            try:
                call()
                return
            except KafkaException as failure:
                error = failure.args[0]
                if error.code() in FENCED or error.fatal():
                    raise FencedError(
                        f"judge: somebody else writes partition {self._partition} of control.releases now "
                        f"({error.str()}): another judge, or `release rollback --force`; this one stops"
                    ) from failure
                if error.txn_requires_abort() or not error.retriable():
                    raise
                if deadline is not None and time.monotonic() > deadline:
                    raise
                if not said:
                    log.warning("Kafka does not take what is to be written (%s); trying on", error.str())
                said = True
            time.sleep(pause)
            pause = min(2 * pause, 5.0)


def transactional_id(settings: Settings, partition: int) -> str:
    """Under which the only writer of a partition of `control.releases` is known to the broker."""
    return f"{settings.topics.prefix}headgate-judge-{partition}"


def publish_release(settings: Settings, partition: int, record: Release) -> None:
    """Writes `record` without the judge, which is fenced. Raises `HeadgateError` where the broker does not
    take it.
    """
    writer = Writer(settings, partition)
    try:
        writer.open(PATIENCE)
        writer.write([Message(topics.RELEASES, record.model, record)], PATIENCE)
    except KafkaException as error:
        raise HeadgateError(
            f"control.releases: {error.args[0].str()}; is Kafka at {settings.kafka.brokers} up?"
        ) from error


def force_rollback(settings: Settings, model: str, actor: str, reason: str | None, now: int) -> Release:
    """Rolls `model` back without the judge: to the old version of a running release, else to the one before
    the stable one.

    The partition is taken over before what stands is read, so nothing can come in between. Answers the
    record that was written. Raises `HeadgateError` where there is nothing to go back to.
    """
    found = _latest(settings, model)
    if found is None:
        raise HeadgateError(f"{model} has no release: nothing to roll back")
    if found.signed and not signing.keyring(settings.signing):
        raise HeadgateError(
            f"releases of {model} are signed, but no key is configured here, so workers would refuse this "
            f"one; set {signing.VARIABLE}, or keys under [signing] in headgate.toml"
        )
    _rolled_back(found.standing, actor, reason, now)  # a refusal is to fence nobody
    writer = Writer(settings, found.partition)
    try:
        writer.open(PATIENCE)
        found = _latest(settings, model) or found
        record = _rolled_back(found.standing, actor, reason, now)
        writer.write([Message(topics.RELEASES, model, record)], PATIENCE)
    except KafkaException as error:
        raise HeadgateError(
            f"control.releases: {error.args[0].str()}; is Kafka at {settings.kafka.brokers} up?"
        ) from error
    return record


def _rolled_back(standing: Standing, actor: str, reason: str | None, now: int) -> Release:
    asked = f"rollback --force by {actor}"
    before = (standing.release.evidence or {}).get("as_of", {})
    occasion = Occasion(
        now=now,
        key=f"force {actor} {now}",
        reason=f"{asked}: {reason}" if reason else asked,
        as_of=before,
        evidence={"cause": "force", "actor": actor},
    )
    if standing.runs:
        return escalation.handed_over(standing, release.roll_back(standing, occasion))
    if standing.state.previous is None:
        stable = standing.release.stable
        raise HeadgateError(
            f"no release is running, and no version is known from before {stable}: nothing to go back to"
        )
    return escalation.handed_over(standing, release.restore(standing, standing.state.previous, occasion))


class Latest(NamedTuple):
    """The newest release of a model, where it stands, and whether its releases are signed."""

    partition: int
    standing: Standing
    signed: bool


def _latest(settings: Settings, model: str) -> Latest | None:
    """Of the releases of `model` that are signed as they must be."""
    follower = Follower(settings, topics.RELEASES)
    keys = signing.keyring(settings.signing)
    codec: Codec[Release] = Codec(Release)
    latest: Latest | None = None
    signed = False
    try:
        for entry in follower.refresh():
            if not entry.value or entry.key != model.encode():
                continue
            try:
                record = codec.decode(entry.value)
            except msgspec.DecodeError as error:
                log.warning("control.releases, offset %d: %s", entry.offset, error)
                continue
            mistake = keys.mistake(entry.value, entry.headers)
            if mistake is not None:
                log.warning("control.releases, offset %d: %s; it is left alone", entry.offset, mistake)
            elif latest is None or record.generation > latest.standing.release.generation:
                latest = Latest(entry.partition, release.read(record), signed=False)
            signed = signed or any(name == signing.HEADER for name, _ in entry.headers)
    finally:
        follower.close()
    return None if latest is None else latest._replace(signed=signed)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
