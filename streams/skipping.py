"""Where a consumer group begins that wants nothing of what was before."""

import logging
import time
from collections.abc import Sequence

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.settings import Settings
from schemas.topics import Topic
from streams import offsets
from streams.log import TIMEOUT

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds for which the broker is asked again; a new one has to find its groups first."""
PAUSE = 0.5
"""Seconds between two attempts."""
OCCUPIED = (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.NON_EMPTY_GROUP)
"""The broker's words for a group that has members."""


def skip(settings: Settings, group: str, topics: Sequence[Topic], since: int) -> None:
    """Has a group read no record whose Kafka time is before `since` (ms). What it has committed beyond stays,
    and so does all where it has members, for those are there already. Where the broker refuses, there is more
    to be read than need be, and that is said. Blocking.
    """
    admin, deadline = AdminClient(settings.kafka.librdkafka()), time.monotonic() + PATIENCE
    names = [topic.full_name(settings.topics) for topic in topics]
    while True:
        try:
            _skip(settings, admin, group, names, since)
        except KafkaException as error:
            if error.args[0].code() in OCCUPIED:
                return
            if time.monotonic() > deadline:
                log.warning("group %s reads what was before, too: %s", group, error.args[0].str())
                return
            time.sleep(PAUSE)
        else:
            return


def _skip(settings: Settings, admin: AdminClient, group: str, names: Sequence[str], since: int) -> None:
    existing = admin.list_topics(timeout=TIMEOUT).topics
    places = [TopicPartition(name, number) for name in names for number in existing[name].partitions]
    committed = offsets.committed(settings.kafka.librdkafka(), group, places, TIMEOUT)
    first = offsets.since(admin, places, since, TIMEOUT)
    moved = [TopicPartition(*place, to) for place, to in first.items() if committed[place].offset < to]
    if moved:
        asked = [ConsumerGroupTopicPartitions(group, moved)]
        answer = admin.alter_consumer_group_offsets(asked, request_timeout=TIMEOUT)[group].result()
        for place in answer.topic_partitions or ():
            if place.error is not None:
                raise KafkaException(place.error)
