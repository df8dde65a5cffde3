"""Reads a stretch of the event topics from Kafka, to make a reference profile of it."""

from collections.abc import Iterator
from functools import partial

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.commands.kafka import PATIENCE
from infra.commands.profile_files import PREDICTIONS, REQUESTS
from infra.commands.profile_sample import Sample
from schemas import topics
from schemas.settings import Settings
from streams.log import answer

EARLY = 300_000
"""Records may be stamped so many ms later than Kafka took them."""
LATE = 3_600_000
"""Those that Kafka took later than so many ms after the stretch are left out."""


def read(settings: Settings, start: int, end: int, sample: Sample) -> Iterator[str]:
    """Puts the predictions with `start` ≤ `ts` < `end` (ms), and the requests around, into the sample;
    answers what is wrong with records that are none.

    Raises `KafkaException` where the broker does not answer.
    """
    names = {topic.full_name(settings.topics): topic for topic in (topics.REQUESTS, topics.PREDICTIONS)}
    for message in _messages(settings, list(names), start - EARLY, end + LATE):
        topic = names[message.topic() or ""]
        try:
            if topic is topics.REQUESTS:
                sample.request(REQUESTS.decode(message.value()))
                continue
            prediction = PREDICTIONS.decode(message.value())
        except ValueError as error:
            yield f"{topic.name}, partition {message.partition()}, offset {message.offset()}: {error}"
            continue
        if start <= prediction.ts < end:
            sample.prediction(prediction)


def _messages(settings: Settings, names: list[str], start: int, end: int) -> Iterator[Message]:
    """The records that Kafka took from `start` to `end` (ms), of all partitions of the topics."""
    consumer = Consumer(
        settings.kafka.librdkafka()
        | {
            "group.id": "headgate-profile",  # never joined, nothing is committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    try:
        left = _stretch(consumer, names, start, end)
        while left:
            messages = consumer.consume(1_000, PATIENCE)
            if not messages:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"nothing came in {PATIENCE} s"))
            for message in messages:
                place = (message.topic(), message.partition())
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                if place not in left:
                    continue
                offset = message.offset() or 0
                if error is None and offset < left[place]:
                    yield message
                if offset + 1 >= left[place]:
                    del left[place]
                    consumer.incremental_unassign([TopicPartition(str(place[0]), place[1] or 0)])
    finally:
        consumer.close()


def _stretch(
    consumer: Consumer, names: list[str], start: int, end: int
) -> dict[tuple[str | None, int | None], int]:
    """Assigns the partitions that have records in the stretch; answers where each of them stops."""
    places = [
        (name, partition)
        for name in names
        for partition in consumer.list_topics(name, PATIENCE).topics[name].partitions
    ]
    firsts = _at(consumer, places, start)
    stops = _at(consumer, places, end)
    left = {place: stops[place] for place in places if firsts[place] < stops[place]}
    consumer.assign([TopicPartition(*place, firsts[place]) for place in left])
    return {(name, partition): stop for (name, partition), stop in left.items()}


def _at(consumer: Consumer, places: list[tuple[str, int]], time: int) -> dict[tuple[str, int], int]:
    """Each partition's first record that Kafka took at `time` (ms) or later; its end where there is none."""
    asked = [TopicPartition(*place, max(0, time)) for place in places]
    found = {}
    for place in answer(lambda: consumer.offsets_for_times(asked, PATIENCE), PATIENCE):
        _, high = answer(partial(consumer.get_watermark_offsets, place, PATIENCE), PATIENCE)
        found[place.topic, place.partition] = place.offset if place.offset >= 0 else high
    return found
