"""The real topics as a recording: a range of them, from the oldest record or from a time on, as blocks in the
order in which their records came.

Read through the transport's own fetch path (`streams/transport/fetch.py`), as columns. No more is held than
what was fetched of each partition at once: who is ahead in time waits.
"""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import suppress
from threading import Thread
from typing import Any, NamedTuple, TypeVar

import aiokafka
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition as KafkaPartition

from schemas import topics
from schemas.errors import HeadgateError
from schemas.records import Codec, Profile, Release
from schemas.settings import Settings
from schemas.topics import EVENTS, Topic
from streams.columns import Records
from streams.join.core import SCAN
from streams.join.events import Events
from streams.log import Entry, Follower, Layout, layout
from streams.replay.block import Block, Piece, Single
from streams.replay.merge import Part, Stream, merge
from streams.transport import fetch

READ = (*EVENTS, topics.SAMPLES, topics.COMMANDS, topics.ACKS)
"""What is read as columns; the control topics besides are read whole, for they are small."""

PATIENCE = 1_000
"""Milliseconds that one question for records may take."""

SILENCE = 30
"""So many such questions in turn may bring nothing at all."""

PIECES = 100
"""Columns that one such question brings at most, of all partitions together."""

Result = TypeVar("Result")


class Span(NamedTuple):
    """What is read: Kafka's time from `since` on, before `until` (ms; None: all)."""

    since: int | None = None
    until: int | None = None

    def holds(self, timestamp: int) -> bool:
        """Whether a record of that time is in it."""
        return (self.since is None or timestamp >= self.since) and (
            self.until is None or timestamp < self.until
        )


class Written(NamedTuple):
    """A record of `control.releases`, and what it says."""

    single: Single
    release: Release


class Control(NamedTuple):
    """What the control topics say: all policies, all profiles, and all releases that are still there."""

    policies: list[Single]
    profiles: list[Profile]
    releases: list[Written]


def layouts(settings: Settings) -> dict[Topic, Layout]:
    """How the topics that are read as columns are laid out. Raises `HeadgateError` where one is missing."""
    return {topic: layout(settings, topic) for topic in READ}


def control(settings: Settings) -> Control:
    """Reads the control topics to their ends. What cannot be read has had its dead letter when it came."""
    profile_codec: Codec[Profile] = Codec(Profile)
    release_codec: Codec[Release] = Codec(Release)
    profiles, releases = list[Profile](), list[Written]()
    for entry in _whole(settings, topics.PROFILES):
        with suppress(ValueError):
            profiles.append(profile_codec.decode(entry.value))
    for entry in _whole(settings, topics.RELEASES):
        with suppress(ValueError):
            releases.append(Written(_single(topics.RELEASES, entry), release_codec.decode(entry.value)))
    return Control(
        [_single(topics.POLICIES, entry) for entry in _whole(settings, topics.POLICIES)], profiles, releases
    )


def _releases(written: list[Written], span: Span) -> Iterator[Single]:
    """Of each model the release that stood when the span begins, and those that somebody forced in it; the
    others are what a judge decided, which a replay is to find out.
    """
    standing: dict[str, Single] = {}
    forced: list[Single] = []
    for single, release in written:
        if span.since is not None and single.record.timestamp < span.since:
            standing[release.model] = single
        elif span.holds(single.record.timestamp) and (release.evidence or {}).get("cause") == "force":
            forced.append(single)
    return iter([*standing.values(), *forced])


def _whole(settings: Settings, topic: Topic) -> list[Entry]:
    follower = Follower(settings, topic)
    try:
        return follower.refresh()
    finally:
        follower.close()


def _single(topic: Topic, entry: Entry) -> Single:
    return Single(0, topic, entry.partition, entry)


class Log:
    """Reads a span of the topics, which are `laid_out` so, and what was `found` in those of control beside
    it. An iterator of blocks; `close` it.
    """

    def __init__(
        self, settings: Settings, span: Span, found: Control, laid_out: Mapping[Topic, Layout]
    ) -> None:
        self._settings = settings
        self._span = span
        self._laid_out = laid_out
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._consumer: aiokafka.AIOKafkaConsumer | None = None
        self._ends: dict[KafkaPartition, int] = {}
        self._streams: dict[KafkaPartition, Stream] = {}
        self._beside = _streams_of([*_releases(found.releases, span), *found.policies], span)

    def blocks(self) -> Iterator[Block]:
        """All of it, in order. Raises `HeadgateError` where the broker cannot be read."""
        try:
            self._ask(self._open())
            order = sorted(self._streams.values(), key=lambda each: (READ.index(each.topic), each.partition))
            streams = [*self._beside, *order]
            while not all(stream.done for stream in streams):
                self._ask(self._read())
                if parts := merge(streams):
                    yield _block(parts)
            if parts := merge(streams):  # of control topics alone
                yield _block(parts)
        except KafkaError as error:
            raise HeadgateError(
                f"Kafka at {self._settings.kafka.brokers}: {error}; `headgate check` says more"
            ) from error

    def close(self) -> None:
        """Ends its connections."""
        if self._consumer is not None:
            self._ask(self._consumer.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _ask(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _open(self) -> None:
        fetch.install()
        consumer = aiokafka.AIOKafkaConsumer(
            **self._settings.kafka.aiokafka(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=1 << 20,
            fetch_max_bytes=8 << 20,
        )
        await consumer.start()
        fetch.hurry(consumer)
        self._consumer = consumer
        places = {
            KafkaPartition(topic.full_name(self._settings.topics), number): topic
            for topic, found in self._laid_out.items()
            for number in range(found.partitions)
        }
        consumer.assign(list(places))
        starts = await self._offsets(
            consumer, places, self._span.since, await consumer.beginning_offsets(places)
        )
        self._ends = await self._offsets(
            consumer, places, self._span.until, await consumer.end_offsets(places)
        )
        for place, topic in places.items():
            stream = self._streams[place] = Stream(topic, place.partition)
            stream.done = starts[place] >= self._ends[place]
            if stream.done:
                consumer.pause(place)
            else:
                consumer.seek(place, starts[place])

    async def _offsets(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        places: dict[KafkaPartition, Topic],
        time: int | None,
        otherwise: dict[KafkaPartition, int],
    ) -> dict[KafkaPartition, int]:
        """Each partition's first record of `time` (ms) or later, or what it is otherwise."""
        if time is None:
            return otherwise
        found = await consumer.offsets_for_times(dict.fromkeys(places, time))
        ends = await consumer.end_offsets(list(places))
        return {place: ends[place] if at is None else at.offset for place, at in found.items()}

    async def _read(self) -> None:
        """More of each that is wanting, and of the one that all wait for."""
        consumer = self._consumer
        assert consumer is not None, "it has been opened"
        alive = [place for place, stream in self._streams.items() if not stream.done]
        wanted = {place for place in alive if self._streams[place].wanting}
        wanted.add(min(alive, key=lambda place: self._streams[place].known))
        silent = 0
        while wanted:
            fetched = await consumer.getmany(*wanted, timeout_ms=PATIENCE, max_records=PIECES)
            for place, pieces in fetched.items():
                for records in pieces:
                    self._streams[place].put(_below(records, self._ends[place]))
            done = [place for place in wanted if await consumer.position(place) >= self._ends[place]]
            for place in done:
                self._streams[place].done = True
                consumer.pause(place)
            wanted -= {*fetched, *done}
            silent = 0 if fetched or done else silent + 1
            if silent > SILENCE:
                place = min(wanted)
                raise HeadgateError(
                    f"{place.topic}/{place.partition}: found no records from offset "
                    f"{await consumer.position(place)} on for {SILENCE} s, expected some up to "
                    f"{self._ends[place]}: is a broker down, or a transaction of a producer left open?"
                )


def _streams_of(singles: list[Single], span: Span) -> list[Stream]:
    """Records that have been read already, as streams that are done."""
    streams: dict[tuple[Topic, int], Stream] = {}
    for single in singles:
        if span.until is not None and single.record.timestamp >= span.until:
            continue
        place = single.topic, single.partition
        stream = streams.setdefault(place, Stream(single.topic, single.partition))
        stream.put(Records.of([single.record]))
        stream.done = True
    return list(streams.values())


def _below(records: Records, end: int) -> Records:
    return records[: len(records) - len(records.since(end))]


def _block(parts: list[Part]) -> Block:
    pieces, singles = list[Piece](), list[Single]()
    for part in parts:
        if part.topic in EVENTS:
            events = Events(part.records, SCAN[part.topic](part.records))
            pieces.append(Piece(part.topic, part.partition, events, part.ranks))
        else:
            singles += [
                Single(rank, part.topic, part.partition, record)
                for rank, record in zip(part.ranks.tolist(), part.records, strict=True)
            ]
    singles.sort(key=lambda single: single.rank)
    return Block(pieces, singles, sum(len(part.records) for part in parts))
