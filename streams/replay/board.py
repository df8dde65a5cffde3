"""The rows of the view `metrics`, from snapshots of panes: of each key the newest, added up over source
partitions, parts and generations. A pane's rows are written when it is final, and again, where a record that
came too late for it is counted there afterwards: the last row holds, as in the view.

What the sums say is `streams/metrics/evaluate.py`'s business.
"""

from collections.abc import Iterator
from typing import NamedTuple

from schemas.records import Pane
from streams.metrics import catalogue, evaluate, tallies
from streams.metrics.tallies import Tally
from streams.replay.rows import PaneRow, instant


class Place(NamedTuple):
    """A pane of a model: from `start` to `end` (ms)."""

    start: int
    end: int
    model: str


class Series(NamedTuple):
    """Whose metrics."""

    version: str
    arm: str


Source = tuple[int, int, int]
"""Generation, source partition and part of a snapshot: such snapshots add up."""


class Held:
    """What is held of one pane that was not written yet, or changed since. `deadline`: after that (ms) it is
    final.
    """

    def __init__(self, deadline: int) -> None:
        self.deadline = deadline
        self.series: dict[Series, dict[Source, Tally]] = {}
        self.changed: set[Series] = set()


class Board:
    """All models' panes. `since`: panes that start before this event time (ms) are not written."""

    def __init__(self, since: int) -> None:
        self._since = since
        self._held: dict[Place, Held] = {}
        self._counts: dict[tuple[Place, Series], dict[str, float]] = {}
        """Of what was written: the counts that may go on."""

    def take(self, pane: Pane, tally: Tally) -> None:
        """Takes a snapshot in, and what it says; the join's come in the order of their numbers."""
        if pane.segment or pane.start < self._since:
            return
        place = Place(pane.start, pane.end, pane.model)
        held = self._held.get(place)
        if held is None:
            held = self._held[place] = Held(pane.deadline)
        if not pane.part:
            held.deadline = pane.deadline
        series = Series(pane.version, pane.arm)
        held.series.setdefault(series, {})[pane.generation, pane.partition, pane.part] = tally
        held.changed.add(series)

    def final(self, time: int) -> Iterator[PaneRow]:
        """The rows of the panes whose deadline all sources have passed with `time`, in order; they are
        forgotten, but for some counts.
        """
        for place in sorted(place for place, held in self._held.items() if held.deadline < time):
            held = self._held.pop(place)
            for series in sorted(held.series):
                tally = self._tally(place, series, held)
                counts = {name: tally.sums[name] for name in catalogue.COUNTS if tally.sums.get(name)}
                if counts:
                    self._counts[place, series] = counts
                yield from _rows(place, series, tally, final=True)

    def unfinal(self) -> Iterator[PaneRow]:
        """The rows of open panes that have changed since they were last asked for."""
        for place, held in sorted(self._held.items()):
            for series in sorted(held.changed):
                yield from _rows(place, series, self._tally(place, series, held), final=False)
            held.changed.clear()

    def _tally(self, place: Place, series: Series, held: Held) -> Tally:
        pieces = held.series[series]
        parts = [_without_users(pieces[source]) for source in sorted(pieces)]
        return tallies.merge([*parts, Tally(sums=self._counts.get((place, series), {}))])


def _without_users(tally: Tally) -> Tally:
    """No metric of the view needs the sums by user."""
    return tally._replace(bucketed={})


def _rows(place: Place, series: Series, tally: Tally, *, final: bool) -> Iterator[PaneRow]:
    seconds = (place.end - place.start) / 1_000
    pane = instant(place.start)
    for row in evaluate.rows(tally, seconds):
        yield PaneRow(
            pane=pane,
            seconds=seconds,
            model=place.model,
            version=series.version,
            arm=series.arm,
            metric=row.metric,
            value=row.value,
            numerator=row.numerator,
            denominator=row.denominator,
            lower=row.lower,
            upper=row.upper,
            final=final,
        )
