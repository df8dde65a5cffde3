"""The event-time join of one source partition: requests, predictions and feedback in, snapshots of panes out.

Pure: no Kafka, no clock, no I/O. Verdicts (late, duplicate, expired, unmatched, …) are functions of the log:
they rest on a record's own topic partition's clock and its Kafka timestamp (`Arrival.past`), never on how the
three topics happened to interleave. What does depend on that is only when things are said: `reached` is what
all three topics have passed, and panes with a deadline before it are final and forgotten.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence

from msgspec import DecodeError

from schemas import topics
from schemas.policies import Policy
from schemas.records import Feedback, Pane, Prediction, Request
from schemas.timeline import BEGINNING, Timeline
from schemas.topics import Topic
from streams.join.arrivals import GRACE, Arrival, Fault, Lost, Reader
from streams.join.ledger import Batch, Ledger, Safe
from streams.join.predictions import EARLY, Answered
from streams.join.profiles import Profiles
from streams.join.visits import Asked, Said, Visit, answers, describes, match, tie
from streams.join.windows import Series, Window
from streams.stage import Record

YOUNG = 1_000
"""Changed panes are emitted at most this often (ms) while they are young; later every `AGEING`-th of their
age.
"""

AGEING = 10

NOBODY = Series("", "")
"""Of no version and no arm."""


class Join:
    """Joins source partition `partition` of `count`. `starts` says for each event topic where reading starts
    and the clock before it; `time` is how far an earlier owner had come: panes with a deadline before it are
    judged again, but never emitted.
    """

    def __init__(
        self,
        partition: int,
        count: int,
        timeline: Timeline,
        profiles: Profiles,
        starts: Mapping[Topic, Safe],
        time: int,
    ) -> None:
        self.partition = partition
        self.time = time
        self.reached = BEGINNING
        self._emitted_before = time
        self._timeline = timeline
        self._profiles = profiles
        self.requests = Reader(Request, partition, count, *starts[topics.REQUESTS][1:])
        self.predictions = Reader(Prediction, partition, count, *starts[topics.PREDICTIONS][1:])
        self.feedback = Reader(Feedback, partition, count, *starts[topics.FEEDBACK][1:])
        self.ledgers = {topic: Ledger(safe.offset) for topic, safe in starts.items()}
        self._visits: dict[str, Visit] = {}
        self._windows: dict[tuple[str, int, int], Window] = {}
        self._due: dict[int, dict[str, None]] = {}  # request ids by when something is decided about them
        self._dues: list[int] = []
        self._overtaken: set[Topic] = set()

    def clock(self, topic: Topic) -> int:
        """The topic partition's clock."""
        return self._reader(topic).clock

    def _reader(self, topic: Topic) -> Reader[Request] | Reader[Prediction] | Reader[Feedback]:
        if topic is topics.REQUESTS:
            return self.requests
        return self.predictions if topic is topics.PREDICTIONS else self.feedback

    def _here(self, topic: Topic, offset: int) -> Safe:
        """What a successor has to know to begin at `offset`, to where the topic is read."""
        reader = self._reader(topic)
        return Safe(offset, reader.clock, reader.origins)

    def open_panes(self, model: str, since: int) -> Iterator[Window]:
        """Panes of a model that start at `since` or later and are not final."""
        return (each for each in self._windows.values() if each.model == model and each.start >= since)

    def overtaken(self, topic: Topic) -> None:
        """Retention took records of a topic that were still needed: panes that may have held some are not
        emitted again.
        """
        self._overtaken.add(topic)

    # Records in.

    def read_requests(self, records: Sequence[Record], events: Sequence[Request | DecodeError]) -> list[Lost]:
        """The next records of `inference.requests`, decoded by `requests.decode`; answers those that are no
        events here.
        """
        batch, lost = self._open(topics.REQUESTS, records), []
        for arrival in self.requests.arrivals(records, events):
            if isinstance(arrival, Lost):
                lost.append(self._lose(arrival, batch))
            else:
                self._count_skew(arrival, batch)
                self._ask(arrival, batch)
        return lost

    def read_predictions(
        self, records: Sequence[Record], events: Sequence[Prediction | DecodeError]
    ) -> list[Lost]:
        """The next records of `inference.predictions`, decoded by `predictions.decode`."""
        batch, lost = self._open(topics.PREDICTIONS, records), []
        for arrival in self.predictions.arrivals(records, events):
            if isinstance(arrival, Lost):
                lost.append(self._lose(arrival, batch))
            else:
                self._count_skew(arrival, batch)
                self._predict(arrival, batch)
        return lost

    def read_feedback(
        self, records: Sequence[Record], events: Sequence[Feedback | DecodeError]
    ) -> list[Lost]:
        """The next records of `feedback.events`, decoded by `feedback.decode`."""
        batch, lost = self._open(topics.FEEDBACK, records), []
        for arrival in self.feedback.arrivals(records, events):
            if isinstance(arrival, Lost):
                lost.append(self._lose(arrival, batch))
            else:
                self._count_skew(arrival, batch)
                self._hear(arrival, batch)
        return lost

    def _open(self, topic: Topic, records: Sequence[Record]) -> Batch:
        batch = self.ledgers[topic].open(self._here(topic, records[0].offset), records[-1].offset)
        if topic in self._overtaken:
            self._overtaken.discard(topic)
            resumed = records[0].timestamp
            self._emitted_before = max(self._emitted_before, self._timeline.longest_deadline(resumed) + 1)
            self.time = max(self.time, self._emitted_before)
            self._count("incomplete", resumed, max(self.clock(topic), resumed - GRACE), None, batch)
        return batch

    def _count_skew(
        self, arrival: "Arrival[Request] | Arrival[Prediction] | Arrival[Feedback]", batch: Batch
    ) -> None:
        if arrival.skewed:
            self._count("skewed", arrival.record.timestamp, arrival.past, arrival.event, batch)

    def _ask(self, arrival: Arrival[Request], batch: Batch) -> None:
        request, ts, past = arrival.event, arrival.ts, self._past(arrival)
        policy = self._timeline.at(request.model, ts)
        start = policy.pane_start(ts)
        deadline = policy.deadline(start)
        if past > deadline:
            self._count("late", arrival.record.timestamp, arrival.past, request, batch)
            return
        visit = self._visit(request.request_id)
        answer_by = ts + policy.answer
        until = max(deadline, self._deadline(request.model, answer_by))
        self._keep(visit, request.request_id, until, batch)
        for other in visit.asked:
            if other.request.model == request.model and past <= other.keep:
                other.keep = max(other.keep, until)
                other.batch.need(until)
                return
        window = self._window(request.model, start, policy)
        window.cell(NOBODY)  # so that a successor overwrites what an earlier owner took for unanswered
        asked = Asked(request, past, window, until, answer_by, batch)
        visit.asked.append(asked)
        answer_end = self._timeline.at(request.model, answer_by)
        self._schedule(min(deadline, answer_end.pane_start(answer_by) + answer_end.pane), request.request_id)
        for prediction in visit.predictions:
            tie(asked, prediction)
            if not prediction.requested and describes(asked, prediction):
                prediction.leave()
                prediction.request(request)
                prediction.enter(self._profiles.of(prediction.model, prediction.version))

    def _predict(self, arrival: Arrival[Prediction], batch: Batch) -> None:
        prediction, ts, past = arrival.event, arrival.ts, self._past(arrival)
        policy = self._timeline.at(prediction.model, ts)
        start = policy.pane_start(ts)
        deadline = policy.deadline(start)
        if past > deadline:
            self._count("late", arrival.record.timestamp, arrival.past, prediction, batch)
            return
        visit = self._visit(prediction.request_id)
        self._keep(visit, prediction.request_id, deadline, batch)
        shadow = prediction.arm == "shadow"
        window = self._window(prediction.model, start, policy)
        answered = Answered(prediction, ts, past, policy, window, batch)
        for other in visit.predictions:
            if other.model == prediction.model and (other.arm == "shadow") == shadow and past <= other.keep:
                if shadow and other.version != prediction.version:
                    continue
                window.cell(Series(answered.version, answered.arm, answered.generation)).add("duplicates", 1)
                other.keep = max(other.keep, deadline)
                other.batch.need(deadline)
                return
        self._mark_answered(visit, answered)
        described = next((asked for asked in visit.asked if describes(asked, answered)), None)
        if described is not None:
            answered.request(described.request)
        answered.enter(self._profiles.of(answered.model, answered.version))
        visit.predictions.append(answered)
        for said in visit.said:
            match(said, answered)

    def _hear(self, arrival: Arrival[Feedback], batch: Batch) -> None:
        feedback, ts, past = arrival.event, arrival.ts, self._past(arrival)
        deadline = self._timeline.longest_deadline(ts + EARLY)
        visit = self._visit(feedback.request_id)
        window = self._window_of_loss("", arrival.record.timestamp if past > deadline else ts, arrival.past)
        said = Said(arrival, past, deadline, window, batch)
        visit.said.append(said)
        self._keep(visit, feedback.request_id, deadline, batch)
        batch.need(window.deadline)
        for prediction in visit.predictions:
            match(said, prediction)

    def _past(self, arrival: "Arrival[Request] | Arrival[Prediction] | Arrival[Feedback]") -> int:
        """How late a record came; what is final is past, even where idle topics passed it without a
        record.
        """
        return max(arrival.past, self.reached)

    def _mark_answered(self, visit: Visit, prediction: Answered) -> None:
        for asked in visit.asked:
            tie(asked, prediction)
            if asked.unanswered and answers(prediction, asked):
                asked.unanswered = False
                asked.window.cell(NOBODY).add("unanswered", -1)

    # What is held, and for how long.

    def _visit(self, request_id: str) -> Visit:
        visit = self._visits.get(request_id)
        if visit is None:
            visit = self._visits[request_id] = Visit()
        return visit

    def _keep(self, visit: Visit, request_id: str, deadline: int, batch: Batch) -> None:
        batch.need(deadline)
        visit.until = max(visit.until, deadline)
        self._schedule(deadline, request_id)

    def _schedule(self, deadline: int, request_id: str) -> None:
        ids = self._due.get(deadline)
        if ids is None:
            ids = self._due[deadline] = {}
            heapq.heappush(self._dues, deadline)
        ids[request_id] = None

    def _window(self, model: str, start: int, policy: Policy) -> Window:
        window = self._windows.get((model, start, 0))
        if window is None:
            deadline = policy.deadline(start) if model else self._loss_deadline(start)
            window = self._windows[model, start, 0] = Window(model, start, start + policy.pane, 0, deadline)
        return window

    def _deadline(self, model: str, time: int) -> int:
        policy = self._timeline.at(model, time)
        return policy.deadline(policy.pane_start(time))

    def _loss_deadline(self, time: int) -> int:
        """The deadline of the pane of `time` for records whose model is not known: until then feedback of the
        pane may turn out unmatched.
        """
        policy = self._timeline.at("", time)
        start = policy.pane_start(time)
        return self._timeline.longest_deadline_between(start + EARLY, start + policy.pane - 1 + EARLY)

    # Records that do not count.

    def _lose(self, lost: Lost, batch: Batch) -> Lost:
        event = lost.event if lost.fault is Fault.MISPLACED else None
        self._count(lost.fault.value, lost.record.timestamp, lost.past, event, batch)
        return lost

    def _count(
        self,
        name: str,
        timestamp: int,
        past: int,
        event: Request | Prediction | Feedback | None,
        batch: Batch,
    ) -> None:
        """Counts a record in the pane of its Kafka timestamp, as far as its series is known."""
        model = "" if event is None or isinstance(event, Feedback) else event.model
        window = self._window_of_loss(model, timestamp, past)
        series = Series(event.version, event.arm) if isinstance(event, Prediction) else NOBODY
        window.cell(series).add(name, 1)
        batch.need(window.deadline)

    def _window_of_loss(self, model: str, timestamp: int, past: int) -> Window:
        """The pane of `timestamp`; where that is past, a part of it that is named after the pane in which the
        record came: as the log says it, or where time passed that pane without a record, as it is now.
        """
        policy = self._timeline.at(model, timestamp)
        start = policy.pane_start(timestamp)
        window = self._window(model, start, policy)
        if max(past, self.reached) <= window.deadline:
            return window
        came = past if self._part_deadline(model, past) >= self.reached else self.reached
        part = self._timeline.at(model, came).pane_start(came)
        late = self._windows.get((model, start, part))
        if late is None:
            deadline = self._part_deadline(model, came)
            late = self._windows[model, start, part] = Window(
                model, start, start + policy.pane, part, deadline
            )
        return late

    def _part_deadline(self, model: str, came: int) -> int:
        return self._deadline(model, came) if model else self._loss_deadline(came)

    # Time and output.

    def advance(self, reached: int) -> None:
        """All three topics have passed every deadline before `reached`: decides what waited for that. What is
        final goes out with the next `snapshots`.
        """
        if reached <= self.reached:
            return
        self.reached = reached
        self.time = max(self.time, reached)
        while self._dues and self._dues[0] < reached:
            deadline = heapq.heappop(self._dues)
            for request_id in self._due.pop(deadline):
                self._settle(request_id)

    def _settle(self, request_id: str) -> None:
        visit = self._visits.get(request_id)
        if visit is None:
            return
        for asked in visit.asked:
            known = min(asked.answer_by, asked.deadline)
            if not asked.unanswered and known < self.reached and not visit.answers(asked):
                asked.unanswered = True
                asked.window.cell(NOBODY).add("unanswered", 1)
        for said in visit.said:
            if not said.taken and said.deadline < self.reached:
                said.taken = True
                said.window.cell(NOBODY).add("late" if said.past > said.deadline else "unmatched", 1)
        keep = visit.keep
        if max(visit.until, keep) < self.reached:
            del self._visits[request_id]
        elif keep > visit.until:
            visit.until = keep
            self._schedule(keep, request_id)

    def snapshots(self, snapshot: int, now: int) -> Iterator[Pane]:
        """Snapshots of panes that changed: of final ones, which are then forgotten, and of those whose turn
        it is. `now` is wall time in ms.
        """
        for key, window in list(self._windows.items()):
            silent = window.deadline < self._emitted_before
            final = window.deadline < self.reached
            if not silent and (final or window.due <= now):
                window.due = now + max(YOUNG, (self.newest - window.end) // AGEING)
                yield from window.snapshots(self.partition, snapshot)
            if final:
                del self._windows[key]

    def final_snapshots(self, snapshot: int) -> Iterator[Pane]:
        """As `snapshots`, but of final panes only: while the state is being rebuilt, others would be
        fragments.
        """
        for key, window in list(self._windows.items()):
            if window.deadline < self.reached:
                if window.deadline >= self._emitted_before:
                    yield from window.snapshots(self.partition, snapshot)
                del self._windows[key]

    def safe(self, topic: Topic) -> Safe:
        """From where a successor has to read a topic, and what it has to know of what is before."""
        ledger = self.ledgers[topic]
        return ledger.safe(self.reached, self._here(topic, ledger.position))

    @property
    def newest(self) -> int:
        """The highest clock of the three topics."""
        return max(self.requests.clock, self.predictions.clock, self.feedback.clock)
