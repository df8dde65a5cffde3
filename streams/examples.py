"""The examples stage: raw requests, predictions and feedback, a sample of them, from Kafka into ClickHouse,
for who asks to be shown some.

Whether a record is in the sample is a function of its key and of the last policy of its model: no state, so a
restart makes no other choice, and rows are known by their place in the log, so it makes none twice. As long
as no policy asks for any, the process is in no group and reads nothing.

The idempotency zone ends where ClickHouse has answered: only then are offsets safe.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from schemas import topics
from schemas.clickhouse import BY_RECORD
from schemas.errors import HeadgateError
from schemas.policies import Policy
from schemas.records import Codec, Feedback, Prediction, Request, problem
from schemas.settings import Settings
from schemas.table import Stored, Table
from schemas.timeline import Timeline
from streams import registry
from streams.columns import Records
from streams.join.arrivals import origin_of
from streams.log import Entry, Follower, patiently
from streams.metrics.samples import SKEW
from streams.record import Record
from streams.sampling import fractions
from streams.skipping import skip
from streams.stage import Assigned, Committed, Reading, TopicPartition
from streams.storage.examples import Veil
from streams.storage.writer import AwayError, Writer

log = logging.getLogger(__name__)

Event = Request | Prediction | Feedback

CODECS: Mapping[str, Codec[Request] | Codec[Prediction] | Codec[Feedback]] = {
    topics.REQUESTS.name: Codec(Request),
    topics.PREDICTIONS.name: Codec(Prediction),
    topics.FEEDBACK.name: Codec(Feedback),
}

LOOK = 2.0
"""Seconds from one look for a policy that asks for examples to the next."""
INTERVAL = 1.0
"""Seconds from one insert to the next, at least: ClickHouse wants few large ones."""
LONGEST = 10.0
"""Seconds between two attempts to reach ClickHouse, at most."""
FULL = 8 << 20
"""Bytes of record values that are gathered; then the topics wait."""
FAREWELL = 8.0
"""Seconds that what is gathered has to be written when the process ends; the successor reads it again."""
LARGEST = 1 << 32
"""Numbers of partitions are below, in ClickHouse."""


class Wanted:
    """What policies ask for: the last one of each model."""

    def __init__(self) -> None:
        self._timeline = Timeline()
        self._since: dict[str, int] = {}

    def take(self, entry: Entry) -> None:
        """The next record of `control.policies`. One that is none changes nothing; the join says so."""
        try:
            policy = self._timeline.read(entry.value, entry.timestamp)
        except HeadgateError:
            return
        if policy.examples.share > 0:
            self._since.setdefault(policy.model, entry.timestamp)
        else:
            self._since.pop(policy.model, None)

    @property
    def share(self) -> float:
        """The largest that any of them asks for; 0 where none does."""
        return max((self.policy(model).examples.share for model in self._since), default=0.0)

    @property
    def since(self) -> int:
        """Kafka time (ms) since when one of them does. Raises ValueError where none does."""
        return min(self._since.values())

    def policy(self, model: str) -> Policy:
        """The model's last one, in force or not yet."""
        return self._timeline.latest(model)


@dataclass(eq=False)
class Owned:
    """A partition while it is ours; another one, should it come back. All below `safe` is done with."""

    safe: int | None = None


class ExamplesStage:
    """The stage named `examples`."""

    name = "examples"
    topics = registry.reads(name)
    waits_for = registry.NOBODY_ASKS

    def __init__(self, settings: Settings) -> None:
        """Raises `HeadgateError` where there is no key to hash user ids with."""
        registry.require_work([self.name], settings)
        self._settings = settings
        self._veil = Veil(settings.examples.secret)
        self._policies = Follower(settings, topics.POLICIES)
        self._wanted = Wanted()
        self._writer = Writer(settings.clickhouse, settings.storage)
        self._owned: dict[TopicPartition, Owned] = {}
        self._rows: dict[Table, list[Stored]] = defaultdict(list)
        self._size = self._written = 0
        self._away_since: float | None = None
        self._pause = INTERVAL
        self._tried = time.monotonic()

    async def work(self) -> None:
        """Returns once a policy asks for examples; reading then begins where it did."""
        while not self._wanted.share:
            for entry in await patiently(self._policies.refresh):
                self._wanted.take(entry)
            if not self._wanted.share:
                await asyncio.sleep(LOOK)
        group = registry.group(self.name, self._settings)
        await asyncio.to_thread(skip, self._settings, group, self.topics, self._wanted.since)

    def assigned(self, partitions: Mapping[TopicPartition, Assigned]) -> None:
        """Nothing is known of the new partitions but that all below the committed offset is done with."""
        self._owned |= {partition: Owned() for partition in partitions}

    def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Rows that are gathered already are written all the same: the successor's are equal."""
        for partition in partitions:
            self._owned.pop(partition)

    async def process(self, partition: TopicPartition, records: Records) -> None:
        """Gathers rows of those that are in the sample; the others are not decoded."""
        found = fractions(records.data, records.keys)
        for index in np.flatnonzero(found < self._wanted.share).tolist():
            self._gather(partition, records[index], float(found[index]))

    def held(self) -> Collection[TopicPartition]:
        """Everything, while there are more rows than ClickHouse has taken."""
        return tuple(self._owned) if self._size >= FULL else ()

    async def tick(self, readings: Mapping[TopicPartition, Reading], now: int) -> None:
        """Has what is gathered written, at intervals. Raises `HeadgateError` once no policy asks any more:
        the next process waits until one does."""
        for entry in self._policies.poll(0):
            self._wanted.take(entry)
        owned = dict(self._owned)
        if self._rows and not await self._write():
            return
        for partition, reading in readings.items():
            owned[partition].safe = reading.position
        if not self._wanted.share:
            raise HeadgateError("no policy asks for examples any more; starting again, to wait for one")

    def safe(self, partition: TopicPartition) -> Committed | None:
        """The offset after the last record that is in ClickHouse, or that is no example."""
        owned = self._owned.get(partition)
        return None if owned is None or owned.safe is None else Committed(owned.safe, "")

    def vitals(self) -> dict[str, float]:
        """See `streams.health.VITALS`."""
        return {
            "clickhouse_away_seconds": 0.0
            if self._away_since is None
            else time.monotonic() - self._away_since,
            "gathered_rows": sum(map(len, self._rows.values())),
            "rows_total": self._written,
        }

    async def close(self) -> None:
        """Writes what is gathered, if ClickHouse takes it in `FAREWELL` seconds; the rest is read again."""
        try:
            async with asyncio.timeout(FAREWELL):
                while self._rows and not await self._write():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            log.warning("ClickHouse has not taken the last examples; they will be read again")
        else:
            self._writer.close()
        await asyncio.to_thread(self._policies.close)

    def _gather(self, partition: TopicPartition, record: Record, fraction: float) -> None:
        """Adds a record's row. What cannot be read, or is not what its key says, the join counts."""
        try:
            decoded: Event = CODECS[partition.topic].decode(record.value)
            if decoded.request_id.encode() != record.key or problem(decoded, record.timestamp) is not None:
                return
            seen = self._seen(decoded, fraction)
        except (ValueError, RecursionError):
            return
        if seen is None:
            return
        seen.ts = record.timestamp if seen.ts > record.timestamp + SKEW else seen.ts
        self._rows[BY_RECORD[type(seen)]].append(Stored(seen, *_place(partition, record)))
        self._size += len(record.value or b"")

    def _seen(self, event: Event, fraction: float) -> Event | None:
        """The record as it may be seen; None where its model's policy does not ask for it. Feedback names no
        model: it is kept, and shown where there is something that it answers."""
        if isinstance(event, Feedback):
            return event
        policy = self._wanted.policy(event.model)
        if fraction >= policy.examples.share:
            return None
        return (
            self._veil.request(event, policy)
            if isinstance(event, Request)
            else self._veil.prediction(event, policy)
        )

    async def _write(self) -> bool:
        """Whether ClickHouse has all rows. Tries at intervals; says once that it is away, and once that it is
        back."""
        if time.monotonic() - self._tried < self._pause:
            return False
        self._tried = time.monotonic()
        try:
            await asyncio.to_thread(self._writer.write, self._rows)
        except AwayError as error:
            if self._away_since is None:
                self._away_since = time.monotonic()
                log.warning("ClickHouse takes no rows; trying again until it does: %s", error)
            self._pause = min(2 * self._pause, LONGEST)
            return False
        if self._away_since is not None:
            log.info("ClickHouse takes rows again, after %.1f s", time.monotonic() - self._away_since)
        self._away_since, self._pause = None, INTERVAL
        self._written += sum(map(len, self._rows.values()))
        self._rows.clear()
        self._size = 0
        return True


def _place(partition: TopicPartition, record: Record) -> tuple[int, int]:
    """Where the record stands; one that was re-published to its right partition, where it stood first."""
    origin = origin_of(record)
    if origin is not None and origin[0].isdecimal() and int(origin[0]) < LARGEST:
        return int(origin[0]), origin[1]
    return partition.partition, record.offset
