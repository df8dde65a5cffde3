"""The kinds of rules: what each reads at a boundary, and between which values that is well."""

import math
from typing import NamedTuple

from schemas.policies import Baseline, BurnRate, Duration
from streams.judge.rules import baseline, burn, limits, scope, stable
from streams.judge.rules.asked import Asked, Readings
from streams.judge.rules.baseline import Usual
from streams.judge.rules.limits import Band
from streams.judge.rules.read import NOTHING, Reader, Subject, Value
from streams.judge.rules.rules import Reading
from streams.judge.rules.stable import Against
from streams.metrics.catalogue import SECONDS, Ratio

AS = {
    "moving": "as lately",
    "1d": "as a day before",
    "7d": "as a week before",
    "stable": "as stable has",
}
"""How a baseline's reference is told."""


class Span(NamedTuple):
    """The half-open event time (ms) that is read at a boundary, and the start of its newest pane."""

    boundary: int
    start: int
    end: int
    pane: int


def read(asked: Asked, reader: Reader, boundary: int, maturity: int) -> Reading:
    """What a rule says at `boundary` (ms); `maturity` is in whole panes (ms)."""
    rule = asked.rule
    look = asked.looks[0]
    end = boundary - look.delay(maturity)
    span = Span(boundary, end - look.window, end, end - asked.policy.pane)
    if rule.no_data is not None:
        return _silent(asked, reader, span, rule.no_data)
    if rule.burn_rate is not None:
        return _burning(asked, reader, span, rule.burn_rate)
    value = known(reader, asked.subject, span)
    if rule.baseline is not None:
        return _unusual(asked, reader, span, value, rule.baseline)
    band = limits.fixed(rule)
    notes = {}
    if value.worst is not None:
        notes = {"feature": value.worst.feature, "version": value.worst.version}
    return Reading(boundary, span.pane, value.value, band, notes=notes)


def known(reader: Reader, subject: Subject, span: Span) -> Value:
    """A subject's value; nothing where a part of a long window is not known."""
    return (
        reader.value(subject, span.start, span.end)
        if reader.knows(subject, span.start, span.end)
        else NOTHING
    )


def usual(readings: Readings, reader: Reader, boundary: int, value: Value) -> Usual | None:
    """What is usual of a metric whose readings are remembered: its sigma is at least what chance alone
    gives.
    """
    found = _expected(readings, reader, boundary)
    if found is None:
        return None
    metric = readings.subject.metric
    least = baseline.chance(metric, found.reference, value.numerator, value.denominator, value.error)
    return Usual(found.reference, max(found.sigma, least))


def _expected(readings: Readings, reader: Reader, boundary: int) -> Usual | None:
    """What `baseline.usual` says, once for all boundaries between two readings."""
    grid = reader.memory.grids.get(readings.series)
    if grid is None:
        return None
    step = (boundary - 1) // grid.step
    key = (readings.series, readings.baseline)
    held = reader.usuals.get(key)
    if held is None or held[0] != step:
        fractions = baseline.relative(readings.subject.metric)
        held = (step, baseline.usual(readings.baseline, grid, boundary, fractions=fractions))
        reader.usuals[key] = held
    return held[1]


def against(reader: Reader, subject: Subject, start: int, end: int) -> Against | None:
    """Stable's value in the same time, and how sure the difference is; None where that cannot be said."""
    metric = subject.found
    other = subject._replace(scope=subject.scope.stable)
    if isinstance(metric, Ratio):
        return stable.against(
            metric,
            reader.arm(metric, subject.scope, start, end),
            reader.arm(metric, other.scope, start, end),
        )
    judged, reference = reader.value(subject, start, end), reader.value(other, start, end)
    if reference.value is None or judged.error is None or reference.error is None:
        return None
    return Against(reference.value, math.hypot(judged.error, reference.error))


def _unusual(asked: Asked, reader: Reader, span: Span, value: Value, base: Baseline) -> Reading:
    nothing = Reading(span.boundary, span.pane, None, Band())
    if value.value is None:
        return nothing
    if base.of == scope.STABLE:
        found = against(reader, asked.subject, span.start, span.end)
        if found is None or not found.error > 0:
            return nothing
        usually = Usual(found.reference, found.error)
        wide, calm = (found.sigmas(sigmas) for sigmas in _sigmas(asked, base))
    else:
        history = next(r for r in asked.readings if r.subject == asked.subject and r.baseline == base)
        remembered = usual(history, reader, span.boundary, value)
        if remembered is None:
            return nothing
        usually = remembered
        wide, calm = (sigmas * usually.sigma for sigmas in _sigmas(asked, base))
    band = limits.around(usually, wide, calm, baseline.bad_sides(asked.subject.metric))
    limit = band.violated(value.value)
    if limit is None:
        return Reading(span.boundary, span.pane, value.value, band)
    side = "below" if value.value < limit else "above"
    notes = {"reference": usually.reference, "sigma": usually.sigma, "lower": band.low, "upper": band.high}
    return Reading(
        span.boundary,
        span.pane,
        value.value,
        band,
        text=(
            f"{value.value:.6g} over {asked.rule.window}, {side} {limit:.6g}: {usually.reference:.6g} is "
            f"expected {AS[base.of]}, with a sigma of {usually.sigma:.3g}, {base.sigmas:g} of which are "
            "allowed"
        ),
        notes={"baseline": base.of}
        | {name: f"{number:.6g}" for name, number in notes.items() if math.isfinite(number)},
    )


def _sigmas(asked: Asked, base: Baseline) -> tuple[float, float]:
    """How many sigmas are allowed, and within how many it is over."""
    clear = asked.rule.clear
    return base.sigmas, clear if isinstance(clear, float) else math.inf


def _burning(asked: Asked, reader: Reader, span: Span, wanted: BurnRate) -> Reading:
    rates = []
    for window in wanted.windows:
        bad, all_events = reader.spent(asked.subject, span.end - window, span.end)
        share = reader.share_known(asked.subject, span.end - window, span.end)
        rates.append(burn.rate(wanted, burn.Spent(bad, all_events, share)))
    clear = asked.rule.clear if isinstance(asked.rule.clear, float) else math.inf
    value = burn.slowest(rates)
    text = (
        ""
        if value is None
        else (
            f"uses up the error budget of {wanted.objective:g} {value:.3g} times as fast as it may, in each "
            f"of {', '.join(map(str, wanted.windows))}; {wanted.factor:g} times are allowed"
        )
    )
    band = Band(high=wanted.factor, calm_high=clear)
    return Reading(span.boundary, span.pane, value, band, text, burn.notes(wanted, rates))


def _silent(asked: Asked, reader: Reader, span: Span, wanted: Duration) -> Reading:
    """What there must be any of: the denominator, or the count itself."""
    if not reader.knows(asked.subject, span.start, span.end):
        return Reading(span.boundary, span.start, None, limits.SILENT)
    value = reader.value(asked.subject, span.start, span.end)
    metric = asked.subject.found
    if asked.subject.of_feature:
        number = 0.0 if value.value is None else 1.0
    elif isinstance(metric, Ratio) and metric.denominator in ((), (SECONDS,)):
        number = value.numerator
    else:
        number = value.denominator
    text = f"nothing for {wanted}"
    return Reading(span.boundary, span.start, 1.0 if number > 0 else 0.0, limits.SILENT, text)
