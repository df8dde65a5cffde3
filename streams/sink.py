"""The sink stage: panes, alerts, releases and the rest of what is worth keeping, from Kafka into ClickHouse.

The idempotency zone ends where ClickHouse has answered. Before that, rows may be dropped, written twice or
written too late, for every row says itself which one holds; after that, their offsets are safe and they are
not read again. Insert first, commit after.

One block of rows is being written while the next is gathered. While ClickHouse is away that is all that the
stage takes: `process` then waits.
"""

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from schemas import topics
from schemas.clickhouse import BY_RECORD
from schemas.records import (
    ENCODER,
    TYPES,
    Ack,
    Codec,
    CommandRecord,
    Evidence,
    Pane,
    PolicyRecord,
    Profile,
    Release,
    Sample,
    Silence,
    problem,
)
from schemas.settings import Settings
from schemas.table import Stored, Table
from streams import registry
from streams.letters import dead_letter
from streams.log import Output
from streams.metrics.samples import event_time
from streams.stage import Assigned, Committed, Reading, Record, TopicPartition
from streams.storage.writer import AwayError, Writer

log = logging.getLogger(__name__)

INTERVAL = 500
"""Milliseconds from one insert to the next, at least: ClickHouse wants few large ones."""
FULL = 8 << 20
"""Bytes of record values in a block after which nothing more is gathered."""
SHORTEST, LONGEST = 0.25, 5.0
"""Seconds between two attempts to reach ClickHouse, at first and at most."""
ROLL = 5.0
"""Seconds from one time that panes are added up to minutes and hours to the next."""
ROLLING = 1.0
"""Seconds that it may take at a time, about."""
FAREWELL = 8.0
"""Seconds that what is gathered has to be written when the process ends; the successor reads the rest
again."""


@dataclass(eq=False)
class Owned:
    """A partition while it is ours; another one, should it come back. All below `safe` is in ClickHouse."""

    safe: int | None = None
    revoked: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False)
class Block:
    """Rows that are written together, and the offsets that are safe once they and all blocks before are
    written."""

    rows: dict[Table, list[Stored]] = field(default_factory=lambda: defaultdict(list))
    offsets: dict[Owned, int] = field(default_factory=dict)
    size: int = 0


class SinkStage:
    """Writes what comes in its topics into the tables of `schemas/clickhouse.py`. A record that cannot be
    read becomes a dead letter."""

    name = "sink"
    topics = registry.reads(name)

    def __init__(self, settings: Settings) -> None:
        self._output = Output(settings)
        self._writer = Writer(settings.clickhouse, settings.storage)
        self._codecs: dict[str, Codec[msgspec.Struct]] = {
            topic.name: Codec(TYPES[topic]) for topic in self.topics
        }
        self._owned: dict[TopicPartition, Owned] = {}
        self._gathered = Block()
        self._writing = Block()
        self._task: asyncio.Task[None] | None = None
        self._last = 0
        self._rows = self._letters = self._unread = 0
        self._away_since: float | None = None
        self._rolled = -math.inf
        self._rolls = True

    def assigned(self, partitions: Mapping[TopicPartition, Assigned]) -> None:
        """Nothing is known of the new partitions but that all below the committed offset is in ClickHouse."""
        self._owned |= {partition: Owned() for partition in partitions}
        self._writer.forget(_of_panes(partitions))

    def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Rows that are gathered already are written all the same: the successor's are equal or newer."""
        for partition in partitions:
            self._owned.pop(partition).revoked.set()

    async def process(self, partition: TopicPartition, records: Sequence[Record]) -> None:
        """Gathers rows; waits while two blocks are full, but not longer than the partition is ours."""
        owned = self._owned[partition]
        for record in records:
            while self._gathered.size >= FULL:
                await self._make_room(owned)
                if owned.revoked.is_set():
                    return
            self._gather(partition, record)
        # Only now: `safe` must not pass what has been processed, and this block has the last of the rows.
        self._gathered.offsets[owned] = records[-1].offset + 1

    def held(self) -> Collection[TopicPartition]:
        """Nothing is ever held back."""
        return ()

    async def tick(self, readings: Mapping[TopicPartition, Reading], now: int) -> None:
        """Has what is gathered written, at intervals. The first call connects, and brings the database up to
        date."""
        waited = abs(now - self._last) >= INTERVAL
        if self._task is None or (self._task.done() and self._gathered.offsets and waited):
            self._last = now
            self._write_gathered()
        self._raise_failure()
        for partition, reading in readings.items():
            owned = self._owned[partition]
            if owned not in self._gathered.offsets and owned not in self._writing.offsets:
                owned.safe = reading.position  # also past transaction markers and what compaction removed

    def safe(self, partition: TopicPartition) -> Committed | None:
        """The offset after the last record that is in ClickHouse, or in `dead.letters`."""
        owned = self._owned.get(partition)
        return None if owned is None or owned.safe is None else Committed(owned.safe, "")

    def vitals(self) -> dict[str, float]:
        """See `streams.health.VITALS`."""
        away = 0.0 if self._away_since is None else time.monotonic() - self._away_since
        waiting = sum(len(rows) for block in (self._gathered, self._writing) for rows in block.rows.values())
        return {
            "clickhouse_away_seconds": away,
            "dead_letters_total": self._letters + self._unread,
            "gathered_rows": waiting,
            "rows_total": self._rows,
        }

    async def close(self) -> None:
        """Writes what is gathered, if ClickHouse takes it in `FAREWELL` seconds."""
        try:
            async with asyncio.timeout(FAREWELL):
                while self._gathered.offsets or not (self._task is None or self._task.done()):
                    await self._write_gathered()
        except TimeoutError:
            log.warning("ClickHouse has not taken the last rows; they will be read again")
        else:
            self._raise_failure()
            self._writer.close()

    def _gather(self, partition: TopicPartition, record: Record) -> None:
        """Adds a record's row to the block, or sends a dead letter."""
        if record.value is None and partition.topic == topics.SILENCES.name:
            return  # a tombstone: followers may forget the silence; its history stays
        try:
            decoded = self._codecs[partition.topic].decode(record.value)
            _require_sane_time(decoded, record.timestamp)
        except (ValueError, RecursionError) as error:
            self._refuse(partition, record, str(error))
        else:
            if isinstance(decoded, Pane):  # the users' buckets are much of a pane, and only the judge's
                decoded.buckets, decoded.bucket_sums = [], {}
            if isinstance(decoded, Sample):
                decoded.ts = event_time(decoded, record.timestamp)
            if not isinstance(decoded, Evidence) or _tells(decoded):
                row = Stored(decoded, partition.partition, record.offset)
                self._gathered.rows[BY_RECORD[type(decoded)]].append(row)
        self._gathered.size += len(record.value or b"")

    def _refuse(self, partition: TopicPartition, record: Record, reason: str) -> None:
        """A dead letter about a dead letter would be the next one to be refused: those are only logged."""
        if partition.topic == topics.DEAD_LETTERS.name:
            self._unread += 1
            log.warning(
                "%s, offset %d: %s; unreadable so far: %d", partition, record.offset, reason, self._unread
            )
            return
        self._letters += 1
        letter = dead_letter(self.name, partition, record, reason, time.time_ns() // 1_000_000)
        self._output.send(topics.DEAD_LETTERS, letter.key, ENCODER.encode(letter))

    async def _make_room(self, owned: Owned) -> None:
        """Has the full block written; or waits for the one before, as long as the partition is ours."""
        task = self._write_gathered()
        if self._gathered.size >= FULL:
            revoked = asyncio.ensure_future(owned.revoked.wait())
            await asyncio.wait({task, revoked}, return_when=asyncio.FIRST_COMPLETED)
            revoked.cancel()

    def _write_gathered(self) -> asyncio.Task[None]:
        """Begins to write the block, unless another is being written; answers the one that is. Raises what
        kept the one before from being written."""
        if self._task is None or self._task.done():
            self._raise_failure()
            self._writing, self._gathered = self._gathered, Block()
            self._task = asyncio.create_task(self._write(self._writing))
        return self._task

    def _raise_failure(self) -> None:
        if self._task is not None and self._task.done():
            self._task.result()

    async def _write(self, block: Block) -> None:
        """Inserts, then makes sure of the dead letters, and only then calls the offsets safe."""
        await self._insert(block.rows)
        await asyncio.to_thread(self._output.flush)
        for owned, offset in block.offsets.items():
            owned.safe = offset
        block.offsets.clear()
        self._rows += sum(map(len, block.rows.values()))
        block.rows.clear()
        await self._roll()

    async def _roll(self) -> None:
        """Has panes added up to minutes and hours, at intervals, the next time at once where it takes longer.
        It may fail: views then add up more themselves. Says so once.
        """
        partitions = _of_panes(self._owned)
        if not partitions or time.monotonic() - self._rolled < ROLL:
            return
        try:
            finished = await asyncio.to_thread(self._writer.roll, partitions, ROLLING)
        except AwayError as error:
            if self._rolls:
                log.warning("ClickHouse does not add up panes; views of minutes get slower: %s", error)
            self._rolls = False
            self._rolled = time.monotonic()
        else:
            self._rolls = True
            self._rolled = time.monotonic() if finished else -math.inf

    async def _insert(self, rows: Mapping[Table, Sequence[Stored]]) -> None:
        """Tries until ClickHouse has taken the rows. Says once that it does not, and once that it does
        again."""
        pause = SHORTEST
        while True:
            try:
                await asyncio.to_thread(self._writer.write, rows)
            except AwayError as error:
                if self._away_since is None:
                    self._away_since = time.monotonic()
                    log.warning("ClickHouse takes no rows; trying again until it does: %s", error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST)
            else:
                if self._away_since is not None:
                    log.info("ClickHouse takes rows again, after %.1f s", time.monotonic() - self._away_since)
                self._away_since = None
                return


def _of_panes(partitions: Iterable[TopicPartition]) -> list[int]:
    """The numbers of those that are of `metrics.panes`."""
    return [each.partition for each in partitions if each.topic == topics.PANES.name]


def _tells(evidence: Evidence) -> bool:
    """Whether a release runs, and is tested: the judge's checkpoints are written for other reasons, too."""
    return evidence.outlook is not None and bool(evidence.outlook.context.findings)


def _require_sane_time(record: msgspec.Struct, timestamp: int) -> None:
    """Raises ValueError where `ts` is more than a day after Kafka's timestamp, for what others than stages
    write."""
    if isinstance(record, Sample | CommandRecord | PolicyRecord | Profile | Release | Ack | Silence):
        found = problem(record, timestamp)
        if found is not None:
            raise ValueError(found)
