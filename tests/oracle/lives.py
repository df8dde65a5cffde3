"""A join's lives over logs: what is read in which batches and order, when it emits, commits and dies.

Plays the part of the stage and the broker around a pure `Join`: nothing is read twice in one life, a new life
starts where the last commit says, and all that was emitted stays.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from schemas.records import Pane
from schemas.timeline import BEGINNING, Timeline
from schemas.topics import EVENTS, Topic
from streams.columns import Records
from streams.join.control import Control
from streams.join.core import Join
from streams.join.ledger import Safe
from streams.join.references import References
from streams.join.snapshots import Snapshots
from tests.oracle.log import Logs, Raw

END = 1 << 60
"""A time that is past everything."""


@dataclass(frozen=True)
class Read:
    """The next `count` records of a topic, as one batch."""

    topic: Topic
    count: int


Move = Read | Literal["emit", "commit", "crash"]


@dataclass(frozen=True)
class Committed:
    """What the broker keeps for the next owner."""

    starts: Mapping[Topic, Safe]
    time: int


FRESH = Committed({topic: Safe(0, BEGINNING) for topic in EVENTS}, BEGINNING)


@dataclass(frozen=True)
class Round:
    """What was emitted at once: the time that all topics had passed, and whether all was read again that a
    predecessor had read."""

    reached: int
    caught_up: bool
    told: Snapshots
    panes: list[Pane]


class Life:
    """One owner of a source partition, from a commit on. `ends` are the offsets it must have read before it
    may emit open panes."""

    def __init__(
        self,
        logs: Mapping[Topic, Sequence[Raw]],
        partition: int,
        partitions: int,
        timeline: Timeline,
        profiles: References,
        committed: Committed,
        ends: Mapping[Topic, int],
        number: int,
    ) -> None:
        self.join = Join(partition, partitions, Control(timeline, profiles), committed.starts, committed.time)
        self.ends = ends
        self.left = {t: [raw for raw in logs[t] if raw.offset >= committed.starts[t].offset] for t in EVENTS}
        self.positions = {topic: committed.starts[topic].offset for topic in EVENTS}
        self.committable = committed
        self.rounds: list[Round] = []
        self._snapshot = number << 22

    @property
    def emitted(self) -> list[Pane]:
        """All that was emitted."""
        return [pane for round_ in self.rounds for pane in round_.panes]

    def read(self, topic: Topic, count: int) -> None:
        """Reads a batch of at most `count` records, if any are left."""
        batch, self.left[topic] = self.left[topic][:count], self.left[topic][count:]
        if not batch:
            return
        self.positions[topic] = batch[-1].offset + 1
        self.join.read(topic, Records.of(batch))

    def emit(self, reached: int | None = None) -> None:
        """Passes the time that all three clocks have passed (or `reached`), emits, and notes what could be
        committed then."""
        clocks = [self.join.clock(topic) for topic in EVENTS]
        self.join.advance(min(clocks) if reached is None else reached)
        self._snapshot += 1
        caught_up = all(self.positions[topic] >= end for topic, end in self.ends.items())
        told = self.join.tell(self._snapshot, END if caught_up else None)
        self.rounds.append(Round(self.join.reached, caught_up, told, list(told.panes())))
        starts = {topic: self.join.safe(topic) for topic in EVENTS}
        self.committable = Committed(starts, self.join.time)

    def finish(self) -> None:
        """Reads what is left, in turns, and closes all panes."""
        while any(self.left.values()):
            for topic in EVENTS:
                self.read(topic, 7)
            self.emit()
        self.emit(END)


def play(
    logs: Logs,
    partition: int,
    partitions: int,
    timeline: Timeline,
    moves: Iterable[Move] = (),
    profiles: References | None = None,
) -> Iterator[Life]:
    """The lives of one source partition's owners: each crash ends one, and the last closes all panes."""
    of_partition = {topic: logs[topic].get(partition, ()) for topic in EVENTS}
    committed, ends, number = FRESH, dict.fromkeys(EVENTS, 0), 1

    def born() -> Life:
        return Life(
            of_partition, partition, partitions, timeline, profiles or References(), committed, ends, number
        )

    life = born()
    for move in moves:
        if isinstance(move, Read):
            life.read(move.topic, move.count)
        elif move == "emit":
            life.emit()
        elif move == "commit":
            committed = life.committable
        else:
            yield life
            ends = {topic: max(ends[topic], life.positions[topic]) for topic in EVENTS}
            number += 1
            life = born()
    life.finish()
    yield life


def emitted(
    logs: Logs,
    partitions: int,
    timeline: Timeline,
    moves: Sequence[Move] = (),
    profiles: References | None = None,
) -> list[Pane]:
    """All that all lives of all source partitions emitted."""
    return [
        pane
        for partition in range(partitions)
        for life in play(logs, partition, partitions, timeline, moves, profiles)
        for pane in life.emitted
    ]
