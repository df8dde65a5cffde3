"""Threshold rules: what a rule's window says at a pane boundary, and when that is an alert.

All of it is a function of the log: a boundary is evaluated once, when all sources' clocks have passed it,
with the panes as they are then, unfinal ones too. Policies, windows and times are arguments; when boundaries
come is `watch.py`'s business.
"""

from collections.abc import Iterable
from typing import NamedTuple

from schemas.policies import Policy, Rule
from schemas.records import Alert
from streams.judge import alerts
from streams.judge.check import ROLES
from streams.judge.drift import Drift, of_feature
from streams.judge.panes import Cell, Panes, Series, Window
from streams.metrics import catalogue, evaluate
from streams.metrics.catalogue import Metric
from streams.metrics.drift import FEATURE, METRICS, OfFeature


class Violation(NamedTuple):
    """A rule that is violated: since the pane that starts at `pane`, whose boundary is `since`; and its
    alert, once it fires.
    """

    pane: int
    since: int
    alert: Alert | None = None


class Reading(NamedTuple):
    """A rule's value at a boundary. `pane` is the start of the newest pane in its window; None without a
    denominator.
    """

    boundary: int
    pane: int
    value: float | None


def delay(rule: Rule, policy: Policy, maturity: int) -> int:
    """How far a rule's window ends before the boundary, in whole panes (ms): metrics that wait for feedback
    look at mature panes, those of final panes at panes whose deadline has passed.
    """
    metric = _metric(rule)
    if metric is None or not metric.feedback:
        return 0
    wait = policy.attribution.window + policy.attribution.lateness if metric.final else maturity
    return -(-wait // policy.pane) * policy.pane


def of_final_panes(rule: Rule) -> bool:
    """Whether its metric is of final panes only: its boundaries come when all deadlines are past."""
    metric = _metric(rule)
    return metric is not None and metric.final


def reach(rule: Rule, policy: Policy, maturity: int) -> int:
    """How long before a boundary (ms) panes must be known for a rule to be evaluated at it."""
    return delay(rule, policy, maturity) + rule.window


def read(rule: Rule, policy: Policy, panes: Panes, drift: Drift, boundary: int, maturity: int) -> Reading:
    """The rule's value over its window that ends at `boundary`, or `delay` before it."""
    end = boundary - delay(rule, policy, maturity)
    if of_feature(rule):
        cells = _matching(rule, panes.between(end - rule.window, end))
        return Reading(boundary, end - policy.pane, drift.value(rule, end - rule.window, end, cells))
    metric = catalogue.find(rule.metric)
    if metric is None:  # a series of `metrics.samples`: `samples.py` reads it
        return Reading(boundary, end - policy.pane, None)
    windows = panes.between(end - rule.window, end)
    matching = _matching(rule, (window for window in windows if window.final or not metric.final))
    tallies = [tally for _, cell in matching for tally in cell.tallies]
    row = evaluate.evaluate(metric, tallies, rule.window / 1_000)
    return Reading(boundary, end - policy.pane, row.value)


def advance(
    model: str, rule: Rule, standing: Violation | None, reading: Reading
) -> tuple[Violation | None, list[Alert]]:
    """The rule after one more boundary, and the alert that fires or is resolved there.

    Without a value there is no verdict: what fires goes on, what was about to does not.
    """
    alert = standing.alert if standing is not None else None
    if reading.value is None:
        return (standing, []) if alert is not None else (None, [])
    limit = _violated(rule, reading.value)
    if alert is not None:
        if limit is not None or not _clear(rule, reading.value):
            return standing, []
        return None, [alerts.resolved(alert, reading.boundary, reading.value)]
    if limit is None:
        return None, []
    standing = standing or Violation(reading.pane, reading.boundary)
    if reading.boundary - standing.since < rule.hold:
        return standing, []
    fired = alerts.firing(
        model,
        rule.name,
        standing.pane,
        severity=rule.severity,
        labels={"metric": rule.metric, **rule.where},
        value=reading.value,
        threshold=limit,
        summary=_summary(rule, reading.value, limit),
    )
    return standing._replace(alert=fired), [fired]


def _metric(rule: Rule) -> Metric | OfFeature | None:
    return catalogue.find(rule.metric) or METRICS.get(rule.metric)


def _matching(rule: Rule, windows: Iterable[Window]) -> Iterable[tuple[Series, Cell]]:
    roles = (*ROLES, FEATURE) if of_feature(rule) else ROLES
    segment = next(((key, value) for key, value in rule.where.items() if key not in roles), ("", ""))
    return (
        (series, cell)
        for window in windows
        for series, cell in window.cells.items()
        if _matches(rule, series, segment)
    )


def _matches(rule: Rule, series: Series, segment: tuple[str, str]) -> bool:
    arm, version = rule.where.get("arm"), rule.where.get("version")
    if (series.segment, series.segment_value) != segment:
        return False
    if version is not None and series.version != version:
        return False
    return series.arm == arm if arm is not None else series.arm != "shadow"


def _violated(rule: Rule, value: float) -> float | None:
    """The limit that `value` is beyond."""
    if rule.above is not None:
        return rule.above if value > rule.above else None
    if rule.below is not None:
        return rule.below if value < rule.below else None
    assert rule.outside is not None, "check.py has seen to it"
    low, high = rule.outside
    return low if value < low else high if value > high else None


def _clear(rule: Rule, value: float) -> bool:
    if rule.clear is None:
        return True
    return value < rule.clear if rule.above is not None else value > rule.clear


def _summary(rule: Rule, value: float, limit: float) -> str:
    side = "below" if value < limit else "above"
    where = "".join(f", {key} {word}" for key, word in rule.where.items())
    return f"{rule.metric}{where}: {value:.6g} over {rule.window}, {side} {limit:g}"
