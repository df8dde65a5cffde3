"""Drives one stage: what it owns, how far it has read, when it is called, what may be committed. Knows
neither Faust nor a broker.

`transport/` brings batches and partitions and asks what to seek to and what to commit; all of it in one
event loop.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.columns import Records
from streams.stage import Assigned, Committed, Reading, Stage, TopicPartition

log = logging.getLogger(__name__)

GRACE = 5.0
"""Seconds that a rebalance waits for the call of the stage that is under way."""
CALL = 0.1
"""Seconds that a call of the stage should take: ticks, rebalances and other partitions wait for it."""
FEWEST, FIRST, MOST = 1_000, 10_000, 50_000
"""Records that a call is given at most: bounds, whatever time it takes, and where that is not known yet."""


class Batch(NamedTuple):
    """What one fetch brought of one partition: everything in the log from offset `start` up to, not
    including, `end`.

    Between them may be gaps (compaction, transaction markers, aborted records). `stamp` names the seek it was
    read after.
    """

    partition: TopicPartition
    records: Records
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
    took. When it became ours, it was to be read from `first`, and its log ended at `until`. `waiting` are
    batches that the stage has not taken whole, in the log's order."""

    position: int
    end: int
    asked: int
    committed: Committed | None
    first: int
    until: int
    waiting: deque[Batch] = field(default_factory=deque)

    @property
    def lag(self) -> int:
        """How many offsets are still to be read."""
        return max(0, self.end - self.position)


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
        self.records: Counter[str] = Counter()
        """Counts the records that were processed, by topic."""
        self.held: frozenset[TopicPartition] = frozenset()
        """Partitions that the stage wants nothing of for now; what has been fetched of them waits here."""
        self._owned: dict[TopicPartition, Owned] = {}
        self._generation = 0
        self._stamp = 0
        self._portion = FIRST
        self._current: TopicPartition | None = None
        self._closed = False
        self._lock = asyncio.Lock()

    @property
    def _ended(self) -> bool:
        """Whether the stage has had its last call. The group may deal out partitions again meanwhile."""
        return self._closed or self.failure is not None

    @property
    def lag(self) -> int:
        """How many offsets are still to be read, as of the last survey."""
        return sum(owned.lag for owned in self._owned.values())

    @property
    def held_back(self) -> int:
        """How many of those the stage wants to wait."""
        return sum(self._owned[partition].lag for partition in self.held)

    def positions(self) -> dict[TopicPartition, int]:
        """The owned partitions, and where each is to be read on."""
        return {partition: owned.position for partition, owned in self._owned.items()}

    @property
    def settled(self) -> bool:
        """Whether the group has dealt out its partitions, be it none to us."""
        return self._generation > 0

    def owned(self) -> Mapping[TopicPartition, Owned]:
        """The owned partitions as they stand, to be looked at only."""
        return self._owned

    # Rebalances

    def discard_in_flight(self) -> int:
        """From now on batches of earlier seeks are dropped. Answers the stamp of the next seek."""
        self._stamp += 1
        for owned in self._owned.values():
            owned.waiting.clear()
        return self._stamp

    def is_current(self, batch: Batch) -> bool:
        """Whether no seek has come since it was read."""
        return batch.stamp == self._stamp

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
        are ours, and no others. Once the stage is closed, fresh ones are the next owner's."""
        lost = self._owned.keys() - set(staying)
        for partition in lost:
            del self._owned[partition]
        self.held -= lost
        self._generation = generation
        if lost:
            self.stage.revoked(lost)
        if fresh and not self._closed:
            for partition, standing in fresh.items():
                first, end = first_offset(standing), standing.end
                self._owned[partition] = Owned(first, end, asked, standing.committed, first, end)
            self.stage.assigned(fresh)
        self._ask_what_is_held()

    # Calls of the stage

    async def process(self, batch: Batch) -> None:
        """Hands over what the stage has not seen of a batch, unless it holds the partition back: then the
        batch waits. Raises what the stage raises, and `LostRecordsError`."""
        owned = self._owned.get(batch.partition)
        if owned is None or not self.is_current(batch):
            return
        owned.waiting.append(batch)
        self._current = batch.partition
        while await self._feed(batch.partition):
            pass
        self._current = None

    async def _feed(self, partition: TopicPartition) -> bool:
        """One call of the stage with what waits of a partition. Answers whether more does."""
        async with self._lock:
            owned = self._owned.get(partition)
            if owned is None or not owned.waiting or partition in self.held or self._ended:
                return False
            batch = owned.waiting[0]
            if batch.start > owned.position:
                raise LostRecordsError(
                    f"{partition}: a batch starts at offset {batch.start}, expected {owned.position}"
                )
            rest = batch.records.since(owned.position)
            records = rest[: self._portion]
            if records:
                began = time.monotonic()
                with self._call():
                    await self.stage.process(partition, records)
                self._pace(len(records), time.monotonic() - began)
                self.records[partition.topic] += len(records)
            whole = len(records) == len(rest)
            position = batch.end if whole else int(records.offsets[-1]) + 1
            # Meanwhile the partition may have gone, and come back as another one; or been sought anew.
            if self._owned.get(partition) is owned and position > owned.position:
                owned.position = position
                self.moves += 1
            if whole and owned.waiting and owned.waiting[0] is batch:
                owned.waiting.popleft()
            self._ask_what_is_held()
            return bool(owned.waiting)

    def _pace(self, records: int, took: float) -> None:
        """Gives the next call as many records as, by this one, it can take in its time."""
        self._portion = min(max(int(records * CALL / max(took, 1e-6)), FEWEST), MOST)

    async def tick(self) -> None:
        """Lets the stage work, if it owns anything; then feeds it what waits for partitions that it has let
        go. Raises what the stage raises."""
        async with self._lock:
            if not self._owned or self._ended:
                return
            readings = {
                partition: Reading(owned.position, owned.end, owned.asked, owned.committed)
                for partition, owned in self._owned.items()
            }
            with self._call():
                await self.stage.tick(readings, time.time_ns() // 1_000_000)
            self._ask_what_is_held()
        for partition, owned in list(self._owned.items()):
            if owned.waiting and partition not in self.held and partition != self._current:
                await self._feed(partition)

    async def close(self) -> None:
        """The last call of the stage, where it has not failed; batches that still come are dropped."""
        self.discard_in_flight()
        async with self._lock:
            if self.failure is None:
                with self._call():
                    await self.stage.close()
            self._closed = True

    def _ask_what_is_held(self) -> None:
        self.held = frozenset(self.stage.held()) & self._owned.keys()

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
