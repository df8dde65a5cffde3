"""The joins of a replay: blocks of records in, and what is to be said of them, in steps.

Pure: no Kafka, no clock, no I/O. What is fed is what the stage is fed (`streams/join/stage.py`); a look
(`clockwork.py`) is what its tick is: the joins pass the time that all topics have passed, and tell their
snapshots and how far they are. The records between two looks go in topic by topic, in portions that do not
depend on the blocks in which they come.

Source partitions know nothing of each other, so each does all that is due of a block by itself, in a thread
beside the others. Nothing comes back from the judge (`judging.py`), so all may be ahead of it.
"""

from collections import defaultdict, deque
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
from streams.replay.ahead import Team
from streams.replay.block import Block, Piece, Single
from streams.replay.clockwork import LOOK, looks
from streams.replay.known import Known
from streams.replay.letters import letter
from streams.replay.policies import Policies
from streams.stage import Reading

PORTION = 100_000
"""Records that go into the joins at once, at most, however much comes in a second."""

ROUNDS = 64
"""Looks that the joins are ahead of what is said of them, at most: until then it is in memory."""

END = 1 << 60
"""A time that is past everything."""

ANYWHERE = (1 << 31) - 1
"""The number of partitions where it is not known: records then stand where they are."""

CONTROL = (topics.POLICIES, topics.PROFILES)
"""What all joins heed."""

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
        self.bounds: list[int] = np.searchsorted(piece.ranks, stops).tolist()
        self.intake: Intake | None = None


class Slice(NamedTuple):
    """The next records of a piece, those before index `until`."""

    inlet: Inlet
    until: int


@dataclass
class Portion:
    """What has come since the joins were last fed; `slices` by source partition."""

    slices: dict[int, list[Slice]] = field(default_factory=lambda: defaultdict(list))
    singles: list[Single] = field(default_factory=list)
    count: int = 0


class Feed(NamedTuple):
    """The joins are due to take in a portion, up to event time `hand` (ms)."""

    portion: Portion
    hand: int


class Round(NamedTuple):
    """They are due to pass time up to `now` (ms) and to tell their snapshots, with this number. `sources`:
    which there are by then, in order.
    """

    now: int
    number: int
    sources: list[int]


class Said(NamedTuple):
    """What one join says in a round."""

    snapshots: Snapshots
    progress: Progress


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
        self._due: list[Feed | Round] = []
        self._team = Team()
        self._round = 0
        self.hand = BEGINNING
        """The event time that is reached (ms)."""
        self.read = 0
        """How many records were taken."""
        self._commands: Codec[CommandRecord] = Codec(CommandRecord)
        self._acks: Codec[Ack] = Codec(Ack)
        self._samples: Codec[Sample] = Codec(Sample)
        self._profiles: Codec[Profile] = Codec(Profile)

    def steps(self, blocks: Iterable[Block]) -> Iterator[list[Step]]:
        """What comes of all blocks, to the end, as many steps at a time as are done together."""
        for block in blocks:
            yield from self.feed(block)
        yield from self.close()

    def feed(self, block: Block) -> Iterator[list[Step]]:
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
                yield from self._feed()
            if stop in looked_at:
                for look in looks(self.hand, int(running[stop])):
                    yield from self._look(look)
            start = stop
        self.read += block.size
        yield self._work()

    def close(self) -> Iterator[list[Step]]:
        """The input is over: closes all panes; no time passes by that."""
        yield from self._feed()
        if self.hand > BEGINNING:
            yield from self._look(self.hand)
        yield self._work()
        now, self._round = max(self.hand, YEAR_2000), self._round + 1
        joins = [self._sources[number].join for number in sorted(self._sources)]
        for join in joins:
            join.advance(END)
        yield [End(now, [join.tell(self._round, now) for join in joins])]

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
                self._source(inlet.piece.partition)
                self._portion.slices[inlet.piece.partition].append(Slice(inlet, until))

    def _feed(self) -> Iterator[list[Step]]:
        """The portion is due. What is of control in it, holds from then on."""
        portion, self._portion = self._portion, Portion()
        self._due.append(Feed(portion, self.hand))
        heeded = [single for single in portion.singles if single.topic in CONTROL]
        if heeded:
            yield self._work()
        for single in heeded:
            with suppress(ValueError):  # the judge's half has the dead letter
                if single.topic == topics.POLICIES:
                    self._policy(single)
                else:
                    self._references.add(self._profiles.decode(single.record.value))
                    self._control.refresh()

    def _look(self, now: int) -> Iterator[list[Step]]:
        """A round is due, at event time `now` (ms)."""
        self._round += 1
        self._due.append(Round(now, self._round, sorted(self._sources)))
        if len(self._due) >= ROUNDS:
            yield self._work()

    def _work(self) -> list[Step]:
        """Has all joins do what is due."""
        due, self._due = self._due, []
        self._begin(due)
        numbers = sorted(self._sources)
        done = self._team.map(lambda number: _done(number, self._sources[number], due), numbers)
        return [_step(task, answers) for task, *answers in zip(due, *done, strict=True)]

    def _begin(self, due: Iterable[Feed | Round]) -> None:
        """The pieces that begin. All joins share the models that they make known."""
        for task in due:
            if isinstance(task, Round):
                continue
            for number, slices in sorted(task.portion.slices.items()):
                slices.sort(key=lambda each: EVENTS.index(each.inlet.piece.topic))
                for inlet, _ in slices:
                    if inlet.intake is None:
                        topic, events = inlet.piece.topic, inlet.piece.events
                        inlet.intake = self._sources[number].join.begin(topic, events, events.scanned)

    def _source(self, number: int) -> Source:
        source = self._sources.get(number)
        if source is None:
            join = Join(number, self._known.count or ANYWHERE, self._control, STARTS, BEGINNING)
            passage = Passage(dict.fromkeys(EVENTS, True), self._known.settling)
            source = self._sources[number] = Source(join, passage)
        return source

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


def _done(number: int, source: Source, due: Iterable[Feed | Round]) -> list[list[DeadLetter] | Said | None]:
    """What a source partition says to all that is due; None where it is not there yet."""
    return [
        list(_taken(source, task.portion.slices.get(number, ())))
        if isinstance(task, Feed)
        else _said(source, task)
        if number in task.sources
        else None
        for task in due
    ]


def _step(task: Feed | Round, answers: Sequence[list[DeadLetter] | Said | None]) -> Step:
    """What all source partitions together say to what was due."""
    if isinstance(task, Feed):
        letters = [letter for answer in answers if isinstance(answer, list) for letter in answer]
        return Fed(letters, task.portion.singles, bool(task.portion.slices), task.hand)
    said = [answer for answer in answers if isinstance(answer, Said)]
    return Look(task.now, [each.snapshots for each in said], [each.progress for each in said])


def _taken(source: Source, slices: Iterable[Slice]) -> Iterator[DeadLetter]:
    """Feeds a join; answers the dead letters."""
    for inlet, until in slices:
        assert inlet.intake is not None, "it has begun"
        for lost in source.join.take(inlet.intake, until):
            if lost.fault is Fault.UNREADABLE:
                yield letter("join", inlet.piece.topic, inlet.piece.partition, lost.record, lost.reason)


def _said(source: Source, round_: Round) -> Said:
    """What the stage's tick does."""
    readings = _read_to_the_end(round_.now)
    source.pass_time(readings, round_.now)
    snapshots = source.join.tell(round_.number, round_.now)
    place, count = round_.sources.index(source.join.partition), len(round_.sources)
    # Where nothing ever came, it is as far as the others.
    return Said(snapshots, source.progress(readings, place, count, round_.number, whole=True))


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
