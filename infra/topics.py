"""Creates the contract's topics on a broker, and refuses to work with ones that are not as they must be.

What each topic is stands in `schemas/topics.py`; this file only asks the broker. Nothing is ever changed on
topics that exist: partition counts cannot change in place (keys would move), and their other configuration is
the operator's.
"""

import time
from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas import topics
from schemas.errors import HeadgateError
from schemas.settings import Settings
from schemas.topics import Topic

TIMEOUT = 30.0
"""Seconds that the broker may take to answer."""

MAX_RECORD = 8 * 1024 * 1024
"""Bytes of the largest batch of records that our topics take, on brokers with a smaller default too."""


def create(settings: Settings, *, forever: bool) -> list[str]:
    """Creates the contract's topics that are missing, and answers their full names; those that stand are left
    as they are.

    `forever` is for local stacks, which carry recorded data with its own, old times: event topics keep the
    producers' timestamps (`CreateTime`) and no record is ever deleted by age. Otherwise event topics are
    `LogAppendTime` and the broker's retention holds. Raises `HeadgateError` where no broker answers, or an
    existing topic has another partition count than the settings say.
    """
    admin = AdminClient(settings.kafka.librdkafka())
    existing = _partitions(admin, settings)
    for topic in topics.ALL:
        found = existing.get(topic.full_name(settings.topics))
        if found is not None:
            _check_partitions(topic, found, settings)
    missing = [topic for topic in topics.ALL if topic.full_name(settings.topics) not in existing]
    if not missing:
        return []
    wanted = [
        NewTopic(
            topic.full_name(settings.topics),
            num_partitions=topic.partitions(settings.topics),
            replication_factor=settings.topics.replication,
            config=configuration(topic, forever=forever),
        )
        for topic in missing
    ]
    creations = admin.create_topics(wanted, operation_timeout=TIMEOUT, request_timeout=TIMEOUT)
    created = [name for name, creation in creations.items() if _created(name, creation)]
    _wait_until_known(admin, settings, set(creations))
    return created


def configuration(topic: Topic, *, forever: bool) -> dict[str, str]:
    """A topic's configuration on the broker; `forever` as for `create`.

    `control.policies` is `LogAppendTime` everywhere: from when a policy holds must not be the publisher's
    clock's to say.
    """
    broker_time = topic is topics.POLICIES or (topic.event and not forever)
    return topic.config(forever=forever) | {
        "message.timestamp.type": "LogAppendTime" if broker_time else "CreateTime",
        "max.message.bytes": str(MAX_RECORD),
    }


def _partitions(admin: AdminClient, settings: Settings) -> dict[str, int]:
    try:
        found = admin.list_topics(timeout=TIMEOUT).topics
    except KafkaException as error:
        raise HeadgateError(
            f"Kafka at {settings.kafka.brokers}: {error.args[0].str()}; expected a broker that answers in "
            f"{TIMEOUT:.0f} s; check HEADGATE_KAFKA, or [kafka] in headgate.toml"
        ) from error
    return {name: len(topic.partitions) for name, topic in found.items()}


def _wait_until_known(admin: AdminClient, settings: Settings, names: set[str]) -> None:
    """The controller answers once it has written the topics down; brokers learn of them a moment later."""
    deadline = time.monotonic() + TIMEOUT
    while missing := names - _partitions(admin, settings).keys():
        if time.monotonic() > deadline:
            raise HeadgateError(
                f"topics {', '.join(sorted(missing))}: created, but not known to the broker "
                f"after {TIMEOUT:.0f} s; see its log"
            )
        time.sleep(0.02)


def _check_partitions(topic: Topic, found: int, settings: Settings) -> None:
    expected = topic.partitions(settings.topics)
    if found != expected:
        setting = "partitions" if topic.event else "model_partitions"
        raise HeadgateError(
            f"topic {topic.full_name(settings.topics)}: found {found} partitions, expected {expected}; they "
            f"do not change in place: set {setting} = {found} under [topics] in headgate.toml, "
            "or choose a new prefix there, create the topics under it, move the producers, and start the "
            "stages under it once the old topics are read to their ends"
        )


def _created(name: str, creation: Future[None]) -> bool:
    try:
        creation.result()
    except KafkaException as error:
        cause = error.args[0]
        if cause.code() == KafkaError.TOPIC_ALREADY_EXISTS:  # somebody else was as quick
            return False
        raise HeadgateError(f"topic {name} could not be created: {cause.str()}") from error
    return True
