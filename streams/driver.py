"""Drives one stage: what it owns, how far it has read, when it is called, what may be committed. Knows
neither Faust nor a broker.

`transport.py` brings batches and partitions and asks what to seek to and what to commit; all of it in one
event loop.
"""

import asyncio
import logging
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from streams.stage import Assigned, Committed, Reading, Record, Stage, TopicPartition

log = logging.getLogger(__name__)

GRACE = 5.0
"""Seconds that a rebalance waits for the call of the stage that is under way."""


class Batch(NamedTuple):
    """What one fetch brought of one partition: everything in the log from offset `start` up to, not
    including, `end`.

    Between them may be gaps (compaction, transaction markers, aborted records). `stamp` names the seek it was
    read after.
    """

    partition: TopicPartition
    records: Sequence[Record]
    start: int
    end: int
    stamp: int


class Survey(NamedTuple):
    """What the consumer says of a partition: the log's `end`; `delivered`, below which all was handed over as
    batches; and `consumed`, its own position, which is further where only transaction markers or compacted
    offsets followed."""

    end: int
    delivered: int
    consumed: int


class LostRecordsError(Exception):
    """A batch does not follow on the one before it. Never to be seen; the process stops rather than skip
    records."""


@dataclass
class Owned:
    """A partition of ours: all below `position` has been processed; `committed` is what the broker last
    took."""

    position: int
    end: int
    asked: int
    committed: Committed | None


class Driver:
    """Feeds a stage, one call at a time, and keeps the book of positions and commits."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.failure: BaseException | None = None
        self.busy_since: float | None = None
        """When (monotonic seconds) the call of the stage began that is under way."""
        self.moves = 0
        """Counts every advance of a position."""
        self.commits = 0
        """Counts every commit that the broker took."""
        self._owned: dict[TopicPartition, Owned] = {}
        self._generation = 0
        self._stamp = 0
        self._lock = asyncio.Lock()

    @property
    def lag(self) -> int:
        """How many offsets are still to be read, as of the last survey."""
        return sum(max(0, owned.end - owned.position) for owned in self._owned.values())

    def positions(self) -> dict[TopicPartition, int]:
        """The owned partitions, and where each is to be read on."""
        return {partition: owned.position for partition, owned in self._owned.items()}

    # Rebalances

    def discard_in_flight(self) -> int:
        """From now on batches of earlier seeks are dropped. Answers the stamp of the next seek."""
        self._stamp += 1
        return self._stamp

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """Within, no call of the stage is under way, unless one takes longer than `GRACE` seconds."""
        try:
            async with asyncio.timeout(GRACE):
                await self._lock.acquire()
        except TimeoutError:
            log.warning(
                "the stage is busy for more than %.0f s; the group does not wait for it any longer", GRACE
            )
            yield
            return
        try:
            yield
        finally:
            self._lock.release()

    def staying(self, partitions: Collection[TopicPartition], generation: int) -> set[TopicPartition]:
        """Which of the assigned partitions keep their state: those that were ours in the group's generation
        just before.

        After a gap between generations somebody else may have had them, and written under a later epoch than
        ours.
        """
        return self._owned.keys() & set(partitions) if generation == self._generation + 1 else set()

    def assign(
        self,
        staying: Collection[TopicPartition],
        fresh: Mapping[TopicPartition, Assigned],
        generation: int,
        asked: int,
    ) -> None:
        """The group has settled: those `staying`, and `fresh` ones, which stood so at wall time `asked` (ms),
        are ours, and no others."""
        lost = self._owned.keys() - set(staying)
        for partition in lost:
            del self._owned[partition]
        self._generation = generation
        if lost:
            self.stage.revoked(lost)
        for partition, standing in fresh.items():
            self._owned[partition] = Owned(first_offset(standing), standing.end, asked, standing.committed)
        if fresh:
            self.stage.assigned(fresh)

    # Calls of the stage

    async def process(self, batch: Batch) -> None:
        """Hands over what the stage has not seen of a batch. Raises what the stage raises, and
        `LostRecordsError`."""
        async with self._lock:
            owned = self._owned.get(batch.partition)
            if owned is None or batch.stamp != self._stamp or self.failure is not None:
                return
            if batch.start > owned.position:
                raise LostRecordsError(
                    f"{batch.partition}: a batch starts at offset {batch.start}, expected {owned.position}"
                )
            seen = bisect_left(batch.records, owned.position, key=attrgetter("offset"))
            records = batch.records[seen:] if seen else batch.records
            if records:
                with self._call():
                    await self.stage.process(batch.partition, records)
            if self._owned.get(batch.partition) is owned and batch.end > owned.position:
                owned.position = batch.end
                self.moves += 1

    async def tick(self) -> None:
        """Lets the stage work, if it owns anything. Raises what the stage raises."""
        async with self._lock:
            if not self._owned or self.failure is not None:
                return
            readings = {
                partition: Reading(owned.position, owned.end, owned.asked, owned.committed)
                for partition, owned in self._owned.items()
            }
            with self._call():
                await self.stage.tick(readings, time.time_ns() // 1_000_000)

    async def close(self) -> None:
        """The last call of the stage, where it has not failed; batches that still come are dropped."""
        self.discard_in_flight()
        async with self._lock:
            if self.failure is None:
                with self._call():
                    await self.stage.close()

    @contextmanager
    def _call(self) -> Iterator[None]:
        self.busy_since = time.monotonic()
        try:
            yield
        finally:
            self.busy_since = None

    # What the broker says, and what it is told

    def surveyed(self, surveys: Mapping[TopicPartition, Survey], stamp: int, asked: int) -> None:
        """Takes in the state of the log, as of wall time `asked` (ms), if there was no other seek since
        `stamp`."""
        if stamp != self._stamp:
            return
        for partition, survey in surveys.items():
            owned = self._owned.get(partition)
            if owned is None:
                continue
            owned.end, owned.asked = survey.end, asked
            if owned.position >= survey.delivered and survey.consumed > owned.position:
                owned.position = survey.consumed
                self.moves += 1

    def due(self) -> dict[TopicPartition, Committed]:
        """What is to be committed: where the stage's answer differs from what the broker has. Nothing after a
        failure."""
        due: dict[TopicPartition, Committed] = {}
        if self.failure is not None:
            return due
        for partition, owned in self._owned.items():
            safe = self.stage.safe(partition)
            if safe is None or safe == owned.committed:
                continue
            if safe.offset > owned.position:
                raise ValueError(
                    f"{self.stage.name} calls offset {safe.offset} of {partition} safe, "
                    f"but has read up to {owned.position}"
                )
            due[partition] = safe
        return due

    def committed(self, commits: Mapping[TopicPartition, Committed]) -> None:
        """The broker has taken `commits`."""
        self.commits += 1
        for partition, commit in commits.items():
            if partition in self._owned:
                self._owned[partition].committed = commit


def first_offset(standing: Assigned) -> int:
    """Where reading starts: at the committed offset, or at the log's start where nothing is committed or
    retention overtook it."""
    return standing.start if standing.committed is None else max(standing.committed.offset, standing.start)
