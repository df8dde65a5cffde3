"""What the judge holds of `metrics.panes`: of each key the highest snapshot, added up over source
partitions, and how far those are.

One `Panes` for each model, one `Clocks` for all. What is made of the sums is `rules.py`'s and
`evidence.py`'s business.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from schemas.records import YEAR_2000, Pane, Progress
from streams.metrics import tallies
from streams.metrics.tallies import Floats, Tally


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
        """What each source tallied; they add up."""
        return (snapshot.tally for snapshot in self._sources.values())

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
    there is more than the count of records that came too late for it.
    """

    __slots__ = ("cells", "counted", "deadline", "end", "final", "folded", "start")

    def __init__(self, start: int, end: int, deadline: int) -> None:
        self.start = start
        self.end = end
        self.deadline = deadline
        self.cells: dict[Series, Cell] = {}
        self.final = False
        self.folded = False
        self.counted = False


class Panes:
    """The windows of one model."""

    def __init__(self) -> None:
        self._windows: dict[tuple[int, int], Window] = {}
        self._open: dict[tuple[int, int], Window] = {}

    def take(self, pane: Pane) -> Mapping[str, float]:
        """Takes a snapshot; answers by how much it raised each sum: nothing where a higher one was there
        already.

        Raises ValueError for one that contradicts itself, as `streams.metrics.tallies.of` does.
        """
        snapshot = Snapshot(pane.snapshot, tallies.of(pane))
        place = (pane.start, pane.end)
        window = self._windows.get(place)
        if window is None:
            window = self._windows[place] = self._open[place] = Window(pane.start, pane.end, pane.deadline)
        window.counted = window.counted or not pane.part
        series = Series(pane.version, pane.arm, pane.generation, pane.segment, pane.segment_value)
        cell = window.cells.setdefault(series, Cell())
        other = cell.take((pane.partition, pane.part), snapshot)
        if other is snapshot:
            return {}
        before = other.tally.sums if other is not None else {}
        return {name: value - before.get(name, 0.0) for name, value in snapshot.tally.sums.items()}

    def finish(self, time: int) -> list[Window]:
        """Marks the windows with a deadline before `time`; answers those newly final, by their time."""
        finished = [window for window in self._open.values() if window.deadline < time]
        for window in finished:
            window.final = True
            del self._open[window.start, window.end]
        return sorted(finished, key=lambda window: window.start)

    @property
    def unfinal(self) -> int | None:
        """The start (ms) of the oldest window that is counted and not final."""
        return min((window.start for window in self._open.values() if window.counted), default=None)

    def between(self, start: int, end: int) -> Iterator[Window]:
        """The windows that lie in the half-open time, in no order."""
        return (window for window in self._windows.values() if start <= window.start and window.end <= end)

    def forget(self, before: int) -> None:
        """Drops the windows that end by `before`, but for those that are not final: their clicks' delays are
        still to come.
        """
        for place in [
            place for place, window in self._windows.items() if window.end <= before and window.final
        ]:
            del self._windows[place]

    def all(self) -> Collection[Window]:
        """All windows that are held, in no order."""
        return self._windows.values()


class Clocks:
    """How far the source partitions are, by the newest word of each."""

    def __init__(self) -> None:
        self._sources: dict[int, Progress] = {}
        self._count = 0

    def take(self, progress: Progress) -> None:
        """Keeps the higher one of a source."""
        held = self._sources.get(progress.partition)
        if held is None or held.snapshot < progress.snapshot:
            self._sources[progress.partition] = progress
            self._count = progress.partitions

    @property
    def time(self) -> int | None:
        """All panes with a deadline before it are final; None until all sources have been heard."""
        return min(progress.time for progress in self._sources.values()) if self._complete else None

    @property
    def horizon(self) -> int | None:
        """The event time (ms) that all sources with data have reached; None until all have been heard, and
        one has data.

        A source that has gone idle moves on with its `time`.
        """
        if not self._complete:
            return None
        return min(
            (max(p.clock, p.time) for p in self._sources.values() if p.clock >= YEAR_2000), default=None
        )

    @property
    def _complete(self) -> bool:
        return self._count > 0 and all(partition in self._sources for partition in range(self._count))
