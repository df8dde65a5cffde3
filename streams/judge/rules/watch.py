"""One model's panes as they come: its rules at every pane boundary, and what was learned on the way.

Driven by the log alone: snapshots as they are read, boundaries as the sources' clocks pass them, so reading
again finds the same.
"""

from collections.abc import Mapping
from math import nan
from typing import NamedTuple
from zlib import crc32

from schemas.policies import AUTO, Duration, Policy
from schemas.records import LARGEST, Alert, Pane
from schemas.timeline import BEGINNING, Timeline
from streams.judge.facts import alerts
from streams.judge.facts.maturity import HOUR, Delays, maturity
from streams.judge.facts.panes import Panes
from streams.judge.rules import asked, impact, kinds, read, rules
from streams.judge.rules.asked import Asked
from streams.judge.rules.drift import Drift
from streams.judge.rules.faults import Faults
from streams.judge.rules.impact import Level, Verdict
from streams.judge.rules.limits import Band
from streams.judge.rules.memory import Fire, Firing, Grid, History, Memory, Remembered
from streams.judge.rules.read import Reader
from streams.judge.rules.rules import Reading, Violation
from streams.metrics.tallies import Tally

CATCH_UP = 10_000
"""After a gap in event time, at most so many boundaries are made up for."""
SAVE = 600_000
"""What rules remember is written so often (ms, event time), and models take turns."""
MOST = 2 * 31 * 86_400_000
"""No rule reaches back so far (ms)."""
PAGE = "/impact"
"""Ends the name under which the page of a rule with an impact is kept."""


class Pace:
    """Rules whose boundaries come together, the last of them (ms; None before the first pane), and what they
    find violated, by rule. `final`: those on metrics of final panes only, whose boundaries come later.
    """

    def __init__(self, *, final: bool) -> None:
        self.final = final
        self.boundary: int | None = None
        self.violations: dict[str, Violation] = {}
        self.policy: Policy | None = None
        self.asked: list[Asked] = []

    def plan(self, policy: Policy) -> bool:
        """Takes the policy that is in force at a boundary; answers whether it is another one."""
        if policy is self.policy:
            return False
        self.policy = policy
        self.asked = [each for each in asked.asks(policy) if each.final == self.final]
        return True

    @property
    def names(self) -> set[str]:
        """Under which violations of these rules are kept."""
        pages = {each.rule.name + PAGE for each in self.asked if each.page is not None}
        return {each.rule.name for each in self.asked} | pages


class Saved(NamedTuple):
    """Up to where what is remembered has been written: the last boundary, and the start of the first window
    that was not final yet (ms).
    """

    boundary: int
    window: int


class Watch:
    """One model. `floor`: the event time (ms) from which on its panes are known whole."""

    def __init__(self, model: str, timeline: Timeline, floor: int, delays: Delays, drift: Drift) -> None:
        self.model = model
        self.drift = drift
        self.panes = Panes()
        self.delays = delays
        self.memory = Memory(model)
        self._reader = Reader(self.panes, drift, self.memory)
        self._timeline = timeline
        self._floor = floor
        self._paces = (Pace(final=False), Pace(final=True))
        self._hour = BEGINNING
        self._maturity = 0
        self._faults = Faults(model)
        self._expected = False
        self._dropped = BEGINNING
        """Panes that end by this event time (ms) may have been forgotten."""
        self._at: dict[str, int] = {}
        """At which boundary an alert of a rule fired or was resolved last."""
        self._begun: int | None = None
        self._told = True
        """What fires is what `firing` has said."""
        self._turn = crc32(model.encode()) % SAVE
        self._due = BEGINNING
        self._time = BEGINNING
        self._reached: tuple[Policy, int] | None = None
        self._asked_to_forget = BEGINNING
        self._wanted: dict[str, int] = {}
        """How far back (ms) each series is needed."""
        self._written: Saved | None = None
        self._handed: Saved | None = None

    def take(self, pane: Pane, tally: Tally, horizon: int | None) -> tuple[Mapping[str, float], list[Alert]]:
        """Takes a snapshot, and what it says; answers by how much it raised each sum, and alerts."""
        raised = self.panes.take(pane, tally)
        for pace in self._paces:
            if pace.boundary is None:
                self._begin(pace, max(pane.start, self._floor))
        return raised, self._faults.take(pane, raised, horizon)

    def doubt(self, before: int) -> None:
        """Panes that start before this event time (ms) are not known whole."""
        self._floor = max(self._floor, before)

    def expect(self) -> None:
        """Evaluates rules even if no pane ever comes: from `floor` on, or from the first time that is
        known.
        """
        self._expected = True
        for pace in self._paces:
            if pace.boundary is None and self._floor > BEGINNING:
                self._begin(pace, self._floor)

    def remember(self, record: Remembered) -> None:
        """What a predecessor wrote; the newest of each key, before anything else."""
        if isinstance(record, History):
            self.memory.recall(record)
            return
        for name, fire in record.fires.items():
            self._at[name] = fire.at
            pace = self._paces[fire.final]
            pace.violations[name] = Violation(fire.pane, fire.since, fire.alert)
        self._at |= record.over
        self._begun = record.begun

    def histories(self) -> list[tuple[str, History | None]]:
        """What has come to be remembered, when it is due. It may be written at any time, once this is asked
        again it counts as written: it is a function of panes alone.
        """
        if self._handed is not None:
            self._written, self._handed = self._handed, None
        boundary = max((pace.boundary or BEGINNING for pace in self._paces), default=BEGINNING)
        if boundary < self._due or not self.memory.grids:
            return []
        self._due = (boundary + self._turn) // SAVE * SAVE + SAVE - self._turn
        settled = self._time - read.unfinal(self._timeline.at(self.model, boundary))
        unfinal = (window.start for window in self.panes.unfinal_between(BEGINNING, boundary))
        self._handed = Saved(
            min(pace.boundary for pace in self._paces if pace.boundary is not None),
            min([boundary, settled, *unfinal]),
        )
        for ledger in self._reader.ledgers.values():
            ledger.grid.settle(self._handed.window)
        for series, span in self._wanted.items():
            self.memory.trim(series, boundary - span)
        return self.memory.news()

    def firing(self) -> Firing | None:
        """Which alerts fire now, if that has changed since this was last asked. To be written together with
        the alerts that were answered until now.
        """
        if self._told:
            return None
        self._told = True
        fires = {
            name: Fire(violation.alert, violation.pane, violation.since, self._at[name], pace.final)
            for pace in self._paces
            for name, violation in pace.violations.items()
            if violation.alert is not None
        }
        over = {name: at for name, at in self._at.items() if name not in fires}
        return Firing(model=self.model, fires=fires, over=over, begun=self._begun or BEGINNING)

    def advance(self, time: int, horizon: int | None) -> list[Alert]:
        """Lets the clocks be at `time` (final before) and `horizon` (event time reached)."""
        self._time = time
        for window in self.panes.finish(time):
            self.delays.add(window)
            if window.start >= self._floor:
                self.drift.observe(window)
                for ledger in self._reader.ledgers.values():
                    ledger.enter(window)
        if horizon is None:
            return []
        if self._expected:
            for pace in self._paces:
                if pace.boundary is None:
                    self._begin(pace, horizon)
        found = self._faults.quieten(horizon)
        for pace in self._paces:
            found += self._proceed(pace, min(horizon, time - 1) if pace.final else horizon)
        return found

    def needed(self, horizon: int) -> int:
        """The event time (ms) from which on a successor must know panes to find what was found here."""
        marks = [horizon, *self._faults.begun]
        for pace in self._paces:
            violations = pace.violations.values()
            marks += [each.since - 1 for each in violations if each.alert is None]
            if pace.boundary is not None and pace.asked and pace.policy is not None:
                most = max(
                    (each.rule.hold.votes.of for each in pace.asked if each.rule.hold.votes), default=0
                )
                marks.append(pace.boundary - most * pace.policy.pane)
        if self.memory.grids and self._written is not None:
            marks.append(self._written.boundary)
        policy = self._timeline.at(self.model, min(marks))
        oldest = policy.pane_start(min(marks)) - self._reach(policy)
        if self._reader.ledgers and self._written is not None:
            oldest = min(oldest, self._written.window)
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
            policy = self._timeline.at(self.model, oldest)
            before = policy.pane_start(min(before, oldest - self._reach(policy)))
            if before <= self._asked_to_forget:
                return
            self._asked_to_forget = before
            if self.panes.forget(before):
                self._dropped = max(self._dropped, before)
        self.drift.forget(before)
        self._at = {
            name: at
            for name, at in self._at.items()
            if at >= before or any(name in pace.violations for pace in self._paces)
        }

    def _reach(self, policy: Policy) -> int:
        """How long before a boundary (ms) panes must be known for all rules of a policy."""
        if self._reached is None or self._reached[0] is not policy:
            longest = int(policy.attribution.window if policy.maturity is AUTO else policy.maturity)
            mature = asked.mature(policy, longest)
            self._reached = policy, max((each.reach(mature) for each in asked.asks(policy)), default=0)
        return self._reached[1]

    def _begin(self, pace: Pace, boundary: int) -> None:
        """The first boundary (ms), before which nobody has listened."""
        pace.boundary = boundary
        self._begun = boundary if self._begun is None else self._begun

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
        if pace.plan(policy):
            self._furnish(boundary)
        found = self._retire(pace, boundary)
        if not pace.asked:
            return found
        self._reader.begin(policy)
        mature = 0 if pace.final else asked.mature(policy, self._refreshed(policy, boundary))
        for each in pace.asked:
            if boundary - self._floor < MOST and boundary - each.reach(mature) < self._floor:
                continue
            reading = kinds.read(each, self._reader, boundary, mature)
            if each.rule.no_data is not None and reading.pane < (self._begun or boundary):
                reading = reading._replace(value=None)  # nobody has listened for so long yet
            name = each.rule.name
            if boundary > self._at.get(name, BEGINNING):
                if each.impact is not None:
                    found += self._gate(pace, each, reading, mature)
                else:
                    now = rules.advance(self.model, each.rule, pace.violations.get(name), reading)
                    found += self._settle(pace, name, *now)
            else:
                self._catch_up(pace, each, reading)
            self._note(each, boundary, mature)
        return found

    def _catch_up(self, pace: Pace, each: Asked, reading: Reading) -> None:
        """What fired after this boundary, by a predecessor's word, needs the votes that it has forgotten."""
        standing = pace.violations.get(each.rule.name)
        if standing is not None and standing.alert is not None:
            pace.violations[each.rule.name] = rules.vote(each.rule, standing, reading)

    def _gate(self, pace: Pace, each: Asked, reading: Reading, mature: int) -> list[Alert]:
        """A rule on drift and its page, which fires while the drift does and the impact shows."""
        name, page = each.rule.name, each.rule.name + PAGE
        standing, paged = pace.violations.get(name), pace.violations.get(page)
        seen = reading.value is not None and reading.band.violated(reading.value) is not None
        verdict = None
        if seen or paged is not None:
            verdict = impact.look(each, self._reader, self.drift, reading.boundary, mature)
            notes = {"impact": verdict.level.value} | ({"impact_text": verdict.text} if verdict.text else {})
            reading = reading._replace(notes={**reading.notes, **notes})
        found = self._settle(pace, name, *rules.advance(self.model, each.rule, standing, reading))
        drifting = pace.violations.get(name)
        if drifting is None or drifting.alert is None:
            if paged is not None and paged.alert is not None:
                found += self._settle(pace, page, None, [alerts.resolved(paged.alert, reading.boundary)])
            return found
        if verdict is not None and each.page is not None:
            found += self._settle(
                pace, page, *rules.advance(self.model, each.page, paged, _of_impact(reading, verdict))
            )
        return found

    def _settle(
        self, pace: Pace, name: str, violation: Violation | None, changed: list[Alert]
    ) -> list[Alert]:
        """Notes how a rule stands now, and answers its alerts."""
        if violation is None:
            pace.violations.pop(name, None)
        else:
            pace.violations[name] = violation
        if changed and pace.boundary is not None:
            self._at[name] = pace.boundary
            self._told = False
        return changed

    def _note(self, each: Asked, boundary: int, mature: int) -> None:
        """Takes the readings that baselines ask for. One that a predecessor has taken stands: the sums that
        it was taken from may be forgotten, where its offsets are older than what it remembered.
        """
        for readings in each.readings:
            grid = self.memory.grids.get(readings.series)
            if boundary % readings.step or grid is None or grid.says(boundary):
                continue
            look = each.impact if each.impact and each.impact.subject == readings.subject else each.looks[0]
            end = boundary - look.delay(mature)
            value = self._reader.value(readings.subject, end - readings.window, end).value
            grid.put(boundary, [nan if value is None else value])

    def _furnish(self, boundary: int) -> None:
        """Makes what the rules in force must remember, and drops the rest."""
        plans = [each for pace in self._paces for each in pace.asked]
        self._wanted = {}
        self._reader.clear()
        known = max(self._floor, self._dropped)
        held = [window for window in self.panes.between(BEGINNING, LARGEST) if window.start >= self._floor]
        self._told = self._told and not any(each.rule.no_data for each in plans)
        for each in plans:
            for needs in each.readings:
                about = f"{needs.subject.metric} over {Duration(needs.window)}"
                self._grid(needs.series, about, needs.span, Grid(needs.step, 1, nan))
            for sums in each.ledgers:
                about = f"sums of {sums.subject.metric}"
                grid, new = self._grid(
                    sums.series, about, sums.span, Grid(sums.step, read.width(sums.subject), 0.0)
                )
                ledger = read.ledger(sums.subject, grid)
                self._reader.ledgers[sums.subject, sums.step] = ledger
                if new:
                    if grid.through < known:
                        grid.known = known
                    for window in held:
                        if window.final:
                            ledger.enter(window)
        if all(pace.policy is not None for pace in self._paces):
            self.memory.keep(set(self._wanted))
        if self._written is None and self._wanted:
            self._written = Saved(boundary, min([boundary, *(window.start for window in held)]))

    def _grid(self, series: str, about: str, span: int, make: Grid) -> tuple[Grid, bool]:
        self._wanted[series] = max(span, self._wanted.get(series, 0))
        return self.memory.grid(series, about, make)

    def _retire(self, pace: Pace, boundary: int) -> list[Alert]:
        """Resolves what a policy that is no longer in force has fired."""
        found: list[Alert] = []
        for name in sorted(pace.violations.keys() - pace.names):
            alert = pace.violations[name].alert
            ended = [] if alert is None else [alerts.resolved(alert, boundary)]
            found += self._settle(pace, name, None, ended)
        return found

    def _refreshed(self, policy: Policy, time: int) -> int:
        """The maturity that rules go by; where clicks decide it, found anew every hour of event time."""
        if policy.maturity is not AUTO:
            return int(policy.maturity)
        if time // HOUR != self._hour:
            self._hour = time // HOUR
            self._maturity = maturity(policy, self.delays)
        return self._maturity


def _of_impact(reading: Reading, verdict: Verdict) -> Reading:
    """What a page goes by."""
    value, limit = verdict.value, verdict.limit
    if verdict.level is Level.UNKNOWN or value is None or limit is None:
        return reading._replace(value=None)
    beyond = verdict.level is not Level.NONE
    band = Band() if not beyond else Band(low=limit) if value < limit else Band(high=limit)
    return reading._replace(value=value, band=band, text=verdict.text)
