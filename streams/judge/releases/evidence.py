"""What a running release is decided from: sums by user bucket of both versions, stratum by stratum, from the
panes that count.

Left out are panes in which not all workers were of one generation. What can change no more is folded into
running sums, oldest first, so that a look costs the same however old the release is, and a successor needs
the sums and the panes that are not folded. Sums are added up in the order of the panes' time whatever was
folded when, so findings are the same to the last bit.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from schemas.policies import ReleasePolicy
from schemas.records import BUCKETS
from streams.judge.facts.panes import Cell, Series, Window
from streams.judge.releases import packing
from streams.judge.releases.checkpoint import Cells, Folded
from streams.judge.releases.release import Span
from streams.judge.statistics import compare, feedback, srm
from streams.judge.statistics.compare import Coverage, Finding, Hypothesis, Ratio, State, Stratum
from streams.judge.statistics.feedback import Quiet
from streams.metrics import tallies
from streams.metrics.tallies import Floats

NOTHING = -(1 << 62)
"""Before all event times."""


SHARED = "shared"
"""A sum that no pane holds: predictions, but for windows in which an arm was out, which is no mismatch of the
ratio, but want of data.
"""
OUT = 100.0
"""An arm was out where it ought to have so many predictions, and has none."""


class Role(IntEnum):
    """Whose sums."""

    JUDGED = 0
    REFERENCE = 1


class Results(NamedTuple):
    """What all tests of a policy say at one look, and whether the arms share the users as they ought to.
    `missing`: what of the feedback has stopped coming, in words.
    """

    guardrails: tuple[Finding, ...]
    success: Finding | None
    sample_ratio: Finding | None = None
    missing: str | None = None


Place = tuple[int, Role]
"""A stratum (`release.Span.stratum`), and whose sums there."""


class Tally:
    """Sums of some windows."""

    def __init__(self) -> None:
        self.coverage: Coverage | None = None
        self._bucketed: dict[Place, dict[str, Floats]] = {}
        self._plain: dict[str, float] = {}

    def copy(self, names: Collection[str]) -> "Tally":
        """Of the sums called `names` one that can be added to without a trace in this one."""
        other = Tally()
        other.coverage = self.coverage
        other._bucketed = {
            place: {name: sums[name].copy() for name in names if name in sums}
            for place, sums in self._bucketed.items()
        }
        other._plain = {name: self._plain[name] for name in names if name in self._plain}
        return other

    def extend(self, window: Window) -> None:
        """Notes that a window is in."""
        first, last, number = self.coverage or (window.start, window.end, 0)
        self.coverage = Coverage(min(first, window.start), max(last, window.end), number + 1)

    def add(self, place: Place, name: str, bucketed: Floats | None, plain: float) -> None:
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
        metric = hypothesis.metric
        strata = [self.stratum(each, metric.numerator, metric.denominator) for each in self.strata()]
        return hypothesis.look(strata)._replace(panes=self.coverage)

    def strata(self) -> list[int]:
        """The numbers of the strata that there are sums of."""
        return sorted({stratum for stratum, _ in self._bucketed})

    def stratum(self, number: int, numerator: Sequence[str], denominator: Sequence[str]) -> Stratum:
        """Both versions' ratios of the sums that are named, of those named together the sum."""
        judged, reference = (
            Ratio(self._total((number, role), numerator), self._total((number, role), denominator))
            for role in Role
        )
        return Stratum(judged, reference)

    def cells(self) -> Iterable[tuple[Place, dict[str, Floats]]]:
        """The sums by user bucket, by place."""
        return sorted(self._bucketed.items())

    @property
    def plain(self) -> dict[str, float]:
        """The sums by name, over all places."""
        return dict(self._plain)

    @classmethod
    def recall(
        cls, coverage: Coverage, plain: dict[str, float], cells: Iterable[tuple[Place, dict[str, Floats]]]
    ) -> "Tally":
        """One that was taken apart."""
        tally = cls()
        tally.coverage, tally._plain, tally._bucketed = coverage, plain, dict(cells)
        return tally

    def whole(self, role: Role, name: str) -> float:
        """The sum of all of a version's users."""
        return sum(
            float(sums[name].sum())
            for (_, whose), sums in self._bucketed.items()
            if whose is role and name in sums
        )

    def _total(self, place: Place, names: Sequence[str]) -> Floats:
        sums = self._bucketed.get(place, {})
        return sum((sums[name] for name in names if name in sums), np.zeros(BUCKETS))


class Evidence:
    """The evidence about one release of `judged` against `reference`. `through`: all panes that start before
    this event time (ms) are folded, or will never be.
    """

    def __init__(self, judged: str, reference: str) -> None:
        self.through = NOTHING
        self._judged, self._reference = judged, reference
        self._roles = {judged: Role.JUDGED, reference: Role.REFERENCE}
        self._folded = Tally()
        self._quiet: Mapping[str, Quiet] = {}
        self._kept: Folded | None = None

    @classmethod
    def recall(cls, folded: Folded) -> "Evidence":
        """What a predecessor has folded. Raises ValueError where it cannot be read."""
        evidence = cls(folded.judged, folded.reference)
        arrays = iter(packing.unpack(folded.arrays, sum(len(cell.names) for cell in folded.cells)))
        cells = [
            ((cell.stratum, Role(cell.role)), {name: next(arrays) for name in cell.names})
            for cell in folded.cells
        ]
        if folded.panes:
            evidence._folded = Tally.recall(
                Coverage(folded.first, folded.last, folded.panes), dict(folded.plain), cells
            )
        evidence.through, evidence._quiet = folded.through, folded.quiet
        return evidence

    def skip(self, before: int) -> None:
        """Panes that start before this event time (ms) shall not count any more, but for what is folded."""
        self.through = max(self.through, before)

    def keep(self, started: int) -> Folded:
        """What is folded of the release that started then, for a successor to `recall`."""
        if self._kept is None or (self._kept.through, self._kept.started) != (self.through, started):
            cells = list(self._folded.cells())
            coverage = self._folded.coverage or Coverage(0, 0, 0)
            self._kept = Folded(
                started=started,
                judged=self._judged,
                reference=self._reference,
                through=self.through,
                first=coverage.first,
                last=coverage.last,
                panes=coverage.number,
                plain=self._folded.plain,
                cells=tuple(
                    Cells(stratum, int(role), tuple(sorted(sums))) for (stratum, role), sums in cells
                ),
                arrays=packing.pack([sums[name] for _, sums in cells for name in sorted(sums)]),
                quiet=dict(self._quiet),
            )
        return self._kept

    def look(
        self,
        policy: ReleasePolicy,
        windows: Collection[Window],
        spans: Sequence[Span],
        mature: float,
        until: float = math.inf,
    ) -> Results:
        """Tests everything that the policy asks for. `mature`: metrics that wait for feedback count in
        windows that end by then (ms). `until` is `fold`'s.

        Guardrails count unfinal windows too, for a rollback never waits, but those on metrics of final panes;
        success rests on final ones only.
        """
        self.fold(windows, spans, mature, until)
        windows = self._open(windows)
        guardrails, success = compare.guardrails(policy), compare.success(policy)
        tests = guardrails if success is None else (*guardrails, success)
        told = {name: None for test in tests if (name := feedback.telling(test.metric)) is not None}
        names = frozenset(
            {name for test in tests for name in test.metric.sums} | {*told, SHARED, feedback.PREDICTIONS}
        )

        def tested(tests: Sequence[Hypothesis], tally: Tally) -> dict[Hypothesis, Finding]:
            return {test: tally.test(test) for test in tests}

        def gathered(base: Tally, windows: Sequence[Window]) -> Tally:
            return self._gather(base, windows, spans, names)

        ripe = [window for window in windows if window.end <= mature]
        mature_ones = gathered(self._folded, ripe)
        everything = gathered(mature_ones, [window for window in windows if window.end > mature])
        found = tested([test for test in guardrails if not test.metric.feedback], everything)
        waiting = [test for test in guardrails if test.metric.feedback]
        found |= tested([test for test in waiting if not test.metric.final], mature_ones)
        final = gathered(self._folded, [window for window in ripe if window.final])
        found |= tested([test for test in waiting if test.metric.final], final)
        if success is not None and success.metric.feedback:
            found |= tested([success], final)
        elif success is not None:
            found |= tested([success], gathered(self._folded, [window for window in windows if window.final]))
        promotes = success is not None and found[success].state is State.PROVEN
        patience = 0 if promotes else int(policy.no_data)  # what would pass is looked at more closely
        return Results(
            tuple(found[test] for test in guardrails),
            None if success is None else found[success],
            self._sample_ratio(everything, spans),
            self._missing(tuple(told), mature_ones, ripe, spans, patience),
        )

    def _missing(
        self,
        names: Sequence[str],
        tally: Tally,
        ripe: Sequence[Window],
        spans: Sequence[Span],
        patience: int,
    ) -> str | None:
        """What of the feedback that the tests wait for, `names`, has stopped coming; `ripe` are the mature
        windows that are not folded, and in `tally`.
        """
        panes = (self._heard(window, spans) for window in reversed(ripe))
        quiet = feedback.before(self._quiet, names, (pane for pane in panes if pane is not None))
        until = ripe[-1].end if ripe else self.through
        return feedback.missing(quiet, lambda name: tally.whole(Role.REFERENCE, name), until, patience)

    def _heard(self, window: Window, spans: Sequence[Span]) -> feedback.Pane | None:
        """What the reference has in a window; None where that does not count."""
        if _changing(window, spans):
            return None
        cells = [
            cell.sums
            for series, cell in window.cells.items()
            if (place := self._place(series, window, spans)) is not None and place[1] is Role.REFERENCE
        ]
        return feedback.Pane(window.start, window.end, tallies.add(cells))

    def _sample_ratio(self, tally: Tally, spans: Sequence[Span]) -> Finding:
        shares = {span.stratum: self._share(span) for span in spans}
        strata = tally.strata()
        predictions = [tally.stratum(each, (SHARED,), (SHARED,)) for each in strata]
        found = srm.look(predictions, [shares.get(each) for each in strata])
        return found._replace(panes=tally.coverage)

    def _share(self, span: Span) -> float | None:
        """What the judged version ought to have of the predictions."""
        if span.weight is None or self._roles.get(span.stable) is not Role.JUDGED:
            return span.weight
        return 1 - span.weight

    def fold(
        self, windows: Collection[Window], spans: Sequence[Span], mature: float, until: float = math.inf
    ) -> None:
        """Takes in for good the final windows that end by `mature` and `until`, the oldest first, up to one
        that has to wait; they may be forgotten then.
        """
        for window in self._open(windows):
            ripe = window.final and window.end <= min(mature, until)
            if not (ripe and _decided(window, spans)):
                return
            window.folded = True
            self._add(self._folded, window, spans, None)
            pane = self._heard(window, spans)
            self._quiet = self._quiet if pane is None else feedback.after(self._quiet, pane)
            self.through = max(self.through, window.end)

    def _open(self, windows: Collection[Window]) -> list[Window]:
        """The windows that are not folded, by their time. One that comes when its time has been folded tells
        of late records alone.
        """
        for window in windows:
            window.folded = window.folded or window.start < self.through
        return sorted(
            (window for window in windows if not window.folded), key=lambda window: (window.start, window.end)
        )

    def _gather(
        self, base: Tally, windows: Sequence[Window], spans: Sequence[Span], names: frozenset[str]
    ) -> Tally:
        """The sums called `names` of `base` and of the windows."""
        tally = base.copy(names)
        for window in windows:
            self._add(tally, window, spans, names)
        return tally

    def _add(self, tally: Tally, window: Window, spans: Sequence[Span], names: frozenset[str] | None) -> None:
        if _changing(window, spans):
            return
        places = ((self._place(series, window, spans), series) for series in sorted(window.cells))
        cells = [(place, window.cells[series]) for place, series in places if place is not None]
        whole = not self._out(cells, spans)
        for place, cell in cells:
            for name in cell.sums if names is None else names:
                tally.add(place, name, cell.bucketed.get(name), cell.sums.get(name, 0.0))
            if whole:
                name = srm.PREDICTIONS
                tally.add(place, SHARED, cell.bucketed.get(name), cell.sums.get(name, 0.0))
        if any(cell.sums for _, cell in cells):
            tally.extend(window)

    def _out(self, cells: Sequence[tuple[Place, Cell]], spans: Sequence[Span]) -> bool:
        """Whether one of the arms has no predictions in a window in which it ought to have many."""
        found = dict.fromkeys(Role, 0.0)
        for (_, role), cell in cells:
            found[role] += cell.sums.get(srm.PREDICTIONS, 0.0)
        stratum = next((stratum for (stratum, _), _ in cells), None)
        share = next((self._share(span) for span in spans if span.stratum == stratum), None)
        if share is None or not 0 < share < 1:
            return False
        judged, reference = found[Role.JUDGED], found[Role.REFERENCE]
        if judged == 0:
            return reference * share / (1 - share) >= OUT
        return reference == 0 and judged * (1 - share) / share >= OUT

    def _place(self, series: Series, window: Window, spans: Sequence[Span]) -> Place | None:
        role = self._roles.get(series.version)
        if role is None or series.segment or series.arm == "shadow":
            return None
        if series.generation >= 0:
            named = [span for span in spans if span.generation == series.generation]
            return (named[0].stratum, role) if named else None
        before = [span for span in spans if span.ts <= window.start]
        if not before:
            return None
        span = before[-1]
        fits = series.version == (span.stable if series.arm == "stable" else span.candidate)
        return (span.stratum, role) if fits else None


def _changing(window: Window, spans: Sequence[Span]) -> bool:
    """Whether not all workers were of one generation in the window, as far as is known."""
    return any(
        window.end > span.ts and (span.settled is None or window.start < span.settled) for span in spans
    )


def _decided(window: Window, spans: Sequence[Span]) -> bool:
    """Whether it is known for good which generation the window's workers were of."""
    return all(span.settled is not None or span.ts >= window.end for span in spans)
