"""The worker's side of its consumer group: which requests come in, and from where a successor would have to
read.

Delivery is at least once: an offset is committed only after the answers to everything below it are with the
broker. Between a crash and the last commit lies at most twice `serving.worker.SETTLE` of requests; they are
answered twice, and the join counts one.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import quote

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas import topics
from schemas.settings import Settings
from serving.outage import Outage
from streams.sight import ANEW, Sight

log = logging.getLogger("headgate.serving")

GROUP = "headgate-serving"

LEAVE = 3.0
"""Seconds that a word of farewell to the group may take: no broker may be there to hear it."""


def group_of(settings: Settings, only: Sequence[str]) -> str:
    """The consumer group: one for all workers of a whole repository, one for each choice of models. Their
    names are quoted as in URLs, so that no two choices read alike."""
    models = "+".join(quote(model, safe="") for model in sorted(set(only)))
    return settings.topics.prefix + GROUP + (f"-{models}" if models else "")


class Span(NamedTuple):
    """Requests of a partition that are taken but not committed: they begin at offset `first`, and those below
    `next` are answered."""

    first: int
    next: int


def coordinates(message: Message) -> tuple[int, int]:
    """Partition and offset of a message that was consumed."""
    partition, offset = message.partition(), message.offset()
    assert partition is not None and offset is not None
    return partition, offset


class Intake:
    """Consumes `inference.requests` in `group`, as `instance`, which is nobody else's.

    `settle` waits until all answers so far are with the broker, and says whether they are; it is asked before
    partitions go to another worker. `ready` is called with each new assignment's partitions.

    Commits have two steps, so that nobody waits for the broker between them: what is answered is marked, and
    what was marked is committed once the answers to it have arrived.
    """

    def __init__(
        self,
        settings: Settings,
        group: str,
        instance: str,
        outage: Outage,
        settle: Callable[[], bool],
        ready: Callable[[list[int]], None],
    ) -> None:
        self._topic = topics.REQUESTS.full_name(settings.topics)
        self._outage = outage
        self._settle = settle
        self._ready = ready
        self._owned: set[int] = set()
        self._is_dealt = False
        self._open: dict[int, Span] = {}
        """Of each partition that is owned and of which something has been taken since."""
        self._marked: dict[int, int] = {}
        """By partition, up to which offset (exclusive) the next commit goes."""
        self._config = settings.kafka.librdkafka() | {
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            # A new group begins with the first request there is: whatever came before its first worker is
            # answered too.
            "auto.offset.reset": "earliest",
            # Partitions that stay with a worker are served on while others move.
            "partition.assignment.strategy": "cooperative-sticky",
            # Whoever comes back as the same instance has its partitions again at once, the others keep
            # theirs, and nobody waits for the session of a worker that crashed to end.
            "group.instance.id": instance,
            # One that does not come back is out of the group after this, and others have its partitions.
            "session.timeout.ms": 6_000,
            # A worker that joins or leaves is noticed by the others at their next heartbeat.
            "heartbeat.interval.ms": 500,
            # Kafka is the queue: what is fetched ahead is little, and asked for again soon.
            "queued.min.messages": 2_000,
            "queued.max.messages.kbytes": 32_768,
            "fetch.queue.backoff.ms": 10,
            "error_cb": outage.notice,
        }
        self._consumer = self._member()

    @property
    def partitions(self) -> list[int] | None:
        """Those that the group has given to this worker; None: it has not dealt them out yet."""
        return sorted(self._owned) if self._is_dealt else None

    def consume(self, most: int, timeout: float) -> list[Message]:
        """Up to `most` requests, waiting `timeout` seconds until there are as many. Rebalances happen in
        here."""
        found = []
        for message in self._consumer.consume(most, timeout):
            error = message.error()
            if error is None:
                partition, offset = coordinates(message)
                if partition in self._owned and partition not in self._open:
                    self._open[partition] = Span(offset, offset)
                found.append(message)
            elif error.code() == KafkaError._FATAL:
                self._come_back(f"put out of the consumer group ({error.str()}); joining it again")
            else:
                log.warning("%s: %s", self._topic, error.str())
        if self._sight.lost:
            self._come_back(ANEW)
        return found

    def answered(self, messages: Sequence[Message]) -> None:
        """All of a consumed batch is answered. A partition that went to another worker meanwhile is that
        one's to commit."""
        for message in messages:
            partition, offset = coordinates(message)
            span = self._open.get(partition)
            if span is not None and offset >= span.next:
                self._open[partition] = Span(span.first, offset + 1)

    def mark(self) -> None:
        """Marks all that is answered, for the next commit."""
        self._marked = {place: span.next for place, span in self._open.items() if span.next > span.first}

    def commit(self) -> None:
        """Commits what was marked last; the caller knows that the broker has the answers to it."""
        offsets = [TopicPartition(self._topic, partition, upto) for partition, upto in self._marked.items()]
        for partition, upto in self._marked.items():
            self._open[partition] = Span(upto, self._open[partition].next)
        self._marked = {}
        if offsets:
            self._consumer.commit(offsets=offsets, asynchronous=True)

    def rewind(self) -> bool:
        """Takes once more what is taken but not committed: the answers did not arrive. Only between
        batches. False: not now, for want of a broker; to be asked again before anything is committed.
        """
        self._marked = {}
        try:
            for partition, span in list(self._open.items()):
                self._consumer.seek(TopicPartition(self._topic, partition, span.first))
                del self._open[partition]
        except KafkaException:
            return False
        return True

    def close(self) -> None:
        """Commits what is settled, and leaves the group at once: its partitions go to the others without a
        time-out.

        An instance that only closes stays a member, for it may come back. One that unsubscribes first leaves;
        the client has sent that word when it has no member id any more.
        """
        self._hand_over(set(self._open))
        with contextlib.suppress(KafkaException):  # the group has put it out already
            self._consumer.unsubscribe()
            deadline = time.monotonic() + LEAVE
            while self._consumer.memberid() and time.monotonic() < deadline:
                self._consumer.consume(1, 0.02)  # what it still hands over is not answered, so not committed
        self._consumer.close()

    def _member(self) -> Consumer:
        """A consumer that joins the group."""
        self._sight = Sight()
        consumer = Consumer(self._config | self._sight.config)
        consumer.subscribe([self._topic], self._assigned, self._revoked, self._lost)
        return consumer

    def _come_back(self, why: str) -> None:
        """Our consumer consumes nothing ever again: joins the group as a new one, which has the same
        partitions and begins at the last commit.

        The group puts one out after an outage longer than the session, though nobody else came as our
        instance: the client takes itself for out, and sends what it still had to commit without its member
        id. And one may have lost sight of Kafka (`streams/sight.py`).
        """
        log.warning("%s", why)
        self._forget(set(self._owned))
        self._is_dealt = False
        self._consumer.close()
        self._consumer = self._member()

    def _assigned(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        new = {partition.partition for partition in partitions}
        self._owned |= new
        self._is_dealt = True
        self._ready(sorted(new))

    def _revoked(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        gone = {partition.partition for partition in partitions}
        self._hand_over(gone)
        self._owned -= gone

    def _lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Somebody else has them already, and begins at the last commit."""
        self._forget({partition.partition for partition in partitions})

    def _forget(self, partitions: set[int]) -> None:
        self._owned -= partitions
        self._take_open(partitions)

    def _hand_over(self, partitions: set[int]) -> None:
        """Flush, then commit, then let go: in any other order a successor would miss or repeat answers."""
        settled = not self._outage and self._settle()
        offsets = self._take_open(partitions)
        if not (settled and offsets):
            return
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            log.warning(
                "offsets not committed, some requests will be answered twice: %s", error.args[0].str()
            )

    def _take_open(self, partitions: set[int]) -> list[TopicPartition]:
        taken = {place: self._open.pop(place) for place in partitions & self._open.keys()}
        self._marked = {place: upto for place, upto in self._marked.items() if place in self._open}
        upto = {place: span.next for place, span in taken.items() if span.next > span.first}
        return [TopicPartition(self._topic, place, offset) for place, offset in upto.items()]
