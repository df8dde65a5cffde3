"""Rules, whatever they are about: what a reading at a pane boundary makes of how a rule stood, and which
alert fires or is resolved there.

All of it is a function of the log: a boundary is evaluated once, when all sources' clocks have passed it,
with the panes as they are then, unfinal ones too. Readings are `kinds.py`'s and `samples.py`'s, limits
`limits.py`'s; when boundaries come is `watch.py`'s business.
"""

from collections.abc import Mapping
from typing import NamedTuple

from schemas.policies import Rule
from schemas.records import Alert
from streams.judge.facts import alerts
from streams.judge.rules.limits import Band


class Place(NamedTuple):
    """A boundary at which a rule is violated; `pane` is the start of the newest pane in its window."""

    pane: int
    boundary: int


class Violation(NamedTuple):
    """A rule that is violated: since the pane that starts at `pane`, whose boundary is `since`; and its
    alert, once it fires. `votes`: of a rule with m of n panes, what the last n boundaries said.
    """

    pane: int
    since: int
    alert: Alert | None = None
    votes: tuple[Place | None, ...] = ()


class Reading(NamedTuple):
    """A rule's value at a boundary, and where it is well. `pane` is the start of the newest pane in its
    window; the value is None where nothing can be said, without a denominator for one.

    `text`: what an alert says of it, beside the value and the limit. `notes`: its further annotations.
    """

    boundary: int
    pane: int
    value: float | None
    band: Band
    text: str = ""
    notes: Mapping[str, str] = {}


def advance(
    model: str, rule: Rule, standing: Violation | None, reading: Reading
) -> tuple[Violation | None, list[Alert]]:
    """The rule after one more boundary, and the alert that fires or is resolved there.

    Without a value there is no verdict: what fires goes on, what was about to does not; among m of n panes it
    is one that is not violated.
    """
    alert = standing.alert if standing is not None else None
    if standing is not None and alert is not None and reading.value is None:
        return standing._replace(votes=_votes(rule, standing, None)), []
    limit = None if reading.value is None else reading.band.violated(reading.value)
    place = None if limit is None else Place(reading.pane, reading.boundary)
    votes = _votes(rule, standing, place)
    if standing is not None and alert is not None and reading.value is not None:
        holds = _carries_on(rule, votes) if rule.hold.votes else limit is not None
        if holds or not reading.band.calm(reading.value):
            return standing._replace(votes=votes), []
        return None, [alerts.resolved(alert, reading.boundary, reading.value)]
    counted = _begun(standing, place, votes)
    if counted is None or limit is None or reading.value is None:
        return counted, []
    if not (_carried(rule, votes) if rule.hold.votes else reading.boundary - counted.since >= rule.hold):
        return counted, []
    text = _summary(rule, reading, limit)
    fired = alerts.firing(
        model,
        rule.name,
        counted.pane,
        severity=rule.severity,
        labels={"metric": rule.metric, **rule.where, **rule.labels},
        value=reading.value,
        threshold=limit,
        summary=rule.summary or text,
        annotations={
            **({"description": text} if rule.summary else {}),
            **({"runbook_url": rule.runbook} if rule.runbook else {}),
            **reading.notes,
        },
    )
    return counted._replace(alert=fired), [fired]


def vote(rule: Rule, standing: Violation, reading: Reading) -> Violation:
    """A firing rule after a boundary that its alert has seen already: only the votes are new to whoever took
    over.
    """
    violated = reading.value is not None and reading.band.violated(reading.value) is not None
    place = Place(reading.pane, reading.boundary) if violated else None
    return standing._replace(votes=_votes(rule, standing, place))


def _votes(rule: Rule, standing: Violation | None, place: Place | None) -> tuple[Place | None, ...]:
    """The votes of the last boundaries, with one more; none where the rule asks for none."""
    if rule.hold.votes is None:
        return ()
    return (*(standing.votes if standing is not None else ()), place)[-rule.hold.votes.of :]


def _begun(
    standing: Violation | None, place: Place | None, votes: tuple[Place | None, ...]
) -> Violation | None:
    """How a rule stands that does not fire: violated since when."""
    if not votes:
        return None if place is None else standing or Violation(*place)
    first = next((vote for vote in votes if vote is not None), None)
    return None if first is None else Violation(*first, votes=votes)


def _carries_on(rule: Rule, votes: tuple[Place | None, ...]) -> bool:
    """Also while not all votes are known: since it fired, none of those that carried it has been lost."""
    known = rule.hold.votes is not None and len(votes) == rule.hold.votes.of
    return not known or _carried(rule, votes)


def _carried(rule: Rule, votes: tuple[Place | None, ...]) -> bool:
    return rule.hold.votes is not None and len(votes) - votes.count(None) >= rule.hold.votes.at_least


def _summary(rule: Rule, reading: Reading, limit: float) -> str:
    assert reading.value is not None
    side = "below" if reading.value < limit else "above"
    where = "".join(f", {key} {word}" for key, word in rule.where.items())
    text = reading.text or f"{reading.value:.6g} over {rule.window}, {side} {limit:.6g}"
    return f"{rule.metric}{where}: {text}"
