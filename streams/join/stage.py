"""The join as a stage: policies and profiles in force, snapshots out, offsets in step. What is computed
stands in `core.py`.

The idempotency zone begins at `process`: what has entered a `Join` may be read and emitted any number of
times, because every snapshot is whole and carries a version. Nothing is dropped after that line; offsets move
only behind flushed snapshots.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import msgspec

from schemas import topics
from schemas.errors import HeadgateError
from schemas.records import ENCODER, ORIGIN, Pane
from schemas.settings import Settings
from schemas.timeline import BEGINNING, NOTICE, Timeline
from schemas.topics import Topic
from streams import registry
from streams.columns import Records
from streams.join import cost, heap
from streams.join.arrivals import Fault, Lost
from streams.join.compile import compile_all
from streams.join.control import Control, latest_of
from streams.join.core import SCAN, Join
from streams.join.events import Events
from streams.join.ledger import Safe
from streams.join.passage import Passage
from streams.join.references import References
from streams.join.rows import Scanned
from streams.join.source import Source
from streams.letters import dead_letter
from streams.log import Entry, Follower, Output, layout, patiently
from streams.stage import Assigned, Committed, Reading, TopicPartition

log = logging.getLogger(__name__)

EVERY = 200
"""Ms between two rounds of output."""

PROGRESS = 1_000
"""Ms between two progress records of a source partition."""

CONTROL = 1_000
"""Ms after which control topics are read again."""

GIVE_BACK = 1_000
"""Ms between two times that memory which was freed is given back."""

STALE = 5_000
"""No record is judged, and no pane final, under policies read longer ago (ms)."""

ROUNDS = 22
"""Bits of a snapshot's version that count rounds of output within an epoch (ms); an overflow only borrows
from the epoch.
"""

BY_NAME: dict[str, Topic] = {topic.name: topic for topic in topics.EVENTS}


class Note(msgspec.Struct):
    """What a commit tells the next owner: the clock before the committed offset, this owner's epoch, how far
    the source partition was, how many partitions there were, and whose records were re-published before the
    committed offset.
    """

    clock: int = BEGINNING
    epoch: int = 0
    time: int = BEGINNING
    partitions: int = 0
    origins: dict[str, int] = {}


class ControlRecords(NamedTuple):
    """What came in the control topics up to their ends, as these were after wall time `asked` (ms)."""

    asked: int
    policies: list[Entry]
    profiles: list[Entry]


class Owned(Source):
    """One source partition, as long as this process owns it; `readings` is how its topics stood then."""

    def __init__(self, join: Join, epoch: int, readings: Mapping[Topic, Reading], passage: Passage) -> None:
        super().__init__(join, passage)
        self.epoch = epoch
        self.readings = readings
        self.ends = {topic: reading.end for topic, reading in readings.items()}
        self.announced = False
        self.caught_up = False
        self.round = 0
        self.progressed = 0
        self.curtailed = False
        self.committable = {topic: join.safe(topic) for topic in topics.EVENTS}
        self.committed_time = join.time

    def ahead(self) -> list[Topic]:
        """The topics that are ahead of one that lags, and of which there is more to read."""
        lagging = [topic for topic, reading in self.readings.items() if reading.position < reading.end]
        if not lagging:
            return []
        slowest = min(self.join.clock(topic) for topic in lagging)
        return [topic for topic in lagging if self.join.clock(topic) > slowest]

    def snapshot(self) -> int:
        """The version of the next round's snapshots."""
        self.round += 1
        return (self.epoch << ROUNDS) + self.round


class JoinStage:
    """Requests, predictions and feedback in; `metrics.panes` and `dead.letters` out."""

    name = "join"
    topics = registry.reads(name)

    def __init__(self, settings: Settings) -> None:
        heap.keep()
        compile_all()
        self._settings = settings
        self._output = Output(settings)
        self._policies = Follower(settings, topics.POLICIES)
        self._profiles = Follower(settings, topics.PROFILES)
        self._control = Control(Timeline(), References())
        self._controlled = 0  # when control topics were last read to their end: wall time (ms) before asking
        self._reading: asyncio.Task[ControlRecords] | None = None  # what is being read of them now
        self._owned: dict[int, Owned] = {}
        self._count = self._pane_partitions = 0
        self._log_append_time: dict[Topic, bool] = {}
        self._rounded = self._given_back = 0
        self._limit = settings.streams.memory << 20
        self._cramped = False  # over the limit, with nothing left to close
        self._lost = self._emitted = 0

    def assigned(self, partitions: Mapping[TopicPartition, Assigned]) -> None:
        """Takes up the source partitions where their last owner's notes say.

        Raises `HeadgateError` where the topics' partitions do not fit together.
        """
        if not self._owned:
            self._survey()
        for number in sorted({partition.partition for partition in partitions}):
            found = {t: partitions[TopicPartition(t.name, number)] for t in topics.EVENTS}
            self._owned[number] = self._take_up(number, found)

    def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Forgets source partitions."""
        for partition in partitions:
            self._owned.pop(partition.partition, None)

    def prepare(self, topic: str, records: Records) -> Events:
        """Scans them, while those before them are joined."""
        return Events(records, SCAN[BY_NAME[topic]](records))

    async def process(self, partition: TopicPartition, records: Records) -> None:
        """Joins a batch; a record of a model without a policy, or under stale ones, waits until
        `control.policies` is read to its end.
        """
        owned = self._owned[partition.partition]
        topic, join, now = BY_NAME[partition.topic], owned.join, _now()
        events = records if isinstance(records, Events) else self.prepare(topic.name, records)
        scanned = events.scanned
        await self._await_control(topic, scanned, now)
        for item in join.read(topic, events, scanned):
            self._pass_on(item, topic, partition.partition, now)

    def held(self) -> Collection[TopicPartition]:
        """Short of memory, the topics that are ahead in time wait, never the one that everybody waits for.
        Over the limit all wait until the next round of output has made room.
        """
        used = self._used()
        if used < cost.COMFORTABLE * self._limit:
            return ()
        full = used > self._limit and not self._cramped
        return [
            TopicPartition(topic.name, number)
            for number, owned in self._owned.items()
            for topic in (topics.EVENTS if full else owned.ahead())
        ]

    def _used(self) -> int:
        return sum(owned.join.bytes for owned in self._owned.values())

    def _make_room(self) -> None:
        """Over the limit for all that, the oldest panes close early, and are said at once."""
        while self._used() > self._limit:
            closing = self._close_early()
            if closing is None:
                break
            self._say(closing.join.final_snapshots(closing.snapshot()))
            if not closing.curtailed:
                closing.curtailed = True
                log.error(
                    "source partition %d: more than %d MiB of events are pending; its oldest panes close "
                    "early, and are counted incomplete. Raise [streams] memory, run more join processes, or "
                    "shorten attribution windows",
                    closing.join.partition,
                    self._limit >> 20,
                )
        # Where nothing is open, waiting frees nothing. One that may not say anything yet soon may.
        announced = all(owned.announced for owned in self._owned.values())
        self._cramped = announced and self._used() > self._limit

    def _close_early(self) -> Owned | None:
        """Closes the oldest panes of the source partition that holds most and that has any; answers which."""
        holders = [owned for owned in self._owned.values() if owned.announced]
        holders.sort(key=lambda owned: owned.join.bytes, reverse=True)
        return next((owned for owned in holders if owned.join.curtail()), None)

    async def tick(self, readings: Mapping[TopicPartition, Reading], now: int) -> None:
        """Emits what is due, flushes it, and only then lets offsets move."""
        if now - self._rounded < EVERY:
            return
        self._rounded = now
        came = self._reading is not None and self._reading.done()
        if came or now - self._controlled >= STALE:
            await self._read_control()
        elif now - self._controlled >= CONTROL:
            self._begin_reading()
        for number, owned in self._owned.items():
            of_source = {
                t: r for t in topics.EVENTS if (r := readings.get(TopicPartition(t.name, number))) is not None
            }
            if len(of_source) == len(topics.EVENTS):
                owned.readings = of_source
                self._emit(owned, of_source, now)
        self._make_room()
        safe = [
            (owned, {topic: owned.join.safe(topic) for topic in topics.EVENTS}, owned.join.time)
            for owned in self._owned.values()
        ]
        await asyncio.to_thread(self._output.flush)
        if now - self._given_back >= GIVE_BACK:
            self._given_back = now
            await asyncio.to_thread(heap.give_back)
        # Meanwhile a partition may have gone and come back: that is another `Owned`, with its own offsets.
        for owned, offsets, reached in safe:
            owned.committable, owned.committed_time = offsets, reached

    def safe(self, partition: TopicPartition) -> Committed | None:
        """The oldest offset that a pane that is not final needs, and the note for the next owner."""
        owned = self._owned.get(partition.partition)
        if owned is None:
            return None
        safe = owned.committable[BY_NAME[partition.topic]]
        note = Note(safe.clock, owned.epoch, owned.committed_time, self._count, dict(safe.origins))
        return Committed(safe.offset, msgspec.json.encode(note).decode())

    def vitals(self) -> dict[str, float]:
        """See `streams.health.VITALS`."""
        passed = [owned.join.time for owned in self._owned.values() if owned.join.time > BEGINNING]
        joins = [owned.join for owned in self._owned.values()]
        found: dict[str, float] = {
            "buffer_bytes": self._used(),
            "catching_up": sum(not owned.caught_up for owned in self._owned.values()),
            "dead_letters_total": self._lost,
            "open_panes": sum(join.open_panes for join in joins),
            "panes_total": self._emitted,
            "pending_predictions": sum(join.pending for join in joins),
        }
        if passed:
            found["watermark_delay_seconds"] = (_now() - min(passed)) / 1_000
        return found

    async def close(self) -> None:
        """Flushes; open panes are the next owner's to emit."""
        await asyncio.to_thread(self._output.flush)
        if self._reading is not None:
            await asyncio.wait((self._reading,))
        self._policies.close()
        self._profiles.close()

    def _survey(self) -> None:
        """Asks the broker how the topics are laid out; not at start, when it may not be there yet."""
        layouts = {topic: layout(self._settings, topic) for topic in topics.EVENTS}
        counts = {topic.name: found.partitions for topic, found in layouts.items()}
        if len(set(counts.values())) > 1:
            raise HeadgateError(
                f"event topics: found partition counts {counts}, expected equal ones; "
                "create them anew and publish again"
            )
        self._count = layouts[topics.REQUESTS].partitions
        self._log_append_time = {topic: found.log_append_time for topic, found in layouts.items()}
        self._pane_partitions = layout(self._settings, topics.PANES).partitions

    def _take_up(self, number: int, found: Mapping[Topic, Assigned]) -> Owned:
        notes = {topic: _note(assigned.committed) for topic, assigned in found.items()}
        counts = {note.partitions for note in notes.values()} - {0, self._count}
        if counts:
            raise HeadgateError(
                f"event topics: found {self._count} partitions, expected {counts.pop()} as when last read: "
                "partition counts do not change in place. Create topics with the new count under another "
                "prefix, switch producers and stages to it; keep the old stages until their panes are final"
            )
        starts = {}
        for topic, assigned in found.items():
            offset = (
                assigned.start
                if assigned.committed is None
                else max(assigned.start, assigned.committed.offset)
            )
            starts[topic] = Safe(offset, notes[topic].clock, notes[topic].origins)
        now = _now()
        epoch = max(now, max(note.epoch for note in notes.values()) + 1)
        until = max(note.time for note in notes.values())
        join = Join(number, self._count, self._control, starts, until)
        for topic, assigned in found.items():
            if assigned.committed is not None and assigned.start > assigned.committed.offset:
                log.error(
                    "%s/%d: retention overtook the reader: offsets %d to %d are gone; their panes stay as "
                    "they were last emitted, and are counted incomplete",
                    topic.name,
                    number,
                    assigned.committed.offset,
                    assigned.start - 1,
                )
                join.overtaken(topic)
        readings = {
            topic: Reading(starts[topic].offset, assigned.end, now, assigned.committed)
            for topic, assigned in found.items()
        }
        return Owned(join, epoch, readings, Passage(self._log_append_time))

    def _emit(self, owned: Owned, readings: Mapping[Topic, Reading], now: int) -> None:
        if not owned.announced:  # before the first emission the epoch is committed, for the next owner to see
            owned.announced = all(
                _note(reading.committed).epoch == owned.epoch for reading in readings.values()
            )
            if not owned.announced:
                return
        owned.pass_time(readings, now)
        if not owned.caught_up:
            owned.caught_up = all(readings[topic].position >= end for topic, end in owned.ends.items())
        snapshot = owned.snapshot()
        self._say(owned.snapshots(snapshot, now, whole=owned.caught_up))
        if now - owned.progressed >= PROGRESS:
            owned.progressed = now
            number, whole = owned.join.partition, owned.caught_up
            progress = owned.progress(readings, number, self._count, snapshot, whole=whole)
            for partition in range(self._pane_partitions):
                self._output.send(topics.PANES, None, ENCODER.encode(progress), partition)

    def _say(self, panes: Iterable[Pane]) -> None:
        for pane in panes:
            self._emitted += 1
            self._output.send(topics.PANES, pane.model, ENCODER.encode(pane))

    def _pass_on(self, lost: Lost, topic: Topic, partition: int, now: int) -> None:
        record = lost.record
        if lost.fault is Fault.UNREADABLE:
            self._lost += 1
            letter = dead_letter(self.name, TopicPartition(topic.name, partition), record, lost.reason, now)
            self._output.send(topics.DEAD_LETTERS, letter.key, ENCODER.encode(letter))
        elif lost.request_id is not None and all(name != ORIGIN for name, _ in record.headers):
            origin = (ORIGIN, f"{topic.name}/{partition}/{record.offset}".encode())
            self._output.send(
                topic,
                lost.request_id,
                record.value or b"",
                headers=[*record.headers, origin],
                timestamp=record.timestamp,
            )

    async def _await_control(self, topic: Topic, scanned: Scanned, fetched: int) -> None:
        unknown, latest, versions = False, BEGINNING, set[int]()
        if topic is not topics.FEEDBACK:
            unknown, latest = self._control.has_strangers(scanned), latest_of(scanned)
        if topic is topics.PREDICTIONS:  # a version's profile comes before its first prediction
            versions = self._control.new_versions(scanned)
        # A policy that has come since the last read is in force `NOTICE` after it; some records are ahead.
        ahead = latest >= self._controlled + NOTICE - STALE
        oldest = fetched if unknown or versions or ahead else fetched - STALE
        while self._controlled < oldest:
            await self._read_control()
        self._control.welcome(versions)

    def _begin_reading(self) -> "asyncio.Task[ControlRecords]":
        """Reads control topics to their end, beside other work: their broker may take a tenth of a second."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._control_records())
        return self._reading

    async def _control_records(self) -> "ControlRecords":
        asked = _now()
        policies, profiles = await asyncio.gather(
            patiently(self._policies.refresh), patiently(self._profiles.refresh)
        )
        return ControlRecords(asked, policies, profiles)

    async def _read_control(self) -> None:
        """Takes in control topics to their end; raises `HeadgateError` where that voids what stands open."""
        asked, policies, profiles = await self._begin_reading()
        self._reading = None
        for entry in profiles:
            try:
                self._control.references.read(entry.value)
            except HeadgateError as error:
                log.error("offset %d: %s; ignored", entry.offset, error)
        changed: dict[str, int] = {}
        for entry in policies:
            try:
                policy = self._control.timeline.read(entry.value, entry.timestamp)
            except HeadgateError as error:
                log.error("offset %d: %s; the policy before it stays in force", entry.offset, error)
            else:
                log.info("policy of %s read, offset %d", policy.model, entry.offset)
                changed.setdefault(policy.model, self._control.timeline.entries(policy.model)[-1].start)
        if profiles or policies:
            self._control.refresh()
        self._controlled = asked
        reshaped = [model for model, since in changed.items() if self._retract(model, since)]
        if reshaped:
            await asyncio.to_thread(self._output.flush)
            raise HeadgateError(
                f"the policy of {', '.join(reshaped)} came after events that it holds for: "
                "starting again, to shape their panes by it"
            )

    def _retract(self, model: str, since: int) -> bool:
        """Panes that stand open from `since` on were shaped by the policy before, or by the defaults: they
        are void, and to be read again; answers whether there are any. A model's first policy holds from the
        beginning; in a later one's time there can be records that are stamped ahead of it.
        """
        policy, void = self._control.timeline.latest(model), False
        for owned in self._owned.values():
            snapshot = owned.snapshot()
            for pane in owned.join.retractions(policy, since, snapshot):
                void = True
                self._output.send(topics.PANES, model, ENCODER.encode(pane))
        return void


def _note(committed: Committed | None) -> Note:
    if committed is None or not committed.metadata:
        return Note()
    try:
        return msgspec.json.decode(committed.metadata, type=Note)
    except msgspec.DecodeError as error:
        raise HeadgateError(
            f"committed metadata: {error}: found {committed.metadata!r}, expected what a join stage wrote; "
            "is another program using the group?"
        ) from error


def _now() -> int:
    return time.time_ns() // 1_000_000
