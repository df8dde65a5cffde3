"""What a metric is over a time, for one model at one boundary: from the panes that are held, and for longer
windows from sums that are remembered. Asked the same again at that boundary, it is not added up again.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from math import fsum
from typing import NamedTuple

from schemas import policies
from schemas.policies import Baseline, Policy
from schemas.timeline import BEGINNING
from streams.judge.facts.panes import Panes, Window
from streams.judge.rules import derived, running
from streams.judge.rules.baseline import Usual
from streams.judge.rules.derived import Counts, Derived
from streams.judge.rules.drift import Distance, Drift
from streams.judge.rules.memory import Grid, Memory
from streams.judge.rules.running import Bins, Buckets, Features, Sums
from streams.judge.rules.scope import Scope
from streams.judge.rules.stable import Arm
from streams.metrics import catalogue, drift, evaluate, interval, tallies
from streams.metrics.catalogue import SECONDS, Binned, Quantile, Ratio
from streams.metrics.drift import METHODS, METRICS, RATES, OfFeature
from streams.metrics.tallies import Tally

Place = tuple[Scope, int, int]
"""Whose, and the half-open event time (ms)."""


class Subject(NamedTuple):
    """What a rule is about: a metric, written out, of a scope; of one feature (or watched metric) where it is
    one that each has for itself.
    """

    metric: str
    scope: Scope
    feature: str | None = None

    @property
    def found(self) -> catalogue.Metric | OfFeature | None:
        """The metric; None where it is a series of `metrics.samples`."""
        return _found(self.metric)

    @property
    def of_feature(self) -> bool:
        """Whether it is something that each feature has for itself."""
        return self.metric in METRICS or (self.metric in RATES and self.feature is not None)


@cache
def _found(name: str) -> catalogue.Metric | OfFeature | None:
    return METRICS.get(name) or catalogue.find(name)


class Value(NamedTuple):
    """A metric over a time. `value` is None where nothing can be said; numerator and denominator are those of
    a ratio, `error` its standard error where its interval says one; `worst` is what a drift is of.
    """

    value: float | None
    numerator: float = 0.0
    denominator: float = 0.0
    error: float | None = None
    worst: Distance | None = None


NOTHING = Value(None)
EXACT = 3_600_000
"""Windows up to this long (ms) are remembered pane by pane; longer ones by `COARSE`, and begin there."""
COARSE = 600_000


def unfinal(policy: Policy) -> int:
    """How long before now (ms) the oldest pane starts that is not final yet, while all sources keep up."""
    return policy.pane + policy.attribution.window + policy.attribution.lateness


def ledger_step(subject: Subject, length: int, policy: Policy) -> int | None:
    """How fine (ms) the sums of final panes are that a window of `length` ms is read from; None where it is
    read from panes that are held: short ones, and metrics that are no sums.
    """
    if subject.of_feature or not isinstance(subject.found, Ratio) or length <= unfinal(policy):
        return None
    return int(policy.pane) if length <= EXACT else math.lcm(policy.pane, COARSE)


class Ledger(NamedTuple):
    """Sums of final panes by time, and what of a window they are."""

    grid: Grid
    sums: Derived[tuple[float, ...]]

    def enter(self, window: Window) -> None:
        """Adds a window that has become final; one that was in already, by a predecessor's word, is not added
        again.
        """
        if window.start >= self.grid.through:
            self.grid.add(window.start, self.sums.of(window))


class Reader:
    """One model's panes and memory, read at one boundary after the other."""

    def __init__(self, panes: Panes, drift: Drift, memory: Memory) -> None:
        self._panes = panes
        self._drift = drift
        self.memory = memory
        self.ledgers: dict[tuple[Subject, int], Ledger] = {}
        """By their step (ms)."""
        self.usuals: dict[tuple[str, Baseline], tuple[int, Usual | None]] = {}
        """By series, what is usual until the next reading, and the number of that."""
        self._policy = policies.default("")
        self._steps: dict[tuple[Subject, int], Ledger | None] = {}
        self._running: dict[tuple[tuple[str, ...], Scope, int], Sums] = {}
        self._buckets: dict[tuple[tuple[str, ...], Scope, int], Buckets] = {}
        self._bins: dict[tuple[Scope, int], Bins] = {}
        self._features: dict[tuple[Scope, int], Features] = {}
        """Totals that slide on, by the windows' length (ms)."""
        self._windows: dict[tuple[int, int], list[Window]] = {}
        self._open: dict[int, list[Window]] = {}
        """Those that are not final, by the end of the time that they lie in (ms)."""
        self._sums: dict[tuple[tuple[str, ...], Place], list[float]] = {}
        self._values: dict[tuple[Subject, int, int], Value] = {}
        self._counts: dict[Place, Mapping[str, Counts]] = {}

    def clear(self) -> None:
        """Another policy is in force: the ledgers are made anew."""
        self.ledgers.clear()
        self.usuals.clear()
        self._steps.clear()
        self._running.clear()
        self._buckets.clear()
        self._bins.clear()
        self._features.clear()

    def begin(self, policy: Policy) -> None:
        """Panes may have changed: what was found is forgotten. `policy`: the one in force now."""
        if policy is not self._policy:
            self._policy = policy
            self._steps.clear()
        self._windows.clear()
        self._open.clear()
        self._sums.clear()
        self._values.clear()
        self._counts.clear()

    def value(self, subject: Subject, start: int, end: int) -> Value:
        """The metric over the half-open time (ms)."""
        place = (subject, start, end)
        found = self._values.get(place)
        if found is None:
            found = self._values[place] = self._value(subject, start, end)
        return found

    def counts(self, scope: Scope, start: int, end: int) -> Mapping[str, Counts]:
        """By version, the features' counts by bin."""
        place = (scope, start, end)
        found = self._counts.get(place)
        if found is None:
            key = (scope, end - start)
            if key not in self._features:
                self._features[key] = Features(derived.features(scope))
            parts = self._features[key].of(self._between(start, end))
            found = self._counts[place] = {
                version: derived.together(flats) for version, flats in parts.items() if flats
            }
        return found

    def reliability(self, scope: Scope) -> Mapping[int, Sequence[float]]:
        """Scores against their truth in all final panes that are held, as `Pane.reliability`."""
        final = (window for window in self._panes.all() if window.final)
        return tallies.add_lists(derived.reliability(scope).of(window) for window in final)

    def knows(self, subject: Subject, start: int, end: int) -> bool:
        """Whether all of a time is known: windows that are read from panes always are, as `reach` sees to
        it.
        """
        ledger = self._ledger(subject, start, end)
        return ledger is None or ledger.grid.known <= start - start % ledger.grid.step

    def share_known(self, subject: Subject, start: int, end: int) -> float:
        """How much of a time has passed since anything was known."""
        ledger = self._ledger(subject, start, end)
        if ledger is None:
            return 1.0
        since = max(ledger.grid.known, end if ledger.grid.begun is None else ledger.grid.begun, start)
        return min(1.0, max(0.0, (end - since) / (end - start)))

    def arm(self, metric: Ratio, scope: Scope, start: int, end: int) -> Arm:
        """A version's sums, by user bucket too."""
        windows = self._whole(metric.final, start, end)
        numerator, denominator = self._fraction(metric, windows, (scope, start, end))
        key = (metric.sums, scope, end - start)
        if not all(map(running.whole, metric.sums)):  # what is no whole number is added up anew
            totals = Buckets(derived.buckets(metric.sums, scope), len(metric.sums)).of(windows)
        else:
            if key not in self._buckets:
                self._buckets[key] = Buckets(derived.buckets(metric.sums, scope), len(metric.sums))
            totals = self._buckets[key].of(windows)
        return Arm(numerator, denominator, dict(zip(metric.sums, totals, strict=True)))

    def spent(self, subject: Subject, start: int, end: int) -> tuple[float, float]:
        """Numerator and denominator of a ratio."""
        metric = subject.found
        assert isinstance(metric, Ratio), f"{subject.metric} is no ratio"
        ledger = self._ledger(subject, start, end)
        if ledger is None:
            return self._fraction(metric, self._whole(metric.final, start, end), (subject.scope, start, end))
        sums = dict(zip(_kept(metric), self._remembered(ledger, metric, start, end), strict=True))
        return _total(sums, metric.numerator, end - start), _total(sums, metric.denominator, end - start)

    def drifting(self, subject: Subject, start: int, end: int) -> Value:
        """A metric that each feature has for itself: of the one that is named, or the largest of all features
        (and versions, each against its own profile).
        """
        if subject.metric in RATES:
            quality = derived.quality(subject.feature or "", subject.scope)
            counts = [found for window in self._between(start, end) if (found := quality.of(window))]
            totals = [sum(column) for column in zip(*counts, strict=True)]
            return Value(drift.rate(subject.metric, totals)) if totals else NOTHING
        method = METRICS[subject.metric].method
        if method not in METHODS:
            return Value(self._drift.changes(method, subject.scope, subject.feature, start, end))
        live = self.counts(subject.scope, start, end)
        worst = max(self._drift.distances(method, live, subject.feature), default=None)
        return NOTHING if worst is None else Value(worst.value, worst=worst)

    def _value(self, subject: Subject, start: int, end: int) -> Value:
        metric = subject.found
        if subject.of_feature:
            return self.drifting(subject, start, end)
        if isinstance(metric, Ratio):
            numerator, denominator = self.spent(subject, start, end)
            if not metric.denominator:
                return Value(numerator, numerator, 0.0)
            return Value(numerator / denominator if denominator else None, numerator, denominator)
        if isinstance(metric, Quantile):
            key = (subject.scope, end - start)
            if key not in self._bins:
                self._bins[key] = Bins(derived.latency(subject.scope))
            merged = self._bins[key].of(self._between(start, end))
            row = evaluate.evaluate(metric, [Tally(latency=merged)], 0.0)
        elif isinstance(metric, Binned):
            windows = self._whole(True, start, end)
            row = evaluate.evaluate(
                metric, [derived.merged(subject.scope).of(window) for window in windows], 0.0
            )
        else:
            return NOTHING  # a series of `metrics.samples`: `samples.py` reads it
        error = None
        if row.lower is not None and row.upper is not None:
            error = (row.upper - row.lower) / (2 * interval.Z95)
        return Value(row.value, row.numerator or 0.0, row.denominator or 0.0, error)

    def _fraction(self, metric: Ratio, windows: Sequence[Window], place: Place) -> tuple[float, float]:
        scope, start, end = place
        names = _kept(metric)
        found = self._sums.get((names, place))
        if found is None:
            found = self._sums[names, place] = self._added(names, scope, end - start, windows, metric.final)
        sums = dict(zip(names, found or [0.0] * len(names), strict=True))
        return _total(sums, metric.numerator, end - start), _total(sums, metric.denominator, end - start)

    def _added(
        self, names: tuple[str, ...], scope: Scope, length: int, windows: Sequence[Window], final: bool
    ) -> list[float]:
        function = derived.sums(names, scope)
        if final or not all(map(running.whole, names)):
            return [fsum(column) for column in zip(*map(function.of, windows), strict=True)]
        key = (names, scope, length)
        if key not in self._running:
            self._running[key] = Sums(function, len(names))
        return self._running[key].of(windows)

    def _remembered(self, ledger: Ledger, metric: Ratio, start: int, end: int) -> list[float]:
        """Final panes by the ledger, the others as they are."""
        start -= start % ledger.grid.step
        whole = ledger.grid.total(start, end)
        if metric.final:
            return whole
        if end not in self._open:
            self._open[end] = self._panes.unfinal_between(BEGINNING, end)
        since = max(start, ledger.grid.through)
        windows = [window for window in self._open[end] if window.start >= since]
        tail = self._added(_kept(metric), ledger.sums.scope, 0, windows, False)
        return [a + b for a, b in zip(whole, tail, strict=True)] if tail else whole

    def _ledger(self, subject: Subject, start: int, end: int) -> Ledger | None:
        place = (subject, end - start)
        if place not in self._steps:
            step = ledger_step(subject, end - start, self._policy)
            self._steps[place] = None if step is None else self.ledgers.get((subject, step))
        return self._steps[place]

    def _between(self, start: int, end: int) -> list[Window]:
        found = self._windows.get((start, end))
        if found is None:
            found = self._windows[start, end] = list(self._panes.between(start, end))
        return found

    def _whole(self, final: bool, start: int, end: int) -> list[Window]:
        """The windows in the time; only those that are final where the metric is of these."""
        windows = self._between(start, end)
        return [window for window in windows if window.final] if final else windows


def ledger(subject: Subject, grid: Grid) -> Ledger:
    """The ledger of a ratio."""
    metric = subject.found
    assert isinstance(metric, Ratio), f"{subject.metric} is no ratio"
    return Ledger(grid, derived.sums(_kept(metric), subject.scope))


def width(subject: Subject) -> int:
    """How many sums the ledger of a ratio has."""
    metric = subject.found
    assert isinstance(metric, Ratio), f"{subject.metric} is no ratio"
    return len(_kept(metric))


def _kept(metric: Ratio) -> tuple[str, ...]:
    """The sums that panes hold."""
    return tuple(name for name in metric.sums if name != SECONDS)


def _total(sums: Mapping[str, float], names: Sequence[str], length: int) -> float:
    """Of those named together the sum; one named twice counts twice."""
    return fsum(length / 1_000 if name == SECONDS else sums[name] for name in names)
