"""A stretch of one topic partition, read once from a time to an offset, outside any group and batch by batch:
what was folded long ago may be more than memory holds.
"""

import uuid
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Place

from schemas.settings import Settings
from schemas.topics import Topic
from streams.log import TIMEOUT, Entry, answer, entry_of
from streams.sight import ANEW, Sight

BATCH = 5_000
"""Records at a time."""


class Past:
    """Records of a partition from Kafka time `since` (ms) on; those below offset `end`, or all that there are
    now. Close it in the end.

    `first` is the offset at which it begins, and `cut` whether the log begins there: what is older is gone.
    Raises `KafkaException` where the broker does not answer.
    """

    def __init__(
        self, settings: Settings, topic: Topic, partition: int, since: int, end: int | None = None
    ) -> None:
        self._sight = Sight()
        self._consumer = Consumer(
            settings.kafka.librdkafka()
            | self._sight.config
            | {
                "group.id": f"headgate-past-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
            }
        )
        self._name = topic.full_name(settings.topics)
        asked = [Place(self._name, partition, max(0, since))]
        low, high = answer(lambda: self._consumer.get_watermark_offsets(asked[0], TIMEOUT))
        found = answer(lambda: self._consumer.offsets_for_times(asked, TIMEOUT))[0].offset
        self.first = found if found >= 0 else high
        self.cut = low > 0 and self.first == low
        self.end = high if end is None else min(end, high)
        self._position = self.first
        self._consumer.assign([Place(self._name, partition, self.first)])

    def batches(self) -> Iterator[list[Entry]]:
        """All of them, in their order."""
        while self._position < self.end:
            batch = []
            for message in self._consumer.consume(BATCH, 1.0):
                error = message.error()
                if error is None:
                    batch.append(entry_of(message))
                    self._position = batch[-1].offset + 1
                elif error.code() == KafkaError._PARTITION_EOF:  # perhaps behind a transaction's marker
                    self._position = max(self._position, message.offset() or 0)
                else:  # what the client can mend it does not tell
                    raise KafkaException(error)
            if self._sight.lost:
                raise KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN, ANEW))
            yield [each for each in batch if each.offset < self.end]

    def close(self) -> None:
        """Ends the consumer."""
        self._consumer.close()
