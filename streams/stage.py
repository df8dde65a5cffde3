"""The seam between a stage and Faust: what a stage is given, and what it must answer. Nothing here knows
Faust or a broker.

A stage is told which topic partitions it owns and where they stand, is fed their records in offset order,
batch by batch, and says at any time from which offset a successor would have to read. It is never asked to
acknowledge a record.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from schemas.topics import Topic
from streams.partition import TopicPartition
from streams.record import Record

if TYPE_CHECKING:  # for who names stages without running one: it imports numba
    from streams.columns import Records

__all__ = [
    "Assigned",
    "Committed",
    "Reading",
    "ReadsAhead",
    "Record",
    "Stage",
    "TopicPartition",
    "WaitsForWork",
]


class Committed(NamedTuple):
    """What is committed for a topic partition: the oldest offset still needed, and a note to the
    successor.
    """

    offset: int
    metadata: str


class Assigned(NamedTuple):
    """How a topic partition stands when it is assigned: what the predecessor committed (None: nothing yet),
    the log's first offset (later than `committed.offset` where retention overtook it), and its end.
    """

    committed: Committed | None
    start: int
    end: int


class Reading(NamedTuple):
    """How far a topic partition is read. The stage has processed all below `position`; the log ended at `end`
    when asked at wall time `asked` (ms): `position >= end` means read to its end, as of `asked`. `committed`
    is what the broker holds.
    """

    position: int
    end: int
    asked: int
    committed: Committed | None = None


class Stage(Protocol):
    """What join, judge and sink have in common.

    `process` and `tick` are never called at the same time as each other. `assigned` and `revoked` may come
    while one of them awaits something; `safe` may be called at any time and must be quick. An exception from
    any of them stops the process: nothing is committed past what `safe` answered, and the supervisor starts
    it again.
    """

    @property
    def name(self) -> str:
        """Names the process and, with the topic prefix, the consumer group."""
        ...

    @property
    def topics(self) -> Sequence[Topic]:
        """The topics it reads as a member of its group. Those with equally many partitions are assigned
        together, number by number.
        """
        ...

    def assigned(self, partitions: Mapping[TopicPartition, Assigned]) -> None:
        """Newly owned partitions (never those that stay). Records follow from the committed offset, or from
        the start.
        """
        ...

    def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """No longer owned: forget their state. `safe` has been asked and committed before, where the broker
        allowed it.
        """
        ...

    async def process(self, partition: TopicPartition, records: "Records") -> None:
        """The next records of a partition, in offset order, without gaps in time but perhaps in offsets; at
        least one.
        """
        ...

    def held(self) -> Collection[TopicPartition]:
        """Owned partitions that shall not be fed for now. Asked after every call; what follows of them is
        kept, or fetched again, and comes when they are no longer among these.
        """
        ...

    async def tick(self, readings: Mapping[TopicPartition, Reading], now: int) -> None:
        """Called several times a second, with the wall time in ms; output and timers belong here."""
        ...

    def safe(self, partition: TopicPartition) -> Committed | None:
        """What to commit for an owned partition: everything below is no longer needed, and its output is
        flushed. None: leave as it is.
        """
        ...

    def vitals(self) -> Mapping[str, float]:
        """How it stands, by the names of `streams.health.VITALS`; may be called at any time and must be
        quick."""
        ...

    async def close(self) -> None:
        """The process ends in good order: flush what is to be flushed. `safe` is asked and committed once
        more afterwards.
        """
        ...


@runtime_checkable
class ReadsAhead(Protocol):
    """What a stage may have besides: work on records that can be done as soon as they come."""

    def prepare(self, topic: str, records: "Records") -> "Records":
        """What `process` is to be given in place of these records: the same ones, and what can be said of
        them without knowing what was before them. It is cut as any `Records` are.

        Called in another thread, while the stage is at work on others, and perhaps for records that it is
        never given: it depends on nothing that changes, and changes nothing. An exception stops the process.
        """
        ...


@runtime_checkable
class WaitsForWork(Protocol):
    """What a stage may have besides: perhaps nothing to do yet, so that nothing needs to be read."""

    @property
    def waits_for(self) -> str:
        """What it waits for, in words for who asks for its health."""
        ...

    async def work(self) -> None:
        """Returns once there is something to do. Awaited once, when Kafka answers and has the topics, and
        before anything else: till then the process is no member of its group. It may be cancelled.
        """
        ...
