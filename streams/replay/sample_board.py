"""The rows of the view `metrics` about custom metrics: the samples of `metrics.samples` by panes, as
`streams/storage/samples.py` adds them up.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from schemas.records import Sample
from streams.metrics import samples
from streams.replay.rows import PaneRow, instant
from streams.storage.samples import SETTLED


class Place(NamedTuple):
    """A pane of a model from `start` on, `length` ms long, and whose samples."""

    start: int
    length: int
    model: str
    version: str
    metric: str


class SampleBoard:
    """All models' samples. `length` answers how long a model's panes are (ms); panes that start before
    `since` are not written.
    """

    def __init__(self, length: Callable[[str], int], since: int) -> None:
        self._length = length
        self._since = since
        self._sums: dict[Place, tuple[float, int]] = {}
        self._changed: set[Place] = set()
        self._unsaid: set[Place] = set()

    def take(self, sample: Sample) -> None:
        """Adds a sample to its pane."""
        length = self._length(sample.model)
        start = sample.ts - sample.ts % length
        if start < self._since:
            return
        place = Place(start, length, sample.model, sample.version or "", samples.metric(sample.name))
        total, number = self._sums.get(place, (0.0, 0))
        self._sums[place] = (total + sample.value, number + 1)
        self._changed.add(place)
        self._unsaid.add(place)

    def final(self, time: int) -> Iterator[PaneRow]:
        """The rows of panes that have settled at `time` (ms), in order; again where samples came later."""
        due = [place for place in self._changed if place.start + place.length + SETTLED < time]
        self._changed.difference_update(due)
        self._unsaid.difference_update(due)
        return (self._row(place, final=True) for place in sorted(due))

    def unfinal(self) -> Iterator[PaneRow]:
        """The rows of others that have changed since they were last asked for."""
        due = sorted(self._unsaid)
        self._unsaid.clear()
        return (self._row(place, final=False) for place in due)

    def _row(self, place: Place, *, final: bool) -> PaneRow:
        total, number = self._sums[place]
        return PaneRow(
            pane=instant(place.start),
            seconds=place.length / 1_000,
            model=place.model,
            version=place.version,
            arm="",
            metric=place.metric,
            value=total / number,
            numerator=total,
            denominator=float(number),
            lower=None,
            upper=None,
            final=final,
        )
