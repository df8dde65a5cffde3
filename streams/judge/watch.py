"""One model's panes as they come: its rules at every pane boundary, the alerts about the pipeline itself,
and what was learned on the way.

Driven by the log alone: snapshots as they are read, boundaries as the sources' clocks pass them, so reading
again finds the same.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from schemas import topics
from schemas.policies import AUTO, Policy
from schemas.records import Alert, Pane
from schemas.timeline import BEGINNING, Timeline
from streams.judge import alerts, rules
from streams.judge.maturity import HOUR, Delays, maturity
from streams.judge.panes import Panes
from streams.judge.rules import Violation


class Notice(NamedTuple):
    """What an alert about the pipeline says."""

    topic: str | None
    summary: str


def _mispartitioned(pane: Pane) -> Notice:
    """The topic follows from what its records say of themselves: feedback no model, requests no version."""
    answered = topics.PREDICTIONS if pane.version else topics.REQUESTS
    topic = (answered if pane.model else topics.FEEDBACK).name
    return Notice(
        topic,
        f"Records of {topic} came in another partition than their request_id's, or without a key: their "
        "producers need the setting partitioner=murmur2_random and the request_id as key. The records were "
        "re-published to the right partition.",
    )


def _incomplete(_pane: Pane) -> Notice:
    return Notice(
        None, "Panes could not be kept whole: retention overtook the join stage, or memory ran out."
    )


PIPELINE: Mapping[str, Callable[[Pane], Notice]] = {
    "mispartitioned": _mispartitioned,
    "incomplete": _incomplete,
}
"""Counts that are alerts whenever they grow, and what is said then."""
QUIET = 60_000
"""Such an alert is resolved when its count has not grown for so long (ms, event time)."""
CATCH_UP = 10_000
"""After a gap in event time, at most so many boundaries are made up for."""


class Growth:
    """A count of `PIPELINE` that grew: its alert, and the event time when it did last."""

    def __init__(self, alert: Alert, seen: int) -> None:
        self.alert = alert
        self.seen = seen


class Watch:
    """One model. `floor`: the event time (ms) from which on its panes are known whole."""

    def __init__(self, model: str, timeline: Timeline, floor: int, delays: Delays) -> None:
        self.model = model
        self.panes = Panes()
        self.delays = delays
        self._timeline = timeline
        self._floor = floor
        self._boundary: int | None = None
        self._hour = BEGINNING
        self._maturity = 0
        self._violations: dict[str, Violation] = {}
        self._growing: dict[Notice, Growth] = {}

    def take(self, pane: Pane, horizon: int | None) -> tuple[Mapping[str, float], list[Alert]]:
        """Takes a snapshot; answers by how much it raised each sum, and alerts. Raises ValueError where it
        contradicts itself.
        """
        raised = self.panes.take(pane)
        if self._boundary is None:
            self._boundary = max(pane.start, self._floor)
        found = []
        for name in PIPELINE:
            if raised.get(name, 0.0) > 0:
                found += self._grow(name, pane, horizon)
        return raised, found

    def doubt(self, before: int) -> None:
        """Panes that start before this event time (ms) are not known whole."""
        self._floor = max(self._floor, before)

    def expect(self) -> None:
        """Evaluates rules from `floor` on even if no pane ever comes."""
        if self._boundary is None and self._floor > BEGINNING:
            self._boundary = self._floor

    def advance(self, time: int, horizon: int | None) -> list[Alert]:
        """Lets the clocks be at `time` (final before) and `horizon` (event time reached)."""
        for window in self.panes.finish(time):
            self.delays.add(window)
        if horizon is None:
            return []
        found = self._quieten(horizon)
        while self._boundary is not None:
            policy = self._timeline.at(self.model, self._boundary)
            boundary = policy.pane_start(self._boundary) + policy.pane
            if boundary > horizon:
                break
            if horizon - boundary > CATCH_UP * policy.pane:
                boundary = policy.pane_start(horizon - CATCH_UP * policy.pane)
            self._boundary = boundary
            found += self._evaluate(policy, boundary)
        return found

    def needed(self, horizon: int) -> int:
        """The event time (ms) from which on a successor must know panes to find what was found here."""
        policy = self._timeline.at(self.model, horizon)
        marks = [horizon, *(growth.alert.starts_at for growth in self._growing.values())]
        marks += [violation.since - policy.pane for violation in self._violations.values()]
        return policy.pane_start(min(marks)) - self._reach(policy)

    def forget(self, before: int) -> None:
        """Drops final panes that end by `before` (ms) and that no rule's window can need."""
        if self._boundary is not None:
            policy = self._timeline.at(self.model, self._boundary)
            self.panes.forget(min(before, self._boundary - self._reach(policy)))

    def _reach(self, policy: Policy) -> int:
        mature = int(policy.attribution.window if policy.maturity is AUTO else policy.maturity)
        return max((rules.reach(rule, policy, mature) for rule in policy.rules), default=0)

    def _evaluate(self, policy: Policy, boundary: int) -> list[Alert]:
        found = self._retire(policy, boundary)
        mature = self._refreshed(policy, boundary)
        for rule in policy.rules:
            if boundary - rules.reach(rule, policy, mature) < self._floor:
                continue
            reading = rules.read(rule, policy, self.panes, boundary, mature)
            violation, changed = rules.advance(self.model, rule, self._violations.get(rule.name), reading)
            found += changed
            if violation is None:
                self._violations.pop(rule.name, None)
            else:
                self._violations[rule.name] = violation
        return found

    def _retire(self, policy: Policy, boundary: int) -> list[Alert]:
        """Resolves what a policy that is no longer in force has fired."""
        gone = self._violations.keys() - {rule.name for rule in policy.rules}
        fired = [self._violations.pop(name).alert for name in sorted(gone)]
        return [alerts.resolved(alert, boundary) for alert in fired if alert is not None]

    def _refreshed(self, policy: Policy, time: int) -> int:
        """The maturity that rules go by; where clicks decide it, found anew every hour of event time."""
        if policy.maturity is not AUTO:
            return int(policy.maturity)
        if time // HOUR != self._hour:
            self._hour = time // HOUR
            self._maturity = maturity(policy, self.delays)
        return self._maturity

    def _grow(self, name: str, pane: Pane, horizon: int | None) -> list[Alert]:
        seen = max(pane.end, horizon or 0)
        notice = PIPELINE[name](pane)
        growth = self._growing.get(notice)
        if growth is not None:
            growth.seen = seen
            return []
        alert = alerts.firing(
            self.model,
            name,
            pane.start,
            severity="warning",
            labels={"metric": name} | ({"topic": notice.topic} if notice.topic else {}),
            value=pane.sums[name],
            threshold=0.0,
            summary=notice.summary,
        )
        self._growing[notice] = Growth(alert, seen)
        return [alert]

    def _quieten(self, horizon: int) -> list[Alert]:
        quiet = [notice for notice, growth in self._growing.items() if horizon > growth.seen + QUIET]
        return [alerts.resolved(self._growing.pop(notice).alert, horizon) for notice in quiet]
