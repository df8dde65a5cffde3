"""What rules make of a window, once for all rules that ask the same, and again only when a snapshot has come:
boundaries are many, and most of what they look at has not changed since the last.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, chain
from math import fsum
from typing import Generic, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt

from schemas.records import BUCKETS, QUALITY
from streams.judge.facts.panes import Window
from streams.judge.rules.scope import Scope
from streams.metrics import tallies
from streams.metrics.catalogue import OF_FEATURES
from streams.metrics.tallies import Floats, Tally

Value = TypeVar("Value")
Histogram = Mapping[int, int]
Counts = Mapping[str, Sequence[int]]
"""By feature."""

_PLACES = {OF_FEATURES[name]: place for place, name in enumerate(QUALITY)}


class Derived(NamedTuple, Generic[Value]):
    """A function of a window's cells in a scope; of the same `name` and scope it is the same function."""

    name: str
    scope: Scope
    make: Callable[[Scope, Window], Value]

    def of(self, window: Window) -> Value:
        """Its value, from the last time if nothing has changed since."""
        key = (self.name, self.scope)
        found = window.derived.get(key, self)
        if found is self:
            found = window.derived[key] = self.make(self.scope, window)
        return cast(Value, found)


def sums(names: Sequence[str], scope: Scope) -> Derived[tuple[float, ...]]:
    """Sums by name, as `Pane.sums` and `OF_FEATURES` call them."""

    def make(scope: Scope, window: Window) -> tuple[float, ...]:
        cells = [cell for _, cell in scope.cells(window)]
        return tuple(
            fsum(_of_quality(name, (t for cell in cells for t in cell.tallies)))
            if name in _PLACES
            else fsum(cell.sums.get(name, 0.0) for cell in cells)
            for name in names
        )

    return Derived(f"sums {' '.join(names)}", scope, make)


def latency(scope: Scope) -> Derived[Histogram]:
    """The latencies' histogram."""
    return Derived(
        "latency", scope, lambda scope, window: tallies.add(t.latency for t in _all(scope, window))
    )


def merged(scope: Scope) -> Derived[Tally]:
    """All of it, but for what users' buckets have."""

    def make(scope: Scope, window: Window) -> Tally:
        return tallies.merge(tally._replace(bucketed={}) for tally in _all(scope, window))

    return Derived("merged", scope, make)


class Flat(NamedTuple):
    """Lists by name, in a row: which names, where each ends, and the numbers."""

    names: tuple[str, ...]
    ends: tuple[int, ...]
    numbers: npt.NDArray[np.int64]

    @property
    def counts(self) -> Counts:
        """The same, by name."""
        numbers, starts = self.numbers.tolist(), (0, *self.ends[:-1])
        return {name: numbers[i:j] for name, i, j in zip(self.names, starts, self.ends, strict=True)}


def features(scope: Scope) -> Derived[Mapping[str, Flat]]:
    """By version, the features' counts by bin."""

    def make(scope: Scope, window: Window) -> Mapping[str, Flat]:
        found: dict[str, list[Counts]] = {}
        for series, cell in scope.cells(window):
            found.setdefault(series.version, []).extend(tally.features for tally in cell.tallies)
        return {version: _flat(_together(counts)) for version, counts in found.items()}

    return Derived("features", scope, make)


def together(parts: Sequence[Flat]) -> Counts:
    """All of them, added up."""
    return _together([part.counts for part in parts])


def _flat(counts: Counts) -> Flat:
    numbers = np.fromiter(chain.from_iterable(counts.values()), np.int64)
    return Flat(tuple(counts), tuple(accumulate(map(len, counts.values()))), numbers)


def quality(feature: str, scope: Scope) -> Derived[Sequence[int]]:
    """A feature's `QUALITY` counts; empty where there are none."""

    def make(scope: Scope, window: Window) -> Sequence[int]:
        return _together([_of(tally.quality, feature) for tally in _all(scope, window)]).get(feature, ())

    return Derived(f"quality {feature}", scope, make)


def reliability(scope: Scope) -> Derived[Mapping[int, Sequence[float]]]:
    """Of scores, as `Pane.reliability`."""

    def make(scope: Scope, window: Window) -> Mapping[int, Sequence[float]]:
        return tallies.add_lists(tally.reliability for tally in _all(scope, window))

    return Derived("reliability", scope, make)


def buckets(names: Sequence[str], scope: Scope) -> Derived[Floats]:
    """Sums by name and user bucket, of shape (names, `BUCKETS`); absent ones are zeros."""

    def make(scope: Scope, window: Window) -> Floats:
        found = np.zeros((len(names), BUCKETS))
        for tally in _all(scope, window):
            for place, name in enumerate(names):
                if name in tally.bucketed:
                    found[place] += tally.bucketed[name]
        return found

    return Derived(f"buckets {' '.join(names)}", scope, make)


def _all(scope: Scope, window: Window) -> list[Tally]:
    return [tally for _, cell in scope.cells(window) for tally in cell.tallies]


def _of(counts: Counts, feature: str) -> Counts:
    return {feature: counts[feature]} if feature in counts else {}


def _together(counts: Sequence[Counts]) -> Counts:
    """One alone is as it is."""
    filled = [one for one in counts if one]
    return filled[0] if len(filled) == 1 else tallies.add_lists(filled)


def _of_quality(name: str, several: Iterable[Tally]) -> Iterable[float]:
    place = _PLACES[name]
    return (counts[place] for tally in several for counts in tally.quality.values())
