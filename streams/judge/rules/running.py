"""Totals over windows that slide on: only what has come, changed or gone since the last boundary is added or
taken away. For whole numbers only, so that the total is exact, however it came about. What was made of a
window is held here, and only as long as the window is in the total.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from schemas.records import BUCKETS, QUALITY
from streams.judge.facts.panes import Window
from streams.judge.rules.derived import Derived, Flat, Histogram
from streams.metrics.catalogue import COUNTS, OF_FEATURES
from streams.metrics.tallies import Floats

Value = TypeVar("Value")

WHOLE = frozenset(
    {
        *("predictions", "errors", "slow", "timed", "impressions", "clicks", "conversions", "relevant"),
        *("relevant_predictions", "labelled", "anomalies", "pairs", "positives", "predicted_positives"),
        *("true_positives", "correct", "hits", "places", "hit_predictions"),
        *COUNTS,
        *(OF_FEATURES[name] for name in QUALITY),
    }
)
"""Sums that are counts, without their cut-offs."""


class Held(NamedTuple, Generic[Value]):
    """What a window was when it was added."""

    stamp: int
    value: Value


class Running(Generic[Value]):
    """The total of a derived value over windows; `change(value, sign)` adds it, or takes it away."""

    def __init__(self, derived: Derived[Value], change: Callable[[Value, int], None]) -> None:
        self._derived = derived
        self._change = change
        self._held: dict[Window, Held[Value]] = {}

    def slide(self, windows: Sequence[Window]) -> None:
        """Makes the total that of `windows`."""
        for window in windows:
            held = self._held.get(window)
            if held is None or held.stamp != window.stamp:
                if held is not None:
                    self._change(held.value, -1)
                value = self._derived.make(self._derived.scope, window)
                self._held[window] = Held(window.stamp, value)
                self._change(value, 1)
        if len(self._held) > len(windows):
            for window in self._held.keys() - set(windows):
                self._change(self._held.pop(window).value, -1)


class Sums:
    """Counts by name."""

    def __init__(self, derived: Derived[tuple[float, ...]], width: int) -> None:
        self._totals = [0.0] * width
        self._running = Running(derived, self._change)

    def of(self, windows: Sequence[Window]) -> list[float]:
        """Their totals over the windows."""
        self._running.slide(windows)
        return list(self._totals)

    def _change(self, value: tuple[float, ...], sign: int) -> None:
        for place, number in enumerate(value):
            self._totals[place] += sign * number


class Bins:
    """A histogram."""

    def __init__(self, derived: Derived[Histogram]) -> None:
        self._totals: dict[int, int] = {}
        self._running = Running(derived, self._change)

    def of(self, windows: Sequence[Window]) -> Mapping[int, int]:
        """The histogram of the windows; some bins may be empty."""
        self._running.slide(windows)
        return self._totals

    def _change(self, value: Histogram, sign: int) -> None:
        totals = self._totals
        for place, number in value.items():
            totals[place] = totals.get(place, 0) + sign * number


class Buckets:
    """Counts by name and user bucket."""

    def __init__(self, derived: Derived[Floats], width: int) -> None:
        self._totals = np.zeros((width, BUCKETS))
        self._running = Running(derived, self._change)

    def of(self, windows: Sequence[Window]) -> Floats:
        """Their totals over the windows, of shape (names, `BUCKETS`)."""
        self._running.slide(windows)
        return self._totals

    def _change(self, value: Floats, sign: int) -> None:
        self._totals += sign * value


class Features:
    """Features' counts by bin, by version."""

    def __init__(self, derived: Derived[Mapping[str, Flat]]) -> None:
        self._totals: dict[str, dict[tuple[tuple[str, ...], tuple[int, ...]], npt.NDArray[np.int64]]] = {}
        self._running = Running(derived, self._change)

    def of(self, windows: Sequence[Window]) -> Mapping[str, list[Flat]]:
        """By version, the features' counts: one of each way in which they lay in a row."""
        self._running.slide(windows)
        return {
            version: [Flat(*layout, numbers) for layout, numbers in layouts.items() if numbers.any()]
            for version, layouts in self._totals.items()
        }

    def _change(self, value: Mapping[str, Flat], sign: int) -> None:
        for version, flat in value.items():
            layouts = self._totals.setdefault(version, {})
            layout = (flat.names, flat.ends)
            if layout not in layouts:
                layouts[layout] = np.zeros_like(flat.numbers)
            layouts[layout] += sign * flat.numbers


def whole(name: str) -> bool:
    """Whether a sum is a count."""
    return name.partition("@")[0] in WHOLE
