"""What the judge holds of `metrics.panes`: of each key the highest snapshot, added up over source
partitions, and how far those are.

One `Panes` for each model, one `Clocks` for all. What is made of the sums is `rules.py`'s and
`evidence.py`'s business.
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator, Mapping
from heapq import heappop, heappush
from typing import NamedTuple

import msgspec

from schemas.records import DAY, LARGEST, YEAR_2000, Pane, PaneRecord, Progress
from streams.metrics import tallies
from streams.metrics.tallies import Floats, Tally

LONGEST = 3_600_000
"""No pane is longer (ms)."""


class Series(NamedTuple):
    """Whose tallies: `generation` is -1 where the predictions named none, `segment` is empty for all of them
    together.
    """

    version: str
    arm: str
    generation: int
    segment: str
    segment_value: str


class Snapshot(NamedTuple):
    """What is kept of one source's pane."""

    number: int
    tally: Tally


class Cell:
    """One series in one window, over all sources. What it answers is cached until a snapshot comes."""

    __slots__ = ("_bucketed", "_sources", "_sums")

    def __init__(self) -> None:
        self._sources: dict[tuple[int, int], Snapshot] = {}
        self._sums: dict[str, float] | None = None
        self._bucketed: dict[str, Floats] | None = None

    def take(self, source: tuple[int, int], snapshot: Snapshot) -> Snapshot | None:
        """Keeps the higher one of a source, and answers the other: the new one itself where it came too
        late, None where it is the first.
        """
        held = self._sources.get(source)
        if held is not None and held.number >= snapshot.number:
            return snapshot
        self._sources[source] = snapshot
        self._sums = self._bucketed = None
        return held

    @property
    def tallies(self) -> Iterator[Tally]:
        """What each source tallied; they add up, in the order of the sources."""
        return (self._sources[source].tally for source in sorted(self._sources))

    @property
    def sums(self) -> Mapping[str, float]:
        """All sums by name; an absent one is 0."""
        if self._sums is None:
            self._sums = tallies.add(tally.sums for tally in self.tallies)
        return self._sums

    @property
    def bucketed(self) -> Mapping[str, Floats]:
        """The sums by user bucket, each of shape (`BUCKETS`,); an absent one is all zeros."""
        if self._bucketed is None:
            self._bucketed = tallies.add_arrays(tally.bucketed for tally in self.tallies)
        return self._bucketed

    @property
    def click_delay(self) -> Mapping[int, int]:
        """The merged histogram of clicks' delays in ms."""
        return tallies.add(tally.click_delay for tally in self.tallies)


class Window:
    """All series of one model in one pane. `final` once all sources have passed its deadline; `counted` once
    there is more than the count of records that came too late for it. `derived`: what `derived.py` has made
    of it, void once a snapshot comes; `stamp`: how many came.
    """

    __slots__ = ("cells", "counted", "deadline", "derived", "end", "final", "folded", "stamp", "start")

    def __init__(self, start: int, end: int, deadline: int) -> None:
        self.start = start
        self.end = end
        self.deadline = deadline
        self.cells: dict[Series, Cell] = {}
        self.derived: dict[object, object] = {}
        self.stamp = 0
        self.final = False
        self.folded = False
        self.counted = False


class Panes:
    """The windows of one model."""

    def __init__(self) -> None:
        self._windows: dict[tuple[int, int], Window] = {}
        self._open: dict[tuple[int, int], Window] = {}
        self._order: list[tuple[int, int]] = []
        self._unfinal: int | None = None
        """The start of the oldest open window, once it is asked for; `LARGEST` where there is none."""
        self._deadlines: list[tuple[int, int, int]] = []
        """A heap of the open windows' deadlines, starts and ends."""

    def take(self, pane: Pane, tally: Tally) -> Mapping[str, float]:
        """Takes a snapshot, and what it says; answers by how much it raised each sum: nothing where a higher
        one was there already.
        """
        snapshot = Snapshot(pane.snapshot, tally)
        place = (pane.start, pane.end)
        window = self._windows.get(place)
        if window is None:
            window = self._windows[place] = self._open[place] = Window(pane.start, pane.end, pane.deadline)
            heappush(self._deadlines, (pane.deadline, *place))
            insort(self._order, place)
            self._unfinal = None
        if not window.counted and not pane.part:
            window.counted = True
            self._unfinal = None
        series = Series(pane.version, pane.arm, pane.generation, pane.segment, pane.segment_value)
        cell = window.cells.setdefault(series, Cell())
        other = cell.take((pane.partition, pane.part), snapshot)
        if other is snapshot:
            return {}
        window.derived.clear()
        window.stamp += 1
        before = other.tally.sums if other is not None else {}
        return {name: value - before.get(name, 0.0) for name, value in snapshot.tally.sums.items()}

    def finish(self, time: int) -> list[Window]:
        """Marks the windows with a deadline before `time`; answers those newly final, by their time."""
        finished = []
        if self._deadlines and self._deadlines[0][0] < time:
            self._unfinal = None
        while self._deadlines and self._deadlines[0][0] < time:
            _, start, end = heappop(self._deadlines)
            finished.append(self._open.pop((start, end)))
        for window in finished:
            window.final = True
        return sorted(finished, key=lambda window: window.start)

    @property
    def unfinal(self) -> int | None:
        """The start (ms) of the oldest window that is counted and not final."""
        if self._unfinal is None:
            starts = (window.start for window in self._open.values() if window.counted)
            self._unfinal = min(starts, default=LARGEST)
        return None if self._unfinal == LARGEST else self._unfinal

    def between(self, start: int, end: int) -> Iterator[Window]:
        """The windows that lie in the half-open time, in its order."""
        first = bisect_left(self._order, (start, start))
        for index in range(first, bisect_left(self._order, (end, end))):
            window = self._windows[self._order[index]]
            if window.end <= end:
                yield window

    def unfinal_between(self, start: int, end: int) -> list[Window]:
        """Those of `between` that are not final."""
        places = sorted(place for place in self._open if start <= place[0] and place[1] <= end)
        return [self._open[place] for place in places]

    def forget(self, before: int) -> bool:
        """Drops the windows that end by `before`, but for those that are not final: their clicks' delays are
        still to come. Answers whether there were any.
        """
        older = self._order[: bisect_left(self._order, (before, before))]
        gone = {place for place in older if place[1] <= before and self._windows[place].final}
        if gone:
            self._order = [place for place in self._order if place not in gone]
            for place in gone:
                del self._windows[place]
        return bool(gone)

    def all(self) -> Collection[Window]:
        """All windows that are held, in no order."""
        return self._windows.values()


def check(record: PaneRecord, timestamp: int) -> None:
    """Raises ValueError for a record of `metrics.panes` that cannot be: from later than a day after its Kafka
    timestamp (ms), of a pane that no policy shapes, or one that is final before it is over.
    """
    for field, at in _times(record):
        if at > timestamp + DAY:
            raise ValueError(
                f"{field}: found {at}, expected at most a day after the Kafka timestamp {timestamp}"
            )
    if not isinstance(record, Pane):
        return
    if not 0 < record.end - record.start <= LONGEST:
        raise ValueError(
            f"end: found {record.end}, expected a time after the start {record.start}, by an hour at most"
        )
    if record.deadline < record.end:
        raise ValueError(f"deadline: found {record.deadline}, expected one from the end {record.end} on")


def _times(record: PaneRecord) -> tuple[tuple[str, int], ...]:
    if isinstance(record, Pane):
        return (("start", record.start),)
    return (("time", record.time), ("clock", record.clock))


class Closed(msgspec.Struct, frozen=True):
    """How far a source partition of the panes is: panes with a deadline before `time` are final, `clock` is
    the highest event time.
    """

    time: int
    clock: int


class Clocks:
    """How far the source partitions are, by the newest word of each."""

    def __init__(self) -> None:
        self._sources: dict[int, Progress] = {}
        self._spoken: dict[int, int] = {}
        self._count = 0
        self.horizon: int | None = None
        """The event time (ms) that all sources with data have reached; None until all have been heard, and
        one has data. A source that has gone idle moves on with its `time`.
        """

    def take(self, progress: Progress, timestamp: int = 0) -> None:
        """Keeps the higher one of a source; `timestamp` is Kafka's (ms)."""
        self._spoken[progress.partition] = max(timestamp, self._spoken.get(progress.partition, 0))
        held = self._sources.get(progress.partition)
        if held is None or held.snapshot < progress.snapshot:
            self._sources[progress.partition] = progress
            self._count = progress.partitions
            if self._complete:
                reached = (max(p.clock, p.time) for p in self._sources.values() if p.clock >= YEAR_2000)
                self.horizon = min(reached, default=None)

    @property
    def spoken(self) -> int | None:
        """The Kafka timestamp (ms) since which every source has been heard; None until all have been."""
        return min(self._spoken.values()) if self._complete else None

    def closed(self) -> dict[int, Closed]:
        """How far each source is."""
        return {number: Closed(told.time, told.clock) for number, told in sorted(self._sources.items())}

    @property
    def time(self) -> int | None:
        """All panes with a deadline before it are final; None until all sources have been heard."""
        return min(progress.time for progress in self._sources.values()) if self._complete else None

    @property
    def _complete(self) -> bool:
        return self._count > 0 and all(partition in self._sources for partition in range(self._count))
