"""A small real stage for the transport's tests: sums records by ranges of offsets, and keeps a journal of
what it is told.

Like the join it emits full snapshots and calls an offset safe when everything below is in emitted, final
ranges. Run as a process: settings come as JSON on standard input, the journal is the file named first,
further arguments are `name=value` (see `Options`).
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from schemas import topics
from schemas.settings import Settings
from schemas.topics import Topic
from streams import app
from streams.columns import Records
from streams.log import Output
from streams.stage import Assigned, Committed, Reading, TopicPartition
from streams.worker import log_to_stderr


class Options(msgspec.Struct):
    """How the stage is to behave. `bomb`: raises at a record with this value; `fuse`: as soon as one with
    this value has come. `slow`: seconds that every batch takes. `reads`: names of the topics that it reads.
    `holds`: a topic that it holds back after `after` of its records, until it has read `until` of others."""

    bomb: str = ""
    fuse: str = ""
    slow: float = 0.0
    reads: str = "inference.requests,inference.predictions"
    range: int = 1000
    holds: str = ""
    after: int = 0
    until: int = 0


class Sum(msgspec.Struct):
    """A final range of offsets: how many records, and the sum of their values."""

    topic: str
    partition: int
    number: int
    count: int
    total: int


class Entry(msgspec.Struct, omit_defaults=True):
    """A line of the journal."""

    what: str
    topic: str = ""
    partition: int = -1
    offset: int = -1
    metadata: str = ""
    start: int = -1
    end: int = -1
    first: int = -1
    last: int = -1
    count: int = 0
    value: str = ""


class Prepared(Records):
    """Records that the stage has seen as soon as they came."""

    __slots__ = ()

    def __init__(self, records: Records) -> None:
        super().__init__(
            records.data, records.offsets, records.timestamps, records.keys, records.values, records.headers
        )

    def part(self, which: slice) -> "Prepared":
        return Prepared(super().part(which))


class CountingStage:
    """See the module."""

    name = "counting"

    def __init__(self, settings: Settings, journal: Path, options: Options) -> None:
        self.topics: Sequence[Topic] = [t for t in topics.ALL if t.name in options.reads.split(",")]
        self._options = options
        self._journal = journal.open("ab", buffering=0)
        self._output = Output(settings)
        self._safe: dict[TopicPartition, int] = {}
        self._sums: dict[TopicPartition, dict[int, Sum]] = {}
        self._noted_end: dict[TopicPartition, int] = {}
        self._noted_held: dict[TopicPartition, Reading] = {}
        self._read: Counter[str] = Counter()

    def _note(self, what: str, partition: TopicPartition | None = None, **fields: int | str) -> None:
        where = {} if partition is None else {"topic": partition.topic, "partition": partition.partition}
        entry = msgspec.convert({"what": what, **where, **fields}, Entry)
        self._journal.write(msgspec.json.encode(entry) + b"\n")

    def assigned(self, partitions: Mapping[TopicPartition, Assigned]) -> None:
        for partition, (committed, start, end) in partitions.items():
            offset, metadata = committed or (-1, "")
            self._note("assigned", partition, offset=offset, metadata=metadata, start=start, end=end)
            self._safe[partition] = max(offset, start)
            self._sums[partition] = {}

    def revoked(self, partitions: Collection[TopicPartition]) -> None:
        for partition in partitions:
            self._note("revoked", partition)
            del self._safe[partition], self._sums[partition]
            self._noted_end.pop(partition, None)

    def prepare(self, topic: str, records: Records) -> Records:
        if any((record.value or b"").decode() == self._options.fuse for record in records):
            raise ValueError("the fuse has come")
        self._note("prepare", topic=topic, first=records[0].offset, count=len(records))
        return Prepared(records)

    async def process(self, partition: TopicPartition, records: Records) -> None:
        if not isinstance(records, Prepared):
            raise TypeError(f"expected what `prepare` answered, found {type(records)}")
        self._note("process", partition, first=records[0].offset, last=records[-1].offset, count=len(records))
        self._read[partition.topic] += len(records)
        if self._options.slow:
            await asyncio.sleep(self._options.slow)
        sums = self._sums[partition]
        for record in records:
            value = (record.value or b"").decode()
            if value == self._options.bomb:
                raise ValueError(f"the bomb at offset {record.offset}")
            number = record.offset // self._options.range
            kept = sums.setdefault(number, Sum(*partition, number, 0, 0))
            kept.count += 1
            kept.total += int(value)

    async def tick(self, readings: Mapping[TopicPartition, Reading], now: int) -> None:
        final: dict[TopicPartition, int] = {}
        for partition, reading in readings.items():
            boundary = reading.position // self._options.range
            for number in [number for number in self._sums[partition] if number < boundary]:
                done = self._sums[partition].pop(number)
                self._output.send(topics.PANES, "counting", msgspec.json.encode(done))
            final[partition] = boundary * self._options.range
            if reading.position >= reading.end and self._noted_end.get(partition) != reading.end:
                self._noted_end[partition] = reading.end
                self._note("end", partition, offset=reading.position, end=reading.end)
        for partition in self.held():
            if readings[partition]._replace(asked=0) != self._noted_held.get(partition):
                reading = self._noted_held[partition] = readings[partition]._replace(asked=0)
                self._note("held", partition, offset=reading.position, end=reading.end)
        self._output.flush()
        for partition, offset in final.items():
            if offset > self._safe[partition]:
                self._safe[partition] = offset
                self._note("safe", partition, offset=offset)

    def held(self) -> Collection[TopicPartition]:
        topic = self._options.holds
        if (
            self._read[topic] < self._options.after
            or self._read.total() - self._read[topic] >= self._options.until
        ):
            return ()
        return [partition for partition in self._safe if partition.topic == topic]

    def safe(self, partition: TopicPartition) -> Committed:
        return Committed(self._safe[partition], f"safe={self._safe[partition]} ✓")

    def vitals(self) -> dict[str, float]:
        return {}

    async def close(self) -> None:
        self._note("close")


def main(arguments: Sequence[str]) -> int:
    log_to_stderr()
    settings = msgspec.json.decode(sys.stdin.buffer.read(), type=Settings)
    options = msgspec.convert(
        dict(argument.split("=", 1) for argument in arguments[1:]), Options, strict=False
    )
    return app.run(CountingStage(settings, Path(arguments[0]), options), settings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
