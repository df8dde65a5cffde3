"""What a running release is decided from: sums by user bucket of both versions, generation by generation,
from the panes that count.

Left out are panes in which not all workers were of one generation. What can change no more is folded into
running sums, so that a look costs the same however old the release is.
"""

import math
from collections.abc import Callable, Collection, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from schemas.policies import ReleasePolicy
from schemas.records import BUCKETS
from streams.judge import compare
from streams.judge.compare import Coverage, Finding, Hypothesis, Ratio, State, Stratum
from streams.judge.panes import Series, Window
from streams.judge.release import Span
from streams.metrics.tallies import Floats


class Role(IntEnum):
    """Whose sums."""

    JUDGED = 0
    REFERENCE = 1


class Results(NamedTuple):
    """What all tests of a policy say at one look."""

    guardrails: tuple[Finding, ...]
    success: Finding | None


class Tally:
    """Sums of some windows."""

    def __init__(self) -> None:
        self._coverage: Coverage | None = None
        self._bucketed: dict[tuple[int, Role], dict[str, Floats]] = {}
        self._plain: dict[str, float] = {}

    def copy(self) -> "Tally":
        """One that can be added to without a trace in this one."""
        other = Tally()
        other._coverage = self._coverage
        other._bucketed = {
            place: {name: values.copy() for name, values in sums.items()}
            for place, sums in self._bucketed.items()
        }
        other._plain = dict(self._plain)
        return other

    def extend(self, window: Window) -> None:
        """Notes that a window is in."""
        first, last, number = self._coverage or (window.start, window.end, 0)
        self._coverage = Coverage(min(first, window.start), max(last, window.end), number + 1)

    def add(self, place: tuple[int, Role], name: str, bucketed: Floats | None, plain: float) -> None:
        """Adds one sum of one cell."""
        sums = self._bucketed.setdefault(place, {})
        if bucketed is not None:
            if name in sums:
                sums[name] += bucketed
            else:
                sums[name] = bucketed.copy()
        self._plain[name] = self._plain.get(name, 0.0) + plain

    def test(self, hypothesis: Hypothesis) -> Finding:
        """What the sums say to a hypothesis; `BROKEN` where users' sums are not the whole."""
        for name in hypothesis.metric.sums:
            whole = self._plain.get(name, 0.0)
            parts = sum(float(sums[name].sum()) for sums in self._bucketed.values() if name in sums)
            if not math.isclose(whole, parts, rel_tol=1e-6, abs_tol=1e-6):
                return Finding(hypothesis.text, State.BROKEN, alpha=hypothesis.sequence.alpha)
        generations = sorted({generation for generation, _ in self._bucketed})
        finding = hypothesis.look([self._stratum(generation, hypothesis) for generation in generations])
        return finding._replace(panes=self._coverage)

    def _stratum(self, generation: int, hypothesis: Hypothesis) -> Stratum:
        judged, reference = (self._ratio((generation, role), hypothesis) for role in Role)
        return Stratum(judged, reference)

    def _ratio(self, place: tuple[int, Role], hypothesis: Hypothesis) -> Ratio:
        sums, metric = self._bucketed.get(place, {}), hypothesis.metric

        def total(names: Sequence[str]) -> Floats:
            return sum((sums[name] for name in names if name in sums), np.zeros(BUCKETS))

        return Ratio(total(metric.numerator), total(metric.denominator))


class Evidence:
    """The evidence about one release of `judged` against `reference`."""

    def __init__(self, judged: str, reference: str) -> None:
        self._roles = {judged: Role.JUDGED, reference: Role.REFERENCE}
        self._folded = Tally()

    def look(
        self, policy: ReleasePolicy, windows: Collection[Window], spans: Sequence[Span], mature: float
    ) -> Results:
        """Tests everything that the policy asks for. `mature`: metrics that wait for feedback count in
        windows that end by then (ms).

        Guardrails count unfinal windows too, for a rollback never waits, but those on metrics of final panes;
        success rests on final ones only.
        """
        self._fold(windows, spans, mature)
        guardrails, success = compare.guardrails(policy), compare.success(policy)
        tests = guardrails if success is None else (*guardrails, success)
        names = frozenset(name for test in tests for name in test.metric.sums)

        def ripe(window: Window) -> bool:
            return window.end <= mature

        def settled(window: Window) -> bool:
            return window.final and ripe(window)

        def tested(
            tests: Sequence[Hypothesis], counts: Callable[[Window], bool]
        ) -> dict[Hypothesis, Finding]:
            tally = self._gather(windows, spans, names, counts) if tests else Tally()
            return {test: tally.test(test) for test in tests}

        found = tested([test for test in guardrails if not test.metric.feedback], lambda window: True)
        waiting = [test for test in guardrails if test.metric.feedback]
        found |= tested([test for test in waiting if not test.metric.final], ripe)
        found |= tested([test for test in waiting if test.metric.final], settled)
        if success is None:
            return Results(tuple(found[test] for test in guardrails), None)
        proof = tested([success], settled if success.metric.feedback else lambda window: window.final)
        return Results(tuple(found[test] for test in guardrails), proof[success])

    def _fold(self, windows: Collection[Window], spans: Sequence[Span], mature: float) -> None:
        """Takes in for good the final windows that end by `mature`; they may be forgotten then."""
        for window in windows:
            if window.final and not window.folded and window.end <= mature and _decided(window, spans):
                window.folded = True
                self._add(self._folded, window, spans, None)

    def _gather(
        self,
        windows: Collection[Window],
        spans: Sequence[Span],
        names: frozenset[str],
        counts: Callable[[Window], bool],
    ) -> Tally:
        """The sums called `names` of what was folded and of the other windows that `counts` admits."""
        tally = self._folded.copy()
        for window in windows:
            if not window.folded and counts(window):
                self._add(tally, window, spans, names)
        return tally

    def _add(self, tally: Tally, window: Window, spans: Sequence[Span], names: frozenset[str] | None) -> None:
        if any(
            window.end > span.ts and (span.settled is None or window.start < span.settled) for span in spans
        ):
            return
        tally.extend(window)
        for series, cell in window.cells.items():
            place = self._place(series, window, spans)
            if place is not None:
                for name in cell.sums if names is None else names:
                    tally.add(place, name, cell.bucketed.get(name), cell.sums.get(name, 0.0))

    def _place(self, series: Series, window: Window, spans: Sequence[Span]) -> tuple[int, Role] | None:
        role = self._roles.get(series.version)
        if role is None or series.segment or series.arm == "shadow":
            return None
        if series.generation >= 0:
            known = any(span.generation == series.generation for span in spans)
            return (series.generation, role) if known else None
        before = [span for span in spans if span.ts <= window.start]
        if not before:
            return None
        span = before[-1]
        fits = series.version == (span.stable if series.arm == "stable" else span.candidate)
        return (span.generation, role) if fits else None


def _decided(window: Window, spans: Sequence[Span]) -> bool:
    """Whether it is known for good which generation the window's workers were of."""
    return all(span.settled is not None or span.ts >= window.end for span in spans)
