"""One model's panes as they come: its rules at every pane boundary, the alerts about the pipeline itself,
and what was learned on the way.

Driven by the log alone: snapshots as they are read, boundaries as the sources' clocks pass them, so reading
again finds the same.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from schemas import topics
from schemas.policies import AUTO, Policy, Rule
from schemas.records import Alert, Pane
from schemas.timeline import BEGINNING, Timeline
from streams.judge import alerts, rules
from streams.judge.drift import Drift
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
        None,
        "Panes could not be kept whole: retention overtook the join stage, or its memory ran out; its log "
        "says which. Give the event topics more retention.ms than the join is ever down, or the join more "
        "memory (under [streams] in headgate.toml), more processes, or shorter attribution windows.",
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


class Pace:
    """Rules whose boundaries come together, the last of them (ms; None before the first pane), and what they
    find violated, by rule. `final`: those on metrics of final panes only, whose boundaries come later.
    """

    def __init__(self, *, final: bool) -> None:
        self.final = final
        self.boundary: int | None = None
        self.violations: dict[str, Violation] = {}

    def rules(self, policy: Policy) -> list[Rule]:
        """The policy's rules of this pace."""
        return [rule for rule in policy.rules if rules.of_final_panes(rule) == self.final]


class Watch:
    """One model. `floor`: the event time (ms) from which on its panes are known whole."""

    def __init__(self, model: str, timeline: Timeline, floor: int, delays: Delays, drift: Drift) -> None:
        self.model = model
        self.drift = drift
        self.panes = Panes()
        self.delays = delays
        self._timeline = timeline
        self._floor = floor
        self._paces = (Pace(final=False), Pace(final=True))
        self._hour = BEGINNING
        self._maturity = 0
        self._growing: dict[Notice, Growth] = {}

    def take(self, pane: Pane, horizon: int | None) -> tuple[Mapping[str, float], list[Alert]]:
        """Takes a snapshot; answers by how much it raised each sum, and alerts. Raises ValueError where it
        contradicts itself.
        """
        raised = self.panes.take(pane)
        for pace in self._paces:
            if pace.boundary is None:
                pace.boundary = max(pane.start, self._floor)
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
        for pace in self._paces:
            if pace.boundary is None and self._floor > BEGINNING:
                pace.boundary = self._floor

    def advance(self, time: int, horizon: int | None) -> list[Alert]:
        """Lets the clocks be at `time` (final before) and `horizon` (event time reached)."""
        for window in self.panes.finish(time):
            self.delays.add(window)
            if window.start >= self._floor:
                self.drift.observe(window)
        if horizon is None:
            return []
        found = self._quieten(horizon)
        for pace in self._paces:
            found += self._proceed(pace, min(horizon, time - 1) if pace.final else horizon)
        return found

    def needed(self, horizon: int) -> int:
        """The event time (ms) from which on a successor must know panes to find what was found here."""
        policy = self._timeline.at(self.model, horizon)
        marks = [horizon, *(growth.alert.starts_at for growth in self._growing.values())]
        for pace in self._paces:
            marks += [violation.since - policy.pane for violation in pace.violations.values()]
            if pace.boundary is not None and pace.rules(policy):
                marks.append(pace.boundary)
        oldest = policy.pane_start(min(marks)) - self._reach(policy)
        unfinal = self.panes.unfinal
        return oldest if unfinal is None else min(oldest, unfinal)

    def open_alerts(self) -> int:
        """How many of its rules fire."""
        violations = (violation for pace in self._paces for violation in pace.violations.values())
        return sum(violation.alert is not None for violation in violations)

    def forget(self, before: int) -> None:
        """Drops final panes that end by `before` (ms) and that no rule's window can need."""
        boundaries = [pace.boundary for pace in self._paces if pace.boundary is not None]
        if boundaries:
            oldest = min(boundaries)
            before = min(before, oldest - self._reach(self._timeline.at(self.model, oldest)))
            self.panes.forget(before)
        self.drift.forget(before)

    def _reach(self, policy: Policy) -> int:
        mature = int(policy.attribution.window if policy.maturity is AUTO else policy.maturity)
        return max((rules.reach(rule, policy, mature) for rule in policy.rules), default=0)

    def _proceed(self, pace: Pace, reached: int) -> list[Alert]:
        """Evaluates the rules of one pace at each boundary up to the event time `reached`."""
        found: list[Alert] = []
        while pace.boundary is not None:
            policy = self._timeline.at(self.model, pace.boundary)
            boundary = policy.pane_start(pace.boundary) + policy.pane
            if boundary > reached:
                break
            if reached - boundary > CATCH_UP * policy.pane:
                boundary = policy.pane_start(reached - CATCH_UP * policy.pane)
            pace.boundary = boundary
            found += self._evaluate(pace, policy, boundary)
        return found

    def _evaluate(self, pace: Pace, policy: Policy, boundary: int) -> list[Alert]:
        found = self._retire(pace, policy, boundary)
        mature = 0 if pace.final else self._refreshed(policy, boundary)
        for rule in pace.rules(policy):
            if boundary - rules.reach(rule, policy, mature) < self._floor:
                continue
            reading = rules.read(rule, policy, self.panes, self.drift, boundary, mature)
            violation, changed = rules.advance(self.model, rule, pace.violations.get(rule.name), reading)
            found += changed
            if violation is None:
                pace.violations.pop(rule.name, None)
            else:
                pace.violations[rule.name] = violation
        return found

    def _retire(self, pace: Pace, policy: Policy, boundary: int) -> list[Alert]:
        """Resolves what a policy that is no longer in force has fired."""
        gone = pace.violations.keys() - {rule.name for rule in pace.rules(policy)}
        fired = [pace.violations.pop(name).alert for name in sorted(gone)]
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
