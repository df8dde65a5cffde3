"""The joins of a replay: blocks of records in, and what is to be said of them, in steps.

Pure: no Kafka, no clock, no I/O. What is fed is what the stage is fed (`streams/join/stage.py`); a look
(`clockwork.py`) is what its tick is: the joins pass the time that all topics have passed, and tell their
snapshots and how far they are. The records between two looks go in topic by topic, in portions that do not
depend on the blocks in which they come.

Nothing comes back from the judge (`judging.py`), so the joins may be ahead of it, in another thread.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from schemas import topics
from schemas.errors import HeadgateError
from schemas.records import (
    YEAR_2000,
    Ack,
    Codec,
    CommandRecord,
    DeadLetter,
    Profile,
    Progress,
    Sample,
    problem,
)
from schemas.timeline import BEGINNING
from schemas.topics import EVENTS, Topic
from streams.columns import Integers
from streams.join.arrivals import Fault
from streams.join.control import Control
from streams.join.core import Intake, Join
from streams.join.ledger import Safe
from streams.join.passage import Passage
from streams.join.references import References
from streams.join.snapshots import Snapshots
from streams.join.source import Source
from streams.replay.block import Block, Piece, Single
from streams.replay.clockwork import LOOK, looks
from streams.replay.known import Known
from streams.replay.letters import letter
from streams.replay.policies import Policies
from streams.stage import Reading

PORTION = 100_000
"""Records that go into the joins at once, at most, however much comes in a second."""

END = 1 << 60
"""A time that is past everything."""

ANYWHERE = (1 << 31) - 1
"""The number of partitions where it is not known: records then stand where they are."""

STARTS = {topic: Safe(0, BEGINNING) for topic in EVENTS}


class Fed(NamedTuple):
    """The joins were fed up to event time `hand` (ms), with events or without: `letters` are what was none,
    `singles` the records of all other topics.
    """

    letters: list[DeadLetter]
    singles: list[Single]
    eventful: bool
    hand: int


class Look(NamedTuple):
    """What the joins say at event time `now` (ms): the snapshots of each, and how far each is."""

    now: int
    told: list[Snapshots]
    progress: list[Progress]


class End(NamedTuple):
    """The input ended at `now` (ms): the snapshots of all panes that were open."""

    now: int
    told: list[Snapshots]


Step = Fed | Look | End


class Inlet:
    """A piece of a block, on its way into its join from when the first of its records is fed. `bounds`: up to
    which of them it goes in at each of the block's stops.
    """

    def __init__(self, piece: Piece, stops: list[int]) -> None:
        self.piece = piece
        self.place = piece.partition, EVENTS.index(piece.topic)
        self.bounds: list[int] = np.searchsorted(piece.ranks, stops).tolist()
        self.intake: Intake | None = None


class Slice(NamedTuple):
    """The next records of a piece, those before index `until`."""

    inlet: Inlet
    until: int


@dataclass
class Portion:
    """What has come since the joins were last fed."""

    slices: list[Slice] = field(default_factory=list)
    singles: list[Single] = field(default_factory=list)
    count: int = 0


class Joining:
    """Takes blocks of records, in the order in which they came."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._policies = Policies(known.policies)
        self._policies.foresee(known.foreseen)
        self._references = References()
        for profile in known.profiles:
            self._references.add(profile)
        self._control = Control(self._policies.joined, self._references)
        self._sources: dict[int, Source] = {}
        for number in range(known.count or 0):
            self._source(number)
        self._portion = Portion()
        self._round = 0
        self.hand = BEGINNING
        """The event time that is reached (ms)."""
        self.read = 0
        """How many records were taken."""
        self._commands: Codec[CommandRecord] = Codec(CommandRecord)
        self._acks: Codec[Ack] = Codec(Ack)
        self._samples: Codec[Sample] = Codec(Sample)
        self._profiles: Codec[Profile] = Codec(Profile)

    def steps(self, blocks: Iterable[Block]) -> Iterator[Step]:
        """What comes of all blocks, to the end."""
        for block in blocks:
            yield from self.feed(block)
        yield from self.close()

    def feed(self, block: Block) -> Iterator[Step]:
        """Takes the next records."""
        running = np.maximum.accumulate(np.maximum(self._instants(block), self.hand))
        seconds = running // LOOK
        cuts = np.flatnonzero(np.diff(seconds, prepend=self.hand // LOOK)).tolist()
        stops = _stops(cuts, block.size, self._portion.count)
        inlets = [Inlet(piece, stops) for piece in block.pieces]
        singles = deque(block.singles)
        looked_at, start = set(cuts), 0
        for number, stop in enumerate(stops):
            self._collect(inlets, number)
            while singles and singles[0].rank < stop:
                self._portion.singles.append(singles.popleft())
            if start < stop:
                self._portion.count += stop - start
                self.hand = int(running[stop - 1])
            if stop in looked_at or self._portion.count >= PORTION:
                yield self._feed()
            if stop in looked_at:
                for look in looks(self.hand, int(running[stop])):
                    yield self._look(look)
            start = stop
        self.read += block.size

    def close(self) -> Iterator[Step]:
        """The input is over: closes all panes; no time passes by that."""
        yield self._feed()
        if self.hand > BEGINNING:
            yield self._look(self.hand)
        now = max(self.hand, YEAR_2000)
        for source in self._in_order():
            source.join.advance(END)
        yield End(now, self._told(now))

    def _instants(self, block: Block) -> Integers:
        """Each record's min(`ts`, Kafka timestamp), if it is a good one; shape (block.size,)."""
        instants = np.full(block.size, BEGINNING, np.int64)
        for piece in block.pieces:
            rows = piece.events.scanned.rows
            times = np.minimum(rows["ts"], piece.events.timestamps)
            instants[piece.ranks] = np.where(rows["fault"] == 0, times, BEGINNING)
        for single in block.singles:
            instants[single.rank] = self._instant(single)
        return instants

    def _instant(self, single: Single) -> int:
        codec = self._codec(single.topic)
        if codec is None:
            return BEGINNING
        try:
            found = codec.decode(single.record.value)
        except ValueError:
            return BEGINNING
        if problem(found, single.record.timestamp) is not None:
            return BEGINNING
        return min(found.ts, single.record.timestamp)

    def _codec(self, topic: Topic) -> Codec[CommandRecord] | Codec[Ack] | Codec[Sample] | None:
        """Of topics whose records move the hand."""
        if topic == topics.COMMANDS:
            return self._commands
        if topic == topics.ACKS:
            return self._acks
        return self._samples if topic == topics.SAMPLES else None

    def _collect(self, inlets: Sequence[Inlet], number: int) -> None:
        """Puts the events up to a block's stop of that number into the portion."""
        for inlet in inlets:
            until = inlet.bounds[number]
            if until > (inlet.bounds[number - 1] if number else 0):
                self._portion.slices.append(Slice(inlet, until))

    def _feed(self) -> Fed:
        """Feeds the portion to the joins."""
        portion, self._portion = self._portion, Portion()
        letters = list[DeadLetter]()
        for slice_ in sorted(portion.slices, key=lambda each: each.inlet.place):
            letters += self._join(slice_)
        for single in portion.singles:
            with suppress(ValueError):  # the judge's half has the dead letter
                if single.topic == topics.POLICIES:
                    self._policy(single)
                elif single.topic == topics.PROFILES:
                    self._references.add(self._profiles.decode(single.record.value))
                    self._control.refresh()
        return Fed(letters, portion.singles, bool(portion.slices), self.hand)

    def _join(self, slice_: Slice) -> Iterator[DeadLetter]:
        inlet, piece = slice_.inlet, slice_.inlet.piece
        join = self._source(piece.partition).join
        if inlet.intake is None:
            inlet.intake = join.begin(piece.topic, piece.events, piece.events.scanned)
        for lost in join.take(inlet.intake, slice_.until):
            if lost.fault is Fault.UNREADABLE:
                yield letter("join", piece.topic, piece.partition, lost.record, lost.reason)

    def _source(self, number: int) -> Source:
        source = self._sources.get(number)
        if source is None:
            join = Join(number, self._known.count or ANYWHERE, self._control, STARTS, BEGINNING)
            passage = Passage(dict.fromkeys(EVENTS, True), self._known.settling)
            source = self._sources[number] = Source(join, passage)
        return source

    def _in_order(self) -> list[Source]:
        return [self._sources[number] for number in sorted(self._sources)]

    def _policy(self, single: Single) -> None:
        """Puts a policy in force. Raises `HeadgateError` where it comes after events that it holds for."""
        model = self._policies.meet(single)
        if model is None:
            return
        policy, since = self._control.timeline.latest(model), self._control.timeline.entries(model)[-1].start
        if any(any(source.join.retractions(policy, since, 0)) for source in self._sources.values()):
            raise HeadgateError(
                f"control.policies, offset {single.record.offset}: found a policy of {model} behind events "
                "that it holds for, expected it before them: put it first, give it with --policy, or give "
                "the recording as a file, which is looked through beforehand"
            )
        self._control.refresh()

    def _look(self, now: int) -> Look:
        """What the stage's tick does, at event time `now` (ms)."""
        readings, sources = _read_to_the_end(now), self._in_order()
        for source in sources:
            source.pass_time(readings, now)
        told = self._told(now)
        progress = [
            source.progress(readings, place, len(sources), self._round, whole=True)
            for place, source in enumerate(sources)
        ]  # where nothing ever came, they are as far as the others
        return Look(now, told, progress)

    def _told(self, now: int) -> list[Snapshots]:
        self._round += 1
        return [source.join.tell(self._round, now) for source in self._in_order()]


def _stops(cuts: Sequence[int], size: int, waiting: int) -> list[int]:
    """Up to which ranks the records of a block go into a portion each: to the `cuts`, where looks are due,
    and to where a portion is full, in which `waiting` records are already; the last is the block's `size`.
    """
    stops, start = list[int](), 0
    for cut in [*cuts, size]:
        stops += [*range(start + PORTION - waiting, cut, PORTION), cut]
        start, waiting = cut, 0
    return stops


def _read_to_the_end(now: int) -> dict[Topic, Reading]:
    """In a recording every topic is read to its end, as of now."""
    return dict.fromkeys(EVENTS, Reading(0, 0, now))
