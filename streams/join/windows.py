"""Open panes: for each (model, start, part) the cells of its series, each cell a set of sums that only ever
add up.

A cell is what `schemas.records.Pane` is a snapshot of. Nothing here knows of requests, clicks or Kafka.
"""

from collections.abc import Iterator
from typing import NamedTuple

from schemas.records import BUCKETS, Pane

SEGMENT_VALUES = 100
"""Beyond so many values of one segment in a pane, the rest are counted together."""

OTHER = "other"


class Series(NamedTuple):
    """Which series of a model's pane. `generation` is -1 where the predictions name none; `segment` is empty
    for all of them.
    """

    version: str
    arm: str
    generation: int = -1
    segment: str = ""
    segment_value: str = ""


class Cell:
    """The sums of one series in one pane. Bucketed cells keep each bucketed sum per user bucket too."""

    __slots__ = ("bucket_sums", "changed", "click_delay", "features", "latency", "sums")

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.latency: dict[int, int] = {}
        self.click_delay: dict[int, int] = {}
        self.features: dict[str, list[int]] = {}
        self.bucket_sums: dict[str, list[float]] = {}
        self.changed = True

    def add(self, name: str, value: float) -> None:
        """Adds to a sum that has no buckets."""
        self.sums[name] = self.sums.get(name, 0) + value
        self.changed = True

    def add_bucketed(self, name: str, value: float, bucket: int) -> None:
        """Adds to a sum and to its bucket."""
        self.sums[name] = self.sums.get(name, 0) + value
        buckets = self.bucket_sums.get(name)
        if buckets is None:
            buckets = self.bucket_sums[name] = [0] * BUCKETS
        buckets[bucket] += value
        self.changed = True

    def add_feature(self, name: str, bin_: int, bins: int, count: int) -> None:
        """Adds to a bin of a feature's distribution, which has `bins` of them."""
        counts = self.features.get(name)
        if counts is None:
            counts = self.features[name] = [0] * bins
        counts[bin_] += count
        self.changed = True


class Window:
    """One pane of one model, as one source partition sees it."""

    __slots__ = ("cells", "deadline", "due", "end", "model", "part", "segment_values", "start")

    def __init__(self, model: str, start: int, end: int, part: int, deadline: int) -> None:
        self.model = model
        self.start = start
        self.end = end
        self.part = part
        self.deadline = deadline
        self.due = 0
        self.cells: dict[Series, Cell] = {}
        self.segment_values: dict[str, set[str]] = {}

    def cell(self, series: Series) -> Cell:
        """The cell of a series; beyond `SEGMENT_VALUES` values of a segment, that of the others."""
        cell = self.cells.get(series)
        if cell is None:
            if series.segment:
                values = self.segment_values.setdefault(series.segment, set())
                if series.segment_value not in values and len(values) >= SEGMENT_VALUES:
                    series = series._replace(segment_value=OTHER)
                values.add(series.segment_value)
            cell = self.cells.setdefault(series, Cell())
        return cell

    def snapshots(self, partition: int, snapshot: int) -> Iterator[Pane]:
        """A record for each cell that changed since it was last asked, which then counts as unchanged."""
        for series, cell in self.cells.items():
            if cell.changed:
                cell.changed = False
                yield self._snapshot(series, cell, partition, snapshot)

    def retractions(self, partition: int, snapshot: int) -> Iterator[Pane]:
        """A record for each cell that says it is void."""
        for series in self.cells:
            yield self._snapshot(series, Cell(), partition, snapshot, retracted=True)

    def _snapshot(
        self, series: Series, cell: Cell, partition: int, snapshot: int, *, retracted: bool = False
    ) -> Pane:
        filled = cell.bucket_sums.get("predictions", ())
        buckets = [bucket for bucket, count in enumerate(filled) if count]
        return Pane(
            model=self.model,
            version=series.version,
            arm=series.arm,
            segment=series.segment,
            segment_value=series.segment_value,
            start=self.start,
            end=self.end,
            generation=series.generation,
            partition=partition,
            part=self.part,
            snapshot=snapshot,
            deadline=self.deadline,
            retracted=retracted,
            sums={name: value for name, value in cell.sums.items() if value or name.startswith("hits@")},
            latency={bin_: count for bin_, count in cell.latency.items() if count},
            click_delay={bin_: count for bin_, count in cell.click_delay.items() if count},
            features={name: counts for name, counts in cell.features.items() if any(counts)},
            buckets=buckets,
            bucket_sums={
                name: [sums[bucket] for bucket in buckets]
                for name, sums in cell.bucket_sums.items()
                if any(sums)
            },
        )
