"""Rules on custom metrics: the samples of one partition of `metrics.samples`, pane by pane, against the rules
that ask for them.

Pure and driven by the log, as `watch.py` is. The *clock* is the highest min(`ts`, Kafka timestamp) of the
partition's samples, of all models. A boundary of panes is evaluated once, when the clock has passed it, with
the samples that have come by then; a later one still counts in the longer windows of later boundaries. Where
the partition is read to its end, time goes on without samples (`pass_time`).

Only what a rule asks for is added up, and only as long as a window can need it: however many samples come,
under however many names and labels, memory is bounded by the policies.
"""

from typing import NamedTuple

from schemas.policies import Policy, Rule
from schemas.records import Alert, Sample
from schemas.timeline import BEGINNING, Timeline
from streams.judge.facts import alerts
from streams.judge.rules import limits, rules
from streams.judge.rules.rules import Reading, Violation
from streams.judge.rules.watch import CATCH_UP
from streams.metrics import samples


class Question(NamedTuple):
    """What a rule asks for: samples of a name, narrowed by version, phase and labels."""

    name: str
    where: frozenset[tuple[str, str]]

    def takes(self, sample: Sample) -> bool:
        """Whether it asks for this sample."""
        if sample.name != self.name:
            return False
        own = {"version": sample.version, "phase": sample.phase}
        labels = sample.labels or {}
        return all((own[key] if key in own else labels.get(key)) == word for key, word in self.where)


class Tally(NamedTuple):
    """How many samples there are, and the sum of their values; their mean is the metric."""

    number: int = 0
    total: float = 0.0


def _window(rule: Rule) -> int:
    """How far back (ms) a rule looks."""
    return int(rule.no_data or rule.window)


def asks(rule: Rule) -> Question | None:
    """What the rule asks of samples; None where it is about a metric of the catalogue."""
    name = samples.name(rule.metric)
    return None if name is None else Question(name, frozenset(rule.where.items()))


class ModelSamples:
    """One model's rules on samples. `floor`: the event time (ms) from which on its samples are known
    whole."""

    def __init__(self, model: str, timeline: Timeline, floor: int) -> None:
        self._model = model
        self._timeline = timeline
        self._floor = floor
        self._boundary: int | None = None
        self._begun = BEGINNING
        self._policy: Policy | None = None
        self._rules: list[tuple[Rule, Question]] = []
        self._tallies: dict[Question, dict[tuple[int, int], Tally]] = {}
        self._violations: dict[str, Violation] = {}

    def take(self, sample: Sample, ts: int) -> None:
        """Adds a sample of event time `ts` (ms) to its pane, for each question that it answers."""
        policy = self._in_force(ts)
        start = policy.pane_start(ts)
        if self._boundary is None:
            self._boundary = self._begun = max(start, self._floor)
        elif start + policy.pane <= self._boundary - self._reach():
            return
        for question in {question for _, question in self._rules if question.takes(sample)}:
            panes = self._tallies.setdefault(question, {})
            number, total = panes.get((start, start + policy.pane), Tally())
            panes[start, start + policy.pane] = Tally(number + 1, total + sample.value)

    def doubt(self, before: int) -> None:
        """Samples of before this event time (ms) are not known whole."""
        self._floor = max(self._floor, before)

    def advance(self, clock: int) -> list[Alert]:
        """Evaluates the rules at each boundary that `clock` (ms) has passed."""
        found: list[Alert] = []
        while self._boundary is not None:
            policy = self._in_force(self._boundary)
            boundary = policy.pane_start(self._boundary) + policy.pane
            if boundary > clock:
                break
            if clock - boundary > CATCH_UP * policy.pane:
                boundary = policy.pane_start(clock - CATCH_UP * policy.pane)
            self._boundary = boundary
            found += self._evaluate(policy, boundary)
        return found

    def needed(self) -> int | None:
        """The event time (ms) from which on a successor must know samples; None where no rule asks for
        any."""
        if self._boundary is None:
            return None
        policy = self._in_force(self._boundary)
        marks = [violation.since - policy.pane for violation in self._violations.values()]
        if self._rules:
            marks.append(self._boundary)
        return policy.pane_start(min(marks)) - self._reach() if marks else None

    def open_alerts(self) -> int:
        """How many of its rules fire."""
        return sum(violation.alert is not None for violation in self._violations.values())

    def _evaluate(self, policy: Policy, boundary: int) -> list[Alert]:
        gone = self._violations.keys() - {rule.name for rule, _ in self._rules}
        fired = [self._violations.pop(name).alert for name in sorted(gone)]
        found = [alerts.resolved(alert, boundary) for alert in fired if alert is not None]
        for rule, question in self._rules:
            start = boundary - _window(rule)
            if start < max(self._floor, self._begun if rule.no_data is not None else BEGINNING):
                continue
            reading = self._read(policy, rule, question, boundary)
            standing = self._violations.pop(rule.name, None)
            violation, changed = rules.advance(self._model, rule, standing, reading)
            found += changed
            if violation is not None:
                self._violations[rule.name] = violation
        self._forget(policy, boundary)
        return found

    def _read(self, policy: Policy, rule: Rule, question: Question, boundary: int) -> Reading:
        """What a rule says at `boundary` (ms)."""
        start = boundary - _window(rule)
        value = self._mean(question, start, boundary)
        if rule.no_data is None:
            return Reading(boundary, boundary - policy.pane, value, limits.fixed(rule))
        spoken = 0.0 if value is None else 1.0
        return Reading(boundary, start, spoken, limits.SILENT, f"nothing for {rule.no_data}")

    def _in_force(self, time: int) -> Policy:
        """The policy at event time `time` (ms), whose rules on samples are then those of `self`."""
        policy = self._timeline.at(self._model, time)
        if policy is not self._policy:
            self._policy = policy
            self._rules = [(rule, question) for rule in policy.rules if (question := asks(rule)) is not None]
        return policy

    def _reach(self) -> int:
        """How long before a boundary (ms) samples must be known for the rules to be evaluated at it."""
        return max((_window(rule) for rule, _ in self._rules), default=0)

    def _mean(self, question: Question, start: int, end: int) -> float | None:
        """The mean of the samples in the panes that lie in the half-open time."""
        panes = self._tallies.get(question, {}).items()
        inside = [tally for (first, last), tally in panes if start <= first and last <= end]
        number = sum(tally.number for tally in inside)
        return sum(tally.total for tally in inside) / number if number else None

    def _forget(self, policy: Policy, boundary: int) -> None:
        """Drops panes that no later window can need."""
        before = boundary + policy.pane - self._reach()
        for question, panes in list(self._tallies.items()):
            kept = {place: tally for place, tally in panes.items() if place[1] > before}
            if kept:
                self._tallies[question] = kept
            else:
                del self._tallies[question]


class Samples:
    """The samples of one partition. `floor`: the event time (ms) from which on they are known whole."""

    def __init__(self, timeline: Timeline, floor: int = BEGINNING) -> None:
        self.clock = BEGINNING
        self._timeline = timeline
        self._floor = floor
        self._models: dict[str, ModelSamples] = {}

    def take(self, sample: Sample, timestamp: int) -> list[Alert]:
        """The partition's next sample with its Kafka timestamp (ms); answers what rules say of the panes
        before it."""
        ts = samples.event_time(sample, timestamp)
        self.clock = max(self.clock, min(ts, timestamp))
        model = self._models.get(sample.model)
        if model is None:
            if not self._timeline.knows(sample.model):
                return []  # nobody has asked anything, and the names of models have no limit
            model = self._models[sample.model] = ModelSamples(sample.model, self._timeline, self._floor)
        # Before it is added: what the panes before it say must not depend on when `pass_time` is called.
        found = model.advance(self.clock)
        model.take(sample, ts)
        return found

    def pass_time(self, idle: int = 0) -> list[Alert]:
        """Lets all models see the clock, and `idle` ms more, for which nothing has come."""
        reached = self.clock + idle
        return [alert for model in self._models.values() for alert in model.advance(reached)]

    def doubt(self, before: int) -> None:
        """Samples of before this event time (ms) are not known whole: the log begins in their midst."""
        self._floor = max(self._floor, before)
        for model in self._models.values():
            model.doubt(before)

    def needed(self) -> int | None:
        """The event time (ms) from which on a successor must read samples; None where no rule asks for
        any."""
        return min((n for model in self._models.values() if (n := model.needed()) is not None), default=None)

    def open_alerts(self) -> int:
        """How many rules fire."""
        return sum(model.open_alerts() for model in self._models.values())
