"""What every pane must hold, by the definitions of the contract's section 3, each written out as it stands
there. Here is which records count and where; what each adds is `measures.py`'s.

All of the log lies before it, so nothing waits and nothing is forgotten: every rule is a function of the
log's records. Where the contract leaves a choice, it is made here and said at the rule.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from schemas.policies import Policy
from schemas.records import Feedback, Prediction, Profile, Request
from schemas.timeline import Timeline
from schemas.topics import FEEDBACK, PREDICTIONS, REQUESTS
from tests.oracle.log import MINUTE, Event, Judged, Logs, judge
from tests.oracle.measures import Counted, Tally, described, measure, measure_features, segments
from tests.oracle.references import References, references


class Series(NamedTuple):
    """What a row of the views is about. `segment` and its value are empty in the total; `start` is the pane's
    (ms)."""

    model: str
    version: str
    arm: str
    segment: str
    segment_value: str
    start: int


Truth = dict[Series, Tally]


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


def compute(logs: Logs, partitions: int, timeline: Timeline, profiles: Iterable[Profile] = ()) -> Truth:
    """All panes of all models from all records. Source partitions never meet: their tallies add up."""
    truth: Truth = defaultdict(Tally)
    known = references(profiles)
    for number in range(partitions):
        _Source(logs, number, partitions, timeline, known, truth).compute()
    return {series: tally for series, tally in truth.items() if any(tally.sums.values())}


class _Source:
    """One source partition: that partition of the three topics."""

    def __init__(
        self,
        logs: Logs,
        number: int,
        partitions: int,
        timeline: Timeline,
        known: References,
        truth: Truth,
    ) -> None:
        self.timeline = timeline
        self.references = known
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
        questions = by_question(asked)
        for prediction in counted:
            self.tally(prediction, questions[question(prediction.event.record)])

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
        answers = by_question(counted)
        for request in asked:
            record = request.event.record
            if not any(
                not request.event.past(prediction.deadline)
                and not prediction.shadow
                and prediction.event.ts <= request.answer_by
                and not prediction.event.past(request.deadline)
                for prediction in answers[question(record)]
            ):
                self.count("unanswered", *labels(record), request.event.ts)

    def tally(self, prediction: Counted, asked: list[Asked]) -> None:
        """What a prediction adds to its series, and to each of its segments."""
        record = prediction.event.record
        request = request_of(prediction, asked)
        measured = measure(prediction)
        for segment, value in (("", ""), *segments(prediction, request)):
            series = Series(record.model, record.version, record.arm, segment, value, prediction.start)
            self.truth[series].add(measured)
        reference = self.references.get((record.model, record.version), {})
        whole = Series(record.model, record.version, record.arm, "", "", prediction.start)
        self.truth[whole].add(measure_features(prediction, described(prediction, request), reference))


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
        prediction.feedback.append(event)


def question(record: Request | Prediction) -> tuple[str, str]:
    """What makes a request and a prediction each other's."""
    return record.request_id, record.model


Side = TypeVar("Side", Asked, Counted)


def by_question(sides: Iterable[Side]) -> defaultdict[tuple[str, str], list[Side]]:
    """Requests or predictions by request and model, in their order."""
    found: defaultdict[tuple[str, str], list[Side]] = defaultdict(list)
    for side in sides:
        found[question(side.event.record)].append(side)
    return found


def request_of(prediction: Counted, asked: Iterable[Asked]) -> Request | None:
    """The first request, by offset, that describes the prediction, of those of its request and model.
    Choice: each must have come before the deadline of the other's pane, for the request of the pane in
    which its last answer may fall."""
    for request in asked:
        if not request.event.past(prediction.deadline) and not prediction.event.past(request.until):
            return request.event.record
    return None
