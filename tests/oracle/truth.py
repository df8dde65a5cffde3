"""What every pane must hold, by the definitions of the contract's section 3, each written out as it stands
there.

All of the log lies before it, so nothing waits and nothing is forgotten: every rule is a function of the
log's records. Where the contract leaves a choice, it is made here and said at the rule.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.policies import Policy
from schemas.records import Feedback, Prediction, Request
from schemas.timeline import Timeline
from schemas.topics import FEEDBACK, PREDICTIONS, REQUESTS
from tests.oracle.log import MINUTE, Event, Judged, Logs, judge


class Series(NamedTuple):
    """What a row of the views is about. `segment` and its value are empty in the total; `start` is the pane's
    (ms)."""

    model: str
    version: str
    arm: str
    segment: str
    segment_value: str
    start: int


@dataclass
class Tally:
    """Sums by the catalogue's names (a sum of 0 is left out), and the latencies (ms) of `ok` and `timeout`
    predictions."""

    sums: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)


Truth = dict[Series, Tally]


@dataclass
class Counted:
    """A prediction that counts, the pane that it counts in, and what was learnt of it."""

    event: Event[Prediction]
    policy: Policy
    start: int
    deadline: int
    seen: set[tuple[str, ...]] = field(default_factory=set)
    feedback: list[Feedback] = field(default_factory=list)
    sums: Counter[str] = field(default_factory=Counter)

    @property
    def shadow(self) -> bool:
        return self.event.record.arm == "shadow"


@dataclass
class Asked:
    """A request that counts: its pane's deadline, until which it can be answered; and the deadline of the
    pane in which its last answer may fall, until which it describes predictions."""

    event: Event[Request]
    deadline: int
    until: int
    answer_by: int


class Memory:
    """Which is the first of its kind. Choice: a record repeats an earlier one if it is not past that one's
    deadline, nor that of the earlier one's last repetition; else it is a first one again."""

    def __init__(self) -> None:
        self._deadlines: dict[tuple[str, ...], list[int]] = defaultdict(list)

    def repeats(self, key: tuple[str, ...], event: Event[Request] | Event[Prediction], deadline: int) -> bool:
        """Whether a record of this key, which is remembered until `deadline`, repeats one before it."""
        known = self._deadlines[key]
        for i, until in enumerate(known):
            if not event.past(until):
                known[i] = max(until, deadline)
                return True
        known.append(deadline)
        return False


def compute(logs: Logs, partitions: int, timeline: Timeline) -> Truth:
    """All panes of all models from all records. Source partitions never meet: their tallies add up."""
    truth: Truth = defaultdict(Tally)
    for number in range(partitions):
        _Source(logs, number, partitions, timeline, truth).compute()
    return {series: tally for series, tally in truth.items() if tally.sums}


class _Source:
    """One source partition: that partition of the three topics."""

    def __init__(self, logs: Logs, number: int, partitions: int, timeline: Timeline, truth: Truth) -> None:
        self.timeline = timeline
        self.truth = truth
        self.requests = judge(Request, number, partitions, logs[REQUESTS].get(number, ()))
        self.predictions = judge(Prediction, number, partitions, logs[PREDICTIONS].get(number, ()))
        self.feedback = judge(Feedback, number, partitions, logs[FEEDBACK].get(number, ()))

    def compute(self) -> None:
        self.count_bad()
        asked = self.judge_requests()
        counted = self.judge_predictions()
        self.judge_feedback(counted)
        self.count_unanswered(asked, counted)
        for prediction in counted:
            self.tally(prediction, asked)

    def count(self, name: str, model: str, version: str, arm: str, time: int) -> None:
        """One more of what stands in the pane of `time`, of the model's policy (the defaults' for none)."""
        start = self.timeline.at(model, time).pane_start(time)
        self.truth[Series(model, version, arm, "", "", start)].sums[name] += 1

    def count_bad(self) -> None:
        judged: list[Judged[Request] | Judged[Prediction] | Judged[Feedback]]
        judged = [self.requests, self.predictions, self.feedback]
        for topic in judged:
            for bad in topic.bad:
                self.count(bad.count, bad.model, bad.version, bad.arm, bad.timestamp)
            for event in topic.skewed:
                self.count("skewed", *labels(event.record), event.timestamp)

    def pane(self, model: str, ts: int) -> tuple[Policy, int, int]:
        """The policy, start and deadline of the pane that holds `ts`."""
        policy = self.timeline.at(model, ts)
        start = policy.pane_start(ts)
        return policy, start, policy.deadline(start)

    def judge_requests(self) -> list[Asked]:
        """The first request in time, by offset, of each (request, model). Choices: one past the deadline of
        the pane of its own `ts` is `late`; repeated ones are not counted, for no metric counts requests."""
        asked = []
        memory = Memory()
        for event in self.requests.good:
            record = event.record
            policy, _, deadline = self.pane(record.model, event.ts)
            answer_by = event.ts + policy.answer
            until = max(deadline, self.pane(record.model, answer_by)[2])
            if event.past(deadline):
                self.count("late", *labels(record), event.timestamp)
            elif not memory.repeats((record.request_id, record.model), event, until):
                asked.append(Asked(event, deadline, until, answer_by))
        return asked

    def judge_predictions(self) -> list[Counted]:
        """The first prediction, by offset, of a (request, model) that is not shadow, and of each shadow
        version.

        Choice: a duplicate stands in the pane of its own `ts`, under its own version and arm, and in no
        segment.
        """
        counted = []
        memory = Memory()
        for event in self.predictions.good:
            record = event.record
            policy, start, deadline = self.pane(record.model, event.ts)
            key = (record.request_id, record.model, *((record.version,) if record.arm == "shadow" else ()))
            if event.past(deadline):
                self.count("late", *labels(record), event.timestamp)
            elif memory.repeats(key, event, deadline):
                self.count("duplicates", *labels(record), event.ts)
            else:
                counted.append(Counted(event, policy, start, deadline))
        return counted

    def judge_feedback(self, counted: list[Counted]) -> None:
        """Each feedback event against each prediction that it answers.

        Choices: what is expired is so whether or not the same was there before; of the others the first
        counts; both verdicts stand with each prediction that was answered, but for shadows. A prediction
        that comes when feedback without an answer is already settled (past the longest deadline of the pane
        of its `ts` + 1 min) is not answered by it.
        """
        by_request: dict[str, list[Counted]] = defaultdict(list)
        for prediction in counted:
            by_request[prediction.event.record.request_id].append(prediction)
        for event in self.feedback.good:
            settled = self.timeline.longest_deadline(event.ts + MINUTE)
            answered = [
                prediction
                for prediction in by_request[event.record.request_id]
                if not event.past(prediction.deadline) and not prediction.event.past(settled)
            ]
            for prediction in answered:
                answer(prediction, event)
            if not answered and event.past(settled):
                self.count("late", "", "", "", event.timestamp)
            elif not answered:
                self.count("unmatched", "", "", "", event.ts)

    def count_unanswered(self, asked: list[Asked], counted: list[Counted]) -> None:
        """Requests whose answer did not come in time. Choice: an answer is a prediction that counts, is not
        shadow and of a `ts` not later than `answer` after the request's, where each of the two came before
        the deadline of the other's pane."""
        for request in asked:
            record = request.event.record
            if not any(
                same_question(prediction, request)
                and not prediction.shadow
                and prediction.event.ts <= request.answer_by
                and not prediction.event.past(request.deadline)
                for prediction in counted
            ):
                self.count("unanswered", *labels(record), request.event.ts)

    def tally(self, prediction: Counted, asked: list[Asked]) -> None:
        record = prediction.event.record
        sums = measure(prediction) + prediction.sums
        for segment, value in (("", ""), *segments(prediction, request_of(prediction, asked))):
            series = Series(record.model, record.version, record.arm, segment, value, prediction.start)
            self.truth[series].sums += sums
            if record.status in ("ok", "timeout"):
                self.truth[series].latencies.append(record.latency_ms)


def labels(record: Request | Prediction | Feedback) -> tuple[str, str, str]:
    """Model, version and arm, empty where not known."""
    match record:
        case Prediction(model=model, version=version, arm=arm):
            return model, version, arm
        case Request(model=model):
            return model, "", ""
        case _:
            return "", "", ""


def answer(prediction: Counted, event: Event[Feedback]) -> None:
    """The verdict on one feedback event that answers `prediction`."""
    record = event.record
    if record.event_id is not None:
        identity: tuple[str, ...] = ("event", record.event_id)
    elif record.item is None:
        identity = ("kind", record.kind)
    else:
        identity = ("item", record.kind, str(record.item))
    if not -MINUTE <= event.ts - prediction.event.ts <= prediction.policy.attribution.window:
        prediction.sums["expired"] += not prediction.shadow
    elif identity in prediction.seen:
        prediction.sums["duplicates"] += not prediction.shadow
    else:
        prediction.seen.add(identity)
        prediction.feedback.append(record)


def measure(prediction: Counted) -> Counter[str]:
    """What one counted prediction and its feedback add to the sums of their pane. Choice: where impressions
    come from feedback, they are the distinct shown items with one."""
    record, policy = prediction.event.record, prediction.policy
    sums: Counter[str] = Counter(predictions=1)
    sums["errors"] += record.status != "ok"
    sums["slow"] += record.latency_ms > policy.slow_ms
    if record.status != "ok":
        return +sums
    ranked = [str(item) for item in record.items or ()]
    shown = ranked if record.shown is None else ranked[: record.shown]
    if not prediction.shadow:
        if policy.impressions == "shown":
            sums["impressions"] += len(shown)
        else:
            sums["impressions"] += len(items_of(prediction, ("impression",)) & set(shown))
        sums["clicks"] += len(items_of(prediction, ("click",)) & set(shown))
        sums["conversions"] += len(items_of(prediction, ("purchase",)) & set(shown))
    relevant = items_of(prediction, policy.relevant)
    sums["relevant"] += len(relevant)
    for k in policy.k:
        sums[f"hits@{k}"] += len(relevant & set(ranked[:k]))
    return +sums


def items_of(prediction: Counted, kinds: tuple[str, ...]) -> set[str]:
    """The distinct items with counted feedback of these kinds; 7 is "7"."""
    return {str(f.item) for f in prediction.feedback if f.kind in kinds and f.item is not None}


def same_question(prediction: Counted, request: Asked) -> bool:
    """Whether the two are of one request and model, and the request came before the prediction's deadline."""
    record, other = prediction.event.record, request.event.record
    return (other.request_id, other.model) == (
        record.request_id,
        record.model,
    ) and not request.event.past(prediction.deadline)


def request_of(prediction: Counted, asked: list[Asked]) -> Request | None:
    """The first request, by offset, that describes the prediction. Choice: each must have come before the
    deadline of the other's pane, for the request of the pane in which its last answer may fall."""
    for request in asked:
        if same_question(prediction, request) and not prediction.event.past(request.until):
            return request.event.record
    return None


def segments(prediction: Counted, request: Request | None) -> Iterator[tuple[str, str]]:
    """The segments of the policy that the prediction has a value of: its own, or else its request's."""
    record = prediction.event.record
    surface = record.surface if record.surface is not None or request is None else request.surface
    named = record.segments if record.segments is not None or request is None else request.segments
    for name in prediction.policy.segments:
        value = surface if name == "surface" else (named or {}).get(name)
        if value is not None:
            yield name, value
