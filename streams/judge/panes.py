"""What the judge holds of `metrics.panes`: of each key the highest snapshot, added up over source
partitions, and how far those are.

One `Panes` for each model, one `Clocks` for all. What is made of the sums is `rules.py`'s and
`evidence.py`'s business.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.records import BUCKETS, YEAR_2000, Pane, Progress
from streams.metrics import histogram

Floats = npt.NDArray[np.float64]


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
    """What is kept of one source's pane. `buckets` and each of `bucket_sums` have one shape, (filled
    buckets,).
    """

    number: int
    sums: Mapping[str, float]
    latency: Mapping[int, int]
    click_delay: Mapping[int, int]
    buckets: npt.NDArray[np.intp]
    bucket_sums: Mapping[str, Floats]


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
    def sums(self) -> Mapping[str, float]:
        """All sums by name; an absent one is 0."""
        if self._sums is None:
            self._sums = {}
            for snapshot in self._sources.values():
                for name, value in snapshot.sums.items():
                    self._sums[name] = self._sums.get(name, 0.0) + value
        return self._sums

    @property
    def bucketed(self) -> Mapping[str, Floats]:
        """The sums by user bucket, each of shape (`BUCKETS`,); an absent one is all zeros."""
        if self._bucketed is None:
            self._bucketed = {}
            for snapshot in self._sources.values():
                for name, values in snapshot.bucket_sums.items():
                    total = self._bucketed.setdefault(name, np.zeros(BUCKETS))
                    total[snapshot.buckets] += values
        return self._bucketed

    @property
    def latency(self) -> dict[int, int]:
        """The merged histogram of latencies in ms."""
        return histogram.merge(snapshot.latency for snapshot in self._sources.values())

    @property
    def click_delay(self) -> dict[int, int]:
        """The merged histogram of clicks' delays in ms."""
        return histogram.merge(snapshot.click_delay for snapshot in self._sources.values())


class Window:
    """All series of one model in one pane. `final` once all sources have passed its deadline."""

    __slots__ = ("cells", "deadline", "end", "final", "folded", "start")

    def __init__(self, start: int, end: int, deadline: int) -> None:
        self.start = start
        self.end = end
        self.deadline = deadline
        self.cells: dict[Series, Cell] = {}
        self.final = False
        self.folded = False


class Panes:
    """The windows of one model."""

    def __init__(self) -> None:
        self._windows: dict[tuple[int, int], Window] = {}
        self._open: dict[tuple[int, int], Window] = {}

    def take(self, pane: Pane) -> Mapping[str, float]:
        """Takes a snapshot; answers by how much it raised each sum: nothing where a higher one was there
        already.

        Raises ValueError for user buckets that are none, or sums that are not one for each.
        """
        snapshot = _snapshot(pane)
        place = (pane.start, pane.end)
        window = self._windows.get(place)
        if window is None:
            window = self._windows[place] = self._open[place] = Window(pane.start, pane.end, pane.deadline)
        series = Series(pane.version, pane.arm, pane.generation, pane.segment, pane.segment_value)
        cell = window.cells.setdefault(series, Cell())
        other = cell.take((pane.partition, pane.part), snapshot)
        if other is snapshot:
            return {}
        before = other.sums if other is not None else {}
        return {name: value - before.get(name, 0.0) for name, value in snapshot.sums.items()}

    def finish(self, time: int) -> list[Window]:
        """Marks the windows with a deadline before `time`; answers those newly final, by their time."""
        finished = [window for window in self._open.values() if window.deadline < time]
        for window in finished:
            window.final = True
            del self._open[window.start, window.end]
        return sorted(finished, key=lambda window: window.start)

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


def total(cells: Iterable[Cell], name: str) -> float:
    """The sum called `name` over all `cells`."""
    return sum(cell.sums.get(name, 0.0) for cell in cells)


def _snapshot(pane: Pane) -> Snapshot:
    if pane.retracted:
        return Snapshot(pane.snapshot, {}, {}, {}, np.zeros(0, np.intp), {})
    buckets = np.array(pane.buckets, np.intp)
    if len(buckets) and buckets.max() >= BUCKETS:
        raise ValueError(f"buckets: found {buckets.max()}, expected numbers below {BUCKETS}")
    sums = {name: np.array(values, np.float64) for name, values in pane.bucket_sums.items()}
    for name, values in sums.items():
        if len(values) != len(buckets):
            raise ValueError(
                f"bucket_sums.{name}: found {len(values)} values, expected {len(buckets)}, one a bucket"
            )
    return Snapshot(pane.snapshot, pane.sums, pane.latency, pane.click_delay, buckets, sums)
