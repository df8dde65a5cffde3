"""One source partition in time: what the stage does with each round of its output, and a replay at each look.

Pure; who reads, and when, is theirs.
"""

from collections.abc import Iterator, Mapping

from schemas.records import Pane, Progress
from schemas.topics import EVENTS, Topic
from streams.join.core import Join
from streams.join.passage import Passage
from streams.stage import Reading


class Source:
    """A join, and how time passes in its three topics."""

    def __init__(self, join: Join, passage: Passage) -> None:
        self.join = join
        self.passage = passage

    def pass_time(self, readings: Mapping[Topic, Reading], now: int) -> None:
        """Lets the join pass what all three topics have passed at wall time `now` (ms)."""
        self.join.advance(self.passage.reached(self._clocks(), readings, now))

    def snapshots(self, snapshot: int, now: int, *, whole: bool) -> Iterator[Pane]:
        """What has changed and is due: of final panes only, unless all that a predecessor had read is read
        again (`whole`)."""
        return self.join.snapshots(snapshot, now) if whole else self.join.final_snapshots(snapshot)

    def progress(
        self, readings: Mapping[Topic, Reading], number: int, count: int, snapshot: int, *, whole: bool
    ) -> Progress:
        """How far it is, as source partition `number` of `count`. Until all is read again, open panes are
        held back: none is to be taken for all there is."""
        return Progress(
            partition=number,
            partitions=count,
            time=max(self.join.time, self.passage.vacant(self._clocks(), readings)),
            clock=self.join.newest if whole else self.join.time,
            snapshot=snapshot,
        )

    def _clocks(self) -> dict[Topic, int]:
        return {topic: self.join.clock(topic) for topic in EVENTS}
