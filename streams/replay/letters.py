"""Dead letters of recorded records."""

from schemas.records import DeadLetter
from schemas.topics import Topic
from streams.letters import dead_letter
from streams.stage import Record, TopicPartition


def letter(stage: str, topic: Topic, partition: int, record: Record, reason: str) -> DeadLetter:
    """What a stage would have said of a record; stamped with its Kafka timestamp."""
    return dead_letter(stage, TopicPartition(topic.name, partition), record, reason, record.timestamp)
