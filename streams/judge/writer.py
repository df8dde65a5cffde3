"""The one writer of `control.releases`: a Kafka transaction under an id that is fixed for each partition, so
that the broker lets only the newest writer through. `release rollback --force` takes the same id: it works
with the judge dead, and fences it if it is not.

What is decided is not decided here.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from confluent_kafka import KafkaException

from schemas import signing, topics
from schemas.errors import HeadgateError
from schemas.records import ENCODER, Codec, Record, Release
from schemas.settings import Settings
from schemas.topics import Topic
from streams.judge.releases import escalation, release
from streams.judge.releases.release import Occasion, Standing
from streams.log import ANY_PARTITION, Follower
from streams.transactions import Outgoing, Transactions

log = logging.getLogger(__name__)

BY_PEOPLE = ("command", "force")
"""Causes of rollbacks that somebody asked for."""

PATIENCE = 60.0
"""Seconds that `force_rollback` waits for the broker."""


class Message(NamedTuple):
    """A record to be written, to the writer's partition; as bytes where it is to be written as it was; None
    deletes what a compacted topic has under the key.
    """

    topic: Topic
    key: str
    value: Record | bytes | None


class Writer:
    """Writes one partition of the model-keyed topics, all or nothing. Blocking; not for two threads at
    once.
    """

    def __init__(self, settings: Settings, partition: int) -> None:
        self._partition = partition
        self._keys = signing.keyring(settings.signing)
        self._transactions = Transactions(
            settings,
            f"{settings.topics.prefix}headgate-judge-{partition}",
            f"judge: somebody else writes partition {partition} of control.releases now, another judge or "
            "`release rollback --force`",
        )

    def open(self, patience: float | None = None) -> None:
        """Takes the partition over: from here on no other writer gets through. Waits for the broker, at most
        `patience` seconds.
        """
        self._transactions.open(patience)

    def write(self, messages: Sequence[Message], patience: float | None = None) -> None:
        """Returns once all of them are committed. Raises `FencedError`, or `KafkaException` after `patience`
        seconds (None: waits on).
        """
        self._transactions.write([self._outgoing(message) for message in messages], patience)

    def _outgoing(self, message: Message) -> Outgoing:
        topic, key = message.topic, message.key
        value = ENCODER.encode(message.value) if isinstance(message.value, Record) else message.value
        partition = self._partition if topic.key.split("/")[0] == "model" else ANY_PARTITION
        headers = [*self._keys.sign(value)] if value and topic is topics.RELEASES else []
        return Outgoing(topic, key, value, partition, headers)


def force_rollback(
    settings: Settings, model: str, actor: str, reason: str | None, now: int, generation: int | None = None
) -> Release:
    """Rolls `model` back without the judge: to the old version of a running release, else to the one before
    the stable one. After somebody's rollback it goes back further only where `generation` says that it was
    seen: two people at once are to go back once.

    The partition is taken over before what stands is read, so nothing can come in between. Answers the
    record that was written. Raises `HeadgateError` where there is nothing to go back to, or another
    generation stands.
    """
    found = _latest(settings, model)
    if found is None:
        raise HeadgateError(f"{model} has no release: nothing to roll back")
    if found.signed and not signing.keyring(settings.signing):
        raise HeadgateError(
            f"releases of {model} are signed, but no key is configured here, so workers would refuse this "
            f"one; set {signing.VARIABLE}, or keys under [signing] in headgate.toml"
        )
    _rolled_back(found.standing, actor, reason, now, generation)  # a refusal is to fence nobody
    writer = Writer(settings, found.partition)
    try:
        writer.open(PATIENCE)
        found = _latest(settings, model) or found
        record = _rolled_back(found.standing, actor, reason, now, generation)
        writer.write([Message(topics.RELEASES, model, record)], PATIENCE)
    except KafkaException as error:
        raise HeadgateError(
            f"control.releases: {error.args[0].str()}; is Kafka at {settings.kafka.brokers} up?"
        ) from error
    return record


def _rolled_back(
    standing: Standing, actor: str, reason: str | None, now: int, generation: int | None
) -> Release:
    stands = standing.release
    if generation is not None and generation != stands.generation:
        raise HeadgateError(
            f"{stands.model}: found generation {stands.generation} ({stands.reason}), expected {generation}"
        )
    asked = f"rollback --force by {actor}"
    occasion = Occasion(
        now=now,
        key=f"force {actor} {now}",
        reason=f"{asked}: {reason}" if reason else asked,
        as_of=release.as_of(stands),
        evidence={"cause": "force", "actor": actor},
    )
    if standing.runs:
        return escalation.handed_over(standing, release.roll_back(standing, occasion))
    if standing.state.previous is None:
        raise HeadgateError(
            f"no release is running, and no version is known from before {stands.stable}: nothing to go back "
            "to"
        )
    cause = release.said(stands, "cause", str)
    if stands.phase == "rolled_back" and cause in BY_PEOPLE and generation is None:
        raise HeadgateError(
            f"{stands.model} was rolled back to {stands.stable} already ({stands.reason}); to go back "
            f"further, to {standing.state.previous}, add --generation {stands.generation}"
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
