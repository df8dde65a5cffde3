"""What a model's rules remember beyond the panes that are held: numbers by time, for windows of hours and for
baselines of days, and which alerts fire. All of it stands in `control.rules` too, so that a successor has it
without reading the panes again.

Numbers by time are small: a few floats every ten minutes, or every pane of the last hour.
"""

from array import array
from collections.abc import Iterator, Sequence
from math import isnan, nan

import msgspec
import numpy as np

from schemas.records import Alert, Integer, Name, Record
from schemas.timeline import BEGINNING
from streams.metrics.tallies import Floats

CHUNK = 144
"""Steps in a record: a day of ten minutes each."""


class History(Record, tag_field="kind", tag="history"):
    """`control.rules`, key `model/series/chunk`: `values` by `step` ms from event time `start` on, `width` of
    them a step; null where there was no verdict.

    `known`: from this event time on nothing is missing. `through`: panes that start before it are in.
    """

    model: Name
    series: Name
    about: str
    start: Integer
    step: Integer
    width: Integer
    values: list[float | None]
    known: Integer = BEGINNING
    through: Integer = BEGINNING

    @property
    def key(self) -> str:
        """The record's key."""
        return key(self.model, self.series, self.start // self.step // CHUNK)


class Fire(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule's alert that fires since the boundary `at` (ms), having been violated since the pane that starts
    at `pane`, whose boundary is `since`.
    """

    alert: Alert
    pane: int
    since: int
    at: int
    final: bool = False


class Firing(Record, tag_field="kind", tag="firing"):
    """`control.rules`, key `model/firing`: what fires, by rule, and at which boundary others were resolved
    lately. `begun`: since when (ms) anybody listens.
    """

    model: Name
    fires: dict[str, Fire]
    over: dict[str, int] = msgspec.field(default_factory=dict)
    begun: Integer = BEGINNING

    @property
    def key(self) -> str:
        """The record's key."""
        return f"{self.model}/firing"


Remembered = History | Firing


class Grid:
    """Rows of numbers by time: of each half-open `step` (ms) from the epoch on `width` numbers, `blank` where
    nothing was put.
    """

    def __init__(self, step: int, width: int, blank: float) -> None:
        self.step = step
        self.width = width
        self.known = self.through = BEGINNING
        self.begun: int | None = None
        """When (ms) the first row is that says anything."""
        self._blank = blank
        self._first = 0
        self._values = array("d")
        self._changed: set[int] = set()

    def put(self, time: int, row: Sequence[float]) -> None:
        """Says what the row of `time` (ms) is."""
        place = self._place(time // self.step, row)
        if place is not None:
            for column, value in enumerate(row):
                old = self._values[place + column]
                if value != old and not (isnan(value) and isnan(old)):
                    self._values[place + column] = value
                    self._changed.add(time // self.step // CHUNK)

    def add(self, time: int, row: Sequence[float]) -> None:
        """Adds to the row of `time` (ms)."""
        place = self._place(time // self.step, row)
        if place is not None and any(row):
            self._changed.add(time // self.step // CHUNK)
            for column, value in enumerate(row):
                self._values[place + column] += value

    def settle(self, through: int) -> None:
        """Panes that start before `through` (ms) are in, and none of them comes again; the next record is to
        say so, even where there was nothing to add.
        """
        if through > self.through:
            self.through = through
            self._place(through // self.step, ())
            self._changed.add(through // self.step // CHUNK)

    def rows(self, start: int, end: int) -> Floats:
        """The rows from number `start` to `end`, shape (end − start, width)."""
        found = np.full((max(end - start, 0), self.width), self._blank)
        last = self._first + len(self._values) // self.width
        low, high = max(start, self._first), min(end, last)
        if low < high:
            held = self._values[(low - self._first) * self.width : (high - self._first) * self.width]
            found[low - start : high - start] = np.array(held).reshape(-1, self.width)
        return found

    def says(self, time: int) -> bool:
        """Whether there are numbers in the row of `time` (ms)."""
        row = self.rows(time // self.step, time // self.step + 1)
        return bool(np.isfinite(row).all())

    def total(self, start: int, end: int) -> list[float]:
        """The sum of the rows that begin from `start` to `end` (ms, half-open), by column."""
        last = self._first + len(self._values) // self.width
        low, high = max(-(-start // self.step), self._first), min(-(-end // self.step), last)
        if low >= high:
            return [0.0] * self.width
        held = self._values[(low - self._first) * self.width : (high - self._first) * self.width]
        totals: list[float] = np.array(held).reshape(-1, self.width).sum(axis=0).tolist()
        return totals

    def trim(self, before: int) -> range:
        """Forgets the rows that end by `before` (ms), a chunk at a time; answers which chunks."""
        old = self._first // CHUNK
        if not self._values or before // self.step // CHUNK <= old:
            return range(0)
        new = before // self.step // CHUNK
        del self._values[: (new - old) * CHUNK * self.width]
        self._first = new * CHUNK
        self.known = max(self.known, self._first * self.step)
        self._changed = {chunk for chunk in self._changed if chunk >= new}
        return range(old, new)

    @property
    def chunks(self) -> range:
        """The chunks that it has rows of."""
        last = self._first + len(self._values) // self.width
        return range(self._first // CHUNK, -(-last // CHUNK))

    def news(self, model: str, series: str, about: str) -> Iterator[History]:
        """The chunks that have changed since this was last asked."""
        for chunk in sorted(self._changed):
            values = self.rows(chunk * CHUNK, (chunk + 1) * CHUNK).reshape(-1).tolist()
            while values and (values[-1] == self._blank or isnan(values[-1])):
                values.pop()
            yield History(
                model=model,
                series=series,
                about=about,
                start=chunk * CHUNK * self.step,
                step=self.step,
                width=self.width,
                values=[None if isnan(value) else value for value in values],
                known=self.known,
                through=self.through,
            )
        self._changed.clear()

    def recall(self, record: History) -> None:
        """Takes a predecessor's chunk; those of one series in the order in which they were written."""
        if (record.step, record.width) != (self.step, self.width):
            return
        values = [nan if value is None else value for value in record.values]
        values += [self._blank] * (-len(values) % self.width)
        for number in range(len(values) // self.width):
            row = values[number * self.width : (number + 1) * self.width]
            self.put(record.start + number * self.step, row)
        self.known = max(self.known, record.known)
        self.through = max(self.through, record.through)
        self._changed.discard(record.start // self.step // CHUNK)

    def _place(self, number: int, row: Sequence[float]) -> int | None:
        """Where a row's numbers are; None for one before the first chunk that is still held."""
        if any(not isnan(value) and value != self._blank for value in row):
            self.begun = min(number * self.step, self.begun or number * self.step)
        if not self._values:
            self._first = number // CHUNK * CHUNK
        if number < self._first:
            return None
        missing = (number - self._first + 1) * self.width - len(self._values)
        if missing > 0:
            self._values.extend([self._blank] * missing)
        return (number - self._first) * self.width


class Memory:
    """The grids of one model, by series."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.grids: dict[str, Grid] = {}
        self._about: dict[str, str] = {}
        self._recalled: dict[str, list[History]] = {}
        self._gone: list[str] = []

    def recall(self, record: History) -> None:
        """What a predecessor wrote; before anything is asked."""
        self._recalled.setdefault(record.series, []).append(record)

    def grid(self, series: str, about: str, make: Grid) -> tuple[Grid, bool]:
        """The grid of a series, `make` where there is none yet, filled with what a predecessor wrote; and
        whether it is new.
        """
        grid = self.grids.get(series)
        if grid is not None:
            return grid, False
        self.grids[series] = make
        self._about[series] = about
        for record in sorted(self._recalled.pop(series, ()), key=lambda record: record.start):
            make.recall(record)
        return make, True

    def keep(self, series: set[str]) -> None:
        """Drops all others, those that a predecessor had too."""
        for gone in self.grids.keys() - series:
            self._gone += [key(self.model, gone, chunk) for chunk in self.grids[gone].chunks]
            del self.grids[gone], self._about[gone]
        for unclaimed in self._recalled.values():
            self._gone += [record.key for record in unclaimed]
        self._recalled.clear()

    def trim(self, series: str, before: int) -> None:
        """Forgets the rows of a series that end by `before` (ms)."""
        self._gone += [key(self.model, series, chunk) for chunk in self.grids[series].trim(before)]

    def news(self) -> list[tuple[str, History | None]]:
        """The records that have changed since this was last asked, by key; None for those that are gone."""
        gone, self._gone = self._gone, []
        changed = (
            record
            for series, grid in self.grids.items()
            for record in grid.news(self.model, series, self._about[series])
        )
        return [*((each, None) for each in gone), *((record.key, record) for record in changed)]


def key(model: str, series: str, chunk: int) -> str:
    """The key of a series' chunk."""
    return f"{model}/{series}/{chunk}"
