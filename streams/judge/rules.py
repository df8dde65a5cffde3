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
from streams.judge.panes import Cell, Panes, Series, Window, total
from streams.metrics import catalogue, histogram
from streams.metrics.catalogue import Metric, Quantile


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
    look at mature panes.
    """
    metric = catalogue.find(rule.metric)
    if not (isinstance(metric, Metric) and metric.feedback):
        return 0
    return -(-maturity // policy.pane) * policy.pane


def reach(rule: Rule, policy: Policy, maturity: int) -> int:
    """How long before a boundary (ms) panes must be known for a rule to be evaluated at it."""
    return delay(rule, policy, maturity) + rule.window


def read(rule: Rule, policy: Policy, panes: Panes, boundary: int, maturity: int) -> Reading:
    """The rule's value over its window that ends at `boundary`, or `delay` before it."""
    end = boundary - delay(rule, policy, maturity)
    cells = list(_cells(rule, panes.between(end - rule.window, end)))
    metric = catalogue.find(rule.metric)
    value: float | None = None
    if isinstance(metric, Quantile):
        value = histogram.quantile(histogram.merge(cell.latency for cell in cells), metric.q)
    elif metric is not None:
        value = total(cells, metric.numerator)
        if metric.denominator == catalogue.SECONDS:
            value /= rule.window / 1_000
        elif metric.denominator is not None:
            denominator = total(cells, metric.denominator)
            value = value / denominator if denominator else None
    return Reading(boundary, end - policy.pane, value)


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


def _cells(rule: Rule, windows: Iterable[Window]) -> Iterable[Cell]:
    segment = next(((key, value) for key, value in rule.where.items() if key not in ROLES), ("", ""))
    return (
        cell for window in windows for series, cell in window.cells.items() if _matches(rule, series, segment)
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
