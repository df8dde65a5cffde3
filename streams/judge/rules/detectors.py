"""Change detectors over the metrics of final panes, one after the other: ADWIN and Page-Hinkley
(`changes.py`). Never over events: a pane is one value.

They know no scale of their own, so each value is first put as deviations from what the detector saw in the
beginning. Everything is a function of the panes' own values in the order of their time: fed the same again,
the same fires in the same panes.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from schemas.records import Detection
from streams.judge.rules.changes import Adwin, PageHinkley
from streams.metrics import catalogue
from streams.metrics.catalogue import Adds, Ratio
from streams.metrics.detection import DETECTORS, WATCHED

WARM_UP = 30
"""Values from which a detector takes mean and deviation; before, it says nothing."""
CLIP = 4.0
"""Deviations beyond count as so many: one pane with three impressions is no change."""
BLOCK = 1_000
"""Panes after which a detector is replaced by one that was begun a block later: what it knows is never
older than two blocks, so no more has to be read to rebuild it, and it forgets how things were long ago."""

TOLERANCE, LIMIT = 0.5, 12.0
"""Page-Hinkley's δ and λ, in deviations: a shift by one deviation is noticed after some 25 panes; without
any shift that is about once in half a million (D. Siegmund, "Sequential Analysis", 1985: (e^(2δb) − 2δb −
1)/(2δ²) with b = λ + 1.166), a little more often as mean and deviation are estimates."""
CONFIDENCE = 0.002
"""ADWIN's δ (river's default): it is asked at every pane."""

METHODS: Mapping[str, Callable[[], Adwin | PageHinkley]] = dict(
    zip(DETECTORS, (partial(Adwin, CONFIDENCE), partial(PageHinkley, WARM_UP, TOLERANCE, LIMIT)), strict=True)
)


class Scale(NamedTuple):
    """What is usual: mean and standard deviation, in the metric's unit."""

    mean: float
    deviation: float

    def place(self, value: float) -> float:
        """Where a value lies in the range of ±`CLIP` deviations, from 0 to 1."""
        return 0.5 + max(-CLIP, min(CLIP, (value - self.mean) / self.deviation)) / (2 * CLIP)


class Fraction(NamedTuple):
    """A pane's metric."""

    numerator: float
    denominator: float


class Run:
    """The detectors of one metric, from one pane on."""

    def __init__(self, metric: Ratio) -> None:
        self._metric = metric
        self._first: list[Fraction] = []
        self._scale: Scale | None = None
        self._methods = {name: make() for name, make in METHODS.items()}

    def update(self, fraction: Fraction) -> list[str]:
        """Takes the next pane's value; answers the detectors that notice a change there."""
        if self._scale is None:
            self._first.append(fraction)
            if len(self._first) < WARM_UP:
                return []
            self._scale = usual(self._metric, self._first)
            for one in self._first[:-1]:
                self._feed(self._scale, one)
        self._feed(self._scale, fraction)
        return [name for name, method in self._methods.items() if method.drift_detected]

    def _feed(self, scale: Scale, fraction: Fraction) -> None:
        place = scale.place(fraction.numerator / fraction.denominator)
        self._methods["adwin"].update(place)  # it supposes values from 0 to 1
        self._methods["page_hinkley"].update((place - 0.5) * 2 * CLIP)


class Follower:
    """The detectors of one metric of one series, for ever: `Run`s that relieve each other."""

    def __init__(self, metric: Ratio) -> None:
        self._metric = metric
        self._block: int | None = None
        self._active, self._next = Run(metric), Run(metric)

    def update(self, place: int, fraction: Fraction) -> list[str]:
        """As `Run.update`. `place` numbers the pane, by its time."""
        block = place // BLOCK
        if self._block is not None and block > self._block + 1:
            self._active, self._next = Run(self._metric), Run(self._metric)
        elif self._block is not None and block > self._block:
            self._active, self._next = self._next, Run(self._metric)
        self._block = block
        self._next.update(fraction)
        return self._active.update(fraction)


class Series(NamedTuple):
    """Whose panes, and how long they are (ms): those of another length begin anew."""

    version: str
    arm: str
    length: int


class Detectors:
    """All detectors of one model."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._last: dict[Series, int] = {}
        self._followers: dict[tuple[Series, str], Follower] = {}

    def observe(self, series: Series, start: int, sums: Mapping[str, float]) -> Detection | None:
        """The final pane of a series that starts at `start` (ms). None for one without any of the metrics,
        or that is not after the last: it is known already, or too late.
        """
        if start <= self._last.get(series, start - 1):
            return None
        values = {
            name: fraction for name in WATCHED if (fraction := fraction_of(_metric(name), sums)) is not None
        }
        if not values:
            return None
        detection = Detection(
            model=self._model,
            version=series.version,
            arm=series.arm,
            start=start,
            end=start + series.length,
            values={name: (fraction.numerator, fraction.denominator) for name, fraction in values.items()},
        )
        detection.changed = self.recall(detection)
        return detection

    def recall(self, detection: Detection) -> dict[str, list[str]]:
        """Takes what was seen in a pane; answers the detectors that notice a change, by metric. One that is
        not after the last is known already.
        """
        series = Series(detection.version, detection.arm, detection.end - detection.start)
        if detection.start <= self._last.get(series, detection.start - 1):
            return {}
        self._last[series] = detection.start
        found: dict[str, list[str]] = {}
        for name, value in detection.values.items():
            if name not in WATCHED:
                continue
            key = (series, name)
            follower = self._followers.get(key)
            if follower is None:
                follower = self._followers[key] = Follower(_metric(name))
            changed = follower.update(detection.start // series.length, Fraction(*value))
            if changed:
                found[name] = changed
        return found

    def forget(self, horizon: int) -> None:
        """Drops series without a pane in the last two blocks before `horizon` (ms)."""
        for series in [s for s, last in self._last.items() if last < needed(s.length, horizon)]:
            del self._last[series]
            for name in WATCHED:
                self._followers.pop((series, name), None)

    def needed(self) -> int | None:
        """From which pane's start on (ms) `Detection`s are needed to rebuild what is here; None: there is
        nothing.
        """
        return min((needed(series.length, last) for series, last in self._last.items()), default=None)


def needed(length: int, now: int) -> int:
    """The start (ms) of the first pane that a detector of panes of `length` ms may know at `now`."""
    return (now // length // BLOCK - 1) * BLOCK * length


def fraction_of(metric: Ratio, sums: Mapping[str, float]) -> Fraction | None:
    """A metric of a pane's sums; None where its denominator is 0."""
    numerator, denominator = (
        sum(sums.get(name, 0.0) for name in names) for names in (metric.numerator, metric.denominator)
    )
    return Fraction(numerator, denominator) if denominator else None


def usual(metric: Ratio, fractions: list[Fraction]) -> Scale:
    """Mean and deviation of some panes' values.

    The deviation is at least what chance alone makes of a share (p as if half an event more had come, for
    none may have), and a thousandth of the mean of anything else: where nothing has varied so far, little
    need not be much.
    """
    values = [fraction.numerator / fraction.denominator for fraction in fractions]
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    events = sum(fraction.denominator for fraction in fractions)
    if metric.adds is Adds.EVENTS:
        share = min(1.0, (sum(fraction.numerator for fraction in fractions) + 0.5) / (events + 1.0))
        least = math.sqrt(share * (1 - share) * len(fractions) / events)
    else:
        least = abs(mean) / 1_000
    return Scale(mean, max(deviation, least, 1e-12))


def _metric(name: str) -> Ratio:
    metric = catalogue.find(name)
    assert isinstance(metric, Ratio), f"{name} is no ratio of the catalogue"
    return metric
