"""From Kafka messages to requests: decoded, skipped where they are not ours, dead letters where they are
none."""

import logging
from collections.abc import Callable
from typing import NamedTuple

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from schemas import topics
from schemas.records import ORIGIN, Codec, DeadLetter, Request, problem
from serving.flight import Place
from serving.intake import coordinates
from serving.jobs import Clock, Job
from streams.letters import dead_letter
from streams.log import Entry
from streams.partition import TopicPartition

log = logging.getLogger("headgate.serving")

STAGE = "serve"

MOST_OTHERS = 100
"""Models of other workers that are named in the log, each once."""


class Repeated(NamedTuple):
    """A request that the join has published again: it is answered where it first was."""


class Others(NamedTuple):
    """A request for a model that is not served here: it is left to whoever does."""

    model: str


class Reader:
    """Reads messages of `inference.requests` for a worker that `serves` some models."""

    def __init__(self, clock: Clock, serves: Callable[[str], bool]) -> None:
        self._codec: Codec[Request] = Codec(Request)
        self._serves = serves
        self._others: set[str] = set()
        self._clock = clock

    def read(self, message: Message) -> Job | DeadLetter | Repeated | Others:
        """What a message is. A request for a model that is not served here is left to those who do."""
        if any(header[0] == ORIGIN for header in message.headers() or ()):
            return Repeated()
        kind, timestamp = message.timestamp()
        if kind == TIMESTAMP_NOT_AVAILABLE:
            timestamp = int(self._clock())
        try:
            request = self._codec.decode(message.value())
        except (ValueError, RecursionError) as error:
            return self._dead(message, str(error))
        reason = problem(request, timestamp)
        if reason is not None:
            return self._dead(message, reason)
        if self._serves(request.model):
            return Job(request, timestamp, Place(*coordinates(message)))
        if request.model not in self._others and len(self._others) < MOST_OTHERS:
            self._others.add(request.model)
            log.info("requests for model %r are left to other workers: it is not served here", request.model)
        return Others(request.model)

    def _dead(self, message: Message, reason: str) -> DeadLetter:
        partition, offset = coordinates(message)
        place = TopicPartition(topics.REQUESTS.name, partition)
        entry = Entry(partition, offset, message.timestamp()[1], message.key(), message.value(), ())
        return dead_letter(STAGE, place, entry, reason, int(self._clock()))
