"""Where the logs of partitions begin and end, where a time is in them and how far a group is, as the broker
says."""

from collections.abc import Sequence

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
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
    admin: AdminClient, group: str, partitions: Sequence[TopicPartition], timeout: float
) -> Offsets:
    """What a group has committed; negative where that is nothing. Raises `KafkaException`."""
    asked = [ConsumerGroupTopicPartitions(group, list(partitions))]
    answer = admin.list_consumer_group_offsets(asked, request_timeout=timeout)[group].result()
    return {(place.topic, place.partition): place.offset for place in answer.topic_partitions or ()}
