"""Where the logs of partitions begin and end, where a time is in them and how far a group is, as the broker
says."""

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

Offsets = dict[tuple[str, int], int]
"""An offset of each partition, by topic and number."""

BEGINNING: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
END: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]


def at(admin: AdminClient, partitions: Sequence[TopicPartition], spec: OffsetSpec, timeout: float) -> Offsets:
    """What `spec` is in each; -1 for a time that none of its records has reached. Raises `KafkaException`."""
    if not partitions:
        return {}
    answers = admin.list_offsets(dict.fromkeys(partitions, spec), request_timeout=timeout)
    return {(place.topic, place.partition): answer.result().offset for place, answer in answers.items()}


def since(admin: AdminClient, partitions: Sequence[TopicPartition], time: int, timeout: float) -> Offsets:
    """Their first records from Kafka time `time` (ms) on; the ends where there are none. Raises
    `KafkaException`.
    """
    ends = at(admin, partitions, END, timeout)
    found = at(admin, partitions, OffsetSpec.for_timestamp(time), timeout)
    return {place: offset if offset >= 0 else ends[place] for place, offset in found.items()}


def committed(
    connection: Mapping[str, Any], group: str, partitions: Sequence[TopicPartition], timeout: float
) -> dict[tuple[str, int], TopicPartition]:
    """What a group has committed, by topic and number; an offset below 0 where that is nothing. `connection`
    is the configuration of a client. Raises `KafkaException`.

    Asked as its members ask, without becoming one: librdkafka's admin client ends the process (SIGSEGV) where
    it is told that a broker is not the group's coordinator, as a new one says at first
    (https://github.com/confluentinc/librdkafka/issues/5040). The `metadata` are not to be relied on: their
    end is not told (https://github.com/confluentinc/librdkafka/issues/4649).
    """
    consumer = Consumer({**connection, "group.id": group, "enable.auto.commit": False})
    try:
        found = consumer.committed(list(partitions), timeout)
    finally:
        consumer.close()
    for place in found:
        if place.error is not None:
            raise KafkaException(place.error)
    return {(place.topic, place.partition): place for place in found}
