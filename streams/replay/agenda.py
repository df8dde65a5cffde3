"""What the joins of a replay have to do, and in which order: blocks of recorded events in, lists of what is
due out.

Pure. The records between two looks (`clockwork.py`) go in topic by topic, in portions that do not depend on
the blocks in which they come. Nothing comes back from the joins (`joining.py`), so this may be ahead of them.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from schemas import topics
from schemas.records import YEAR_2000, Ack, Codec, CommandRecord, Sample, problem
from schemas.timeline import BEGINNING
from schemas.topics import EVENTS, Topic
from streams.columns import Integers
from streams.join.core import Intake
from streams.replay.block import Block, Piece, Single
from streams.replay.clockwork import LOOK, looks

PORTION = 100_000
"""Records that go into the joins at once, at most, however much comes in a second."""

MOST = 64
"""Feeds and rounds that are due together, at most: till all are done, what comes of them is in memory."""

HEEDED = (topics.POLICIES, topics.PROFILES)
"""Topics that all joins heed."""


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


class Close(NamedTuple):
    """The input is over, at `now` (ms): they are due to close all panes; no time passes by that."""

    now: int
    number: int


Due = Feed | Round | Close


class Agenda:
    """Takes blocks of records, in the order in which they came. `sources`: the source partitions that there
    are from the beginning.
    """

    def __init__(self, sources: Iterable[int]) -> None:
        self._sources = set(sources)
        self._portion = Portion()
        self._due: list[Due] = []
        self._number = 0
        self.hand = BEGINNING
        """The event time that is reached (ms)."""
        self.read = 0
        """How many records were taken."""
        self._commands: Codec[CommandRecord] = Codec(CommandRecord)
        self._acks: Codec[Ack] = Codec(Ack)
        self._samples: Codec[Sample] = Codec(Sample)

    def of(self, blocks: Iterable[Block]) -> Iterator[list[Due]]:
        """What is due of all blocks, to the end, as much at a time as may be done together: what is to be
        heeded comes last.
        """
        for block in blocks:
            yield from self._take(block)
        yield from self._close()

    def _take(self, block: Block) -> Iterator[list[Due]]:
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
        if self._due:
            yield self._handed()

    def _close(self) -> Iterator[list[Due]]:
        yield from self._feed()
        if self.hand > BEGINNING:
            yield from self._look(self.hand)
        self._due.append(Close(max(self.hand, YEAR_2000), self._number + 1))
        yield self._handed()

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
                self._sources.add(inlet.piece.partition)
                self._portion.slices[inlet.piece.partition].append(Slice(inlet, until))

    def _feed(self) -> Iterator[list[Due]]:
        """The portion is due."""
        portion, self._portion = self._portion, Portion()
        for slices in portion.slices.values():
            slices.sort(key=lambda each: EVENTS.index(each.inlet.piece.topic))
        self._due.append(Feed(portion, self.hand))
        if any(single.topic in HEEDED for single in portion.singles):
            yield self._handed()

    def _look(self, now: int) -> Iterator[list[Due]]:
        """A round is due, at event time `now` (ms)."""
        self._number += 1
        self._due.append(Round(now, self._number, sorted(self._sources)))
        if len(self._due) >= MOST:
            yield self._handed()

    def _handed(self) -> list[Due]:
        """What is due, which is so no more."""
        due, self._due = self._due, []
        return due


def _stops(cuts: Sequence[int], size: int, waiting: int) -> list[int]:
    """Up to which ranks the records of a block go into a portion each: to the `cuts`, where looks are due,
    and to where a portion is full, in which `waiting` records are already; the last is the block's `size`.
    """
    stops, start = list[int](), 0
    for cut in [*cuts, size]:
        stops += [*range(start + PORTION - waiting, cut, PORTION), cut]
        start, waiting = cut, 0
    return stops
