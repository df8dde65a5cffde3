"""Whether drift matters: features drift all the time, and what counts is whether the model does worse for it.

By what users did, where that can be read already; else by what the model's scores promise (`cbpe.py`).
"""

from enum import Enum
from typing import NamedTuple

from schemas.policies import Baseline, Impact
from schemas.records import SCORE
from streams.judge.rules import cbpe, kinds, scope
from streams.judge.rules.asked import Asked
from streams.judge.rules.baseline import Usual
from streams.judge.rules.drift import Drift
from streams.judge.rules.kinds import AS
from streams.judge.rules.read import Reader, Subject
from streams.metrics import catalogue
from streams.metrics.catalogue import Good


class Level(Enum):
    """How sure it is that the metric is worse by more than is allowed."""

    UNKNOWN = "unknown"
    NONE = "none"
    ESTIMATED = "estimated"
    PROVEN = "proven"


class Verdict(NamedTuple):
    """What drift does to a metric: the value, the limit that it must not pass, and how that is told."""

    level: Level
    value: float | None = None
    limit: float | None = None
    text: str = ""


def look(asked: Asked, reader: Reader, drift: Drift, boundary: int, maturity: int) -> Verdict:
    """The impact at `boundary` (ms), over the rule's window. What users did says more than an estimate,
    unless it says nothing.
    """
    wanted, whose = asked.rule.impact, asked.impact
    assert wanted is not None and whose is not None, "asked of rules with an impact only"
    subject = whose.subject
    seen = _seen(asked, wanted, subject, reader, boundary - whose.delay(maturity), boundary)
    if seen.level is Level.PROVEN:
        return seen
    promised = _promised(asked, wanted, subject, reader, drift, boundary)
    return max(seen, promised, key=lambda verdict: _ORDER[verdict.level])


_ORDER = {Level.UNKNOWN: 0, Level.NONE: 1, Level.ESTIMATED: 2, Level.PROVEN: 3}


def _seen(asked: Asked, wanted: Impact, subject: Subject, reader: Reader, end: int, boundary: int) -> Verdict:
    """By the metric itself: proven where it is beyond the limit by more sigmas than its baseline allows."""
    value = reader.value(subject, end - asked.rule.window, end)
    base = wanted.baseline
    if value.value is None:
        return Verdict(Level.UNKNOWN)
    if base.of == scope.STABLE:
        found = kinds.against(reader, subject, end - asked.rule.window, end)
        if found is None:
            return Verdict(Level.UNKNOWN)
        usual, margin = Usual(found.reference, found.error), found.sigmas(base.sigmas)
    else:
        history = next(r for r in asked.readings if r.subject == subject and r.baseline == base)
        remembered = kinds.usual(history, reader, boundary, value)
        if remembered is None:
            return Verdict(Level.UNKNOWN)
        usual, margin = remembered, base.sigmas * remembered.sigma
    way = _worse(subject)
    limit = usual.reference + way * wanted.worse_by * abs(usual.reference)
    beyond = way * (value.value - limit)
    level = Level.NONE if beyond <= 0 else Level.PROVEN if beyond > margin else Level.ESTIMATED
    return Verdict(level, value.value, limit, _told(wanted, value.value, usual, margin, base))


def _told(wanted: Impact, value: float, usual: Usual, margin: float, base: Baseline) -> str:
    change = f"{value / usual.reference - 1:+.1%}" if usual.reference else "from nothing"
    return (
        f"{wanted.metric} is {value:.6g}, {change} of the {usual.reference:.6g} that are expected "
        f"{AS[base.of]}; {wanted.worse_by:.1%} worse is allowed, within {margin:.3g} it may be chance"
    )


def _promised(
    asked: Asked, wanted: Impact, subject: Subject, reader: Reader, drift: Drift, boundary: int
) -> Verdict:
    """By what scores promise now, against what they promised in training: of the version that does worst."""
    if wanted.metric not in cbpe.METRICS:
        return Verdict(Level.UNKNOWN)
    reliability = reader.reliability(subject.scope)
    found = []
    for version, counts in reader.counts(subject.scope, boundary - asked.rule.window, boundary).items():
        reference, live = drift.scores(version), counts.get(SCORE)
        if reference is None or live is None or len(live) != len(reference.counts):
            continue
        promises = [cbpe.promised(each, reference, reliability) for each in (live, reference.counts)]
        now, before = (
            None if each is None else cbpe.estimate(wanted.metric, each, asked.policy.threshold)
            for each in promises
        )
        if now is not None and before:
            limit = before * (1 + _worse(subject) * wanted.worse_by)
            found.append((_worse(subject) * (now / before - 1), version, now, before, limit))
    if not found:
        return Verdict(Level.UNKNOWN)
    worse, version, now, before, limit = max(found)
    text = (
        f"{wanted.metric} of {version} is to be expected at {now:.6g} by its scores, "
        f"{now / before - 1:+.1%} of the {before:.6g} in training; {wanted.worse_by:.1%} worse is allowed"
    )
    return Verdict(Level.ESTIMATED if worse > wanted.worse_by else Level.NONE, now, limit, text)


def _worse(subject: Subject) -> int:
    """+1 where more of the metric is worse."""
    metric = catalogue.find(subject.metric)
    return 1 if metric is not None and metric.good is Good.LOW else -1
