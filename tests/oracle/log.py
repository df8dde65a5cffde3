"""The records of the three event topics as the oracle reads them: judged one by one, each with its clock.

A record is judged by the log alone: its own topic partition up to it, and its Kafka timestamp.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from schemas.records import Codec, Feedback, Prediction, Request, problem
from schemas.topics import Topic

MINUTE = 60_000
ORIGIN = "headgate-origin"
BEFORE_ALL = -(1 << 62)
"""The clock of a topic partition before its first valid record."""


class Raw(NamedTuple):
    """A record as it lies in the log. `timestamp` is Kafka's, in ms."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


Logs = Mapping[Topic, Mapping[int, Sequence[Raw]]]
"""All records of the three event topics, by partition, in offset order."""

Kind = TypeVar("Kind", Request, Prediction, Feedback)


@dataclass(frozen=True)
class Event(Generic[Kind]):
    """A valid record in its right place. `ts` is its time (ms), the Kafka timestamp's where its own is more
    than 5 min later; `clock` is its topic partition's before it."""

    record: Kind
    ts: int
    offset: int
    timestamp: int
    clock: int

    def past(self, deadline: int) -> bool:
        """Whether it came too late for a pane with this deadline."""
        return self.clock > deadline or self.timestamp > deadline + MINUTE


@dataclass(frozen=True)
class Bad:
    """A record that does not count: `dead_letters` or `mispartitioned` (then its model and version, where it
    has them)."""

    count: str
    timestamp: int
    model: str = ""
    version: str = ""
    arm: str = ""


@dataclass
class Judged(Generic[Kind]):
    """One topic partition: what is good, and what was bad; `skewed` are the good ones that were replaced
    times."""

    good: list[Event[Kind]]
    bad: list[Bad]
    skewed: list[Event[Kind]]


def judge(kind: type[Kind], partition: int, partitions: int, raws: Sequence[Raw]) -> Judged[Kind]:
    """Sorts one topic partition's records into good and bad ones.

    Every valid record moves the clock, wherever it should have been. A record in the wrong place counts as
    `mispartitioned` there, and is everything else where it was re-published to.
    """
    judged: Judged[Kind] = Judged([], [], [])
    codec: Codec[Kind] = Codec(kind)
    clock = BEFORE_ALL
    origins: set[bytes] = set()
    for raw in raws:
        record = valid(codec, raw)
        if record is None:
            judged.bad.append(Bad("dead_letters", raw.timestamp))
            continue
        before, clock = clock, max(clock, min(record.ts, raw.timestamp))
        origin = dict(raw.headers).get(ORIGIN)
        misplaced = partition_of(record.request_id.encode(), partitions) != partition
        if misplaced or (origin is None and not raw.key):
            judged.bad.append(_mispartitioned(record, raw.timestamp))
            continue
        if origin is not None and origin in origins:
            continue
        origins.add(origin or b"")
        skewed = record.ts > raw.timestamp + 5 * MINUTE
        ts = raw.timestamp if skewed else record.ts
        event = Event(record, ts, raw.offset, raw.timestamp, before)
        judged.good.append(event)
        if skewed:
            judged.skewed.append(event)
    return judged


def valid(codec: Codec[Kind], raw: Raw) -> Kind | None:
    """The record, or None where it is a dead letter."""
    try:
        record = codec.decode(raw.value)
    except ValueError:
        return None
    return None if problem(record, raw.timestamp) else record


def _mispartitioned(record: Request | Prediction | Feedback, timestamp: int) -> Bad:
    match record:
        case Prediction(model=model, version=version, arm=arm):
            return Bad("mispartitioned", timestamp, model, version, arm)
        case Request(model=model):
            return Bad("mispartitioned", timestamp, model)
        case _:
            return Bad("mispartitioned", timestamp)


def partition_of(key: bytes, partitions: int) -> int:
    """Where Kafka's own partitioner puts a key: murmur2 with its sign bit off, modulo the partition count
    (`org.apache.kafka.common.utils.Utils.murmur2`)."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(key)) & mask
    whole = len(key) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = h * m & mask ^ k
    if len(key) > whole:
        h = (h ^ int.from_bytes(key[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    h ^= h >> 15
    return (h & 0x7FFFFFFF) % partitions
