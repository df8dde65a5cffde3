"""The event-time join of one source partition: requests, predictions and feedback in, snapshots of panes out.

Pure: no Kafka, no clock, no I/O. What counts, and where, say the compiled rules (`asking.py`,
`predicting.py`, `hearing.py`); here they are fed, given room, and asked for what has changed. What depends on
how the three topics interleave is only when things are said: `reached` is what all three topics have passed,
and panes with a deadline before it are final and forgotten.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from schemas import topics
from schemas.policies import Policy
from schemas.records import Pane
from schemas.timeline import BEGINNING
from schemas.topics import EVENTS, Topic
from streams.columns import Records
from streams.join import asking, batches, cells, hearing, held, predicting, scan, sums, tables
from streams.join.arrivals import Arrivals, Lost
from streams.join.batches import GRACE, Batch
from streams.join.control import Control
from streams.join.emission import Emission
from streams.join.layout import CLOCK, PREDICTIONS, REACHED, SPARE, USED, WINDOWS, Integers, State
from streams.join.ledger import Ledger, Safe
from streams.join.rows import Scanned
from streams.join.shapes import NOBODY
from streams.join.snapshots import Snapshots
from streams.join.tables import Tables

YOUNG = 1_000
"""Changed panes are emitted at most this often (ms) while they are young; later every `AGEING`-th of their
age.
"""

AGEING = 10

SCAN = {
    topics.REQUESTS: scan.scan_requests,
    topics.PREDICTIONS: scan.scan_predictions,
    topics.FEEDBACK: scan.scan_feedback,
}
BATCH: dict[Topic, type[Batch]] = {
    topics.REQUESTS: batches.Requests,
    topics.PREDICTIONS: batches.Predictions,
    topics.FEEDBACK: batches.Feedbacks,
}
READ = {
    topics.REQUESTS: asking.read_requests,
    topics.PREDICTIONS: predicting.read_predictions,
    topics.FEEDBACK: hearing.read_feedback,
}


class Intake:
    """Records of a topic on their way into a join: what each is, and how many of them it has taken in."""

    def __init__(self, topic: Topic, scanned: Scanned, batch: Batch, lost: Mapping[int, Lost]) -> None:
        self.topic = topic
        self.scanned = scanned
        self.batch = batch
        self.done = 0
        self._lost = lost

    def lost(self, first: int) -> list[Lost]:
        """Those from index `first` on, of what is taken in, that are no events here."""
        return [lost for i, lost in self._lost.items() if first <= i < self.done]


class Join:
    """Joins source partition `partition` of `count`. `starts` says for each event topic where reading starts
    and the clock before it; `time` is how far an earlier owner had come: panes with a deadline before it are
    judged again, but never emitted.
    """

    def __init__(
        self, partition: int, count: int, control: Control, starts: Mapping[Topic, Safe], time: int
    ) -> None:
        self.partition = partition
        self.time = time
        self._emitted_before = time
        self._control = control
        self._tables = Tables(control)
        self._emission = Emission(partition, control)
        self._clocks = {topic: starts[topic].clock for topic in EVENTS}
        self._arrivals = {topic: Arrivals(topic, partition, count, starts[topic].origins) for topic in EVENTS}
        self._ledgers = {topic: Ledger(starts[topic].offset) for topic in EVENTS}
        self._overtaken: set[Topic] = set()

    @property
    def reached(self) -> int:
        """What all three topics have passed."""
        return int(self._state.heads[REACHED])

    @property
    def newest(self) -> int:
        """The highest clock of the three topics."""
        return max(self._clocks.values())

    def clock(self, topic: Topic) -> int:
        """The topic partition's clock."""
        return self._clocks[topic]

    @property
    def _state(self) -> State:
        """All tables, under the policies in force."""
        self._tables.follow(self._control)
        return self._tables.state

    # Records in.

    def scan(self, topic: Topic, records: Records) -> Scanned:
        """The next records of a topic, as columns; nothing is judged yet."""
        return SCAN[topic](records)

    def read(self, topic: Topic, records: Records, scanned: Scanned | None = None) -> list[Lost]:
        """Takes in the next records of a topic, scanned or not; answers those that are no events here."""
        intake = self.begin(topic, records, self.scan(topic, records) if scanned is None else scanned)
        return self.take(intake, len(records))

    def begin(self, topic: Topic, records: Records, scanned: Scanned) -> Intake:
        """The next records of a topic; none of them is taken in yet."""
        if topic is not topics.FEEDBACK:
            self._control.meet(scanned.data, scanned.rows)
        number = self._open(topic, records)
        kinds, lost = self._arrivals[topic].judge(records, scanned)
        return Intake(topic, scanned, BATCH[topic](scanned, records.timestamps, kinds, number), lost)

    def take(self, intake: Intake, until: int) -> list[Lost]:
        """Takes in its next records, those before index `until`; answers those that are no events here."""
        state, topic, first = self._state, intake.topic, intake.done
        state.heads[CLOCK] = self._clocks[topic]
        done = first
        while (done := READ[topic](state, intake.batch, done, until)) < until:
            state = self._grown(intake.scanned)
        intake.done = done
        self._emission.name(state, intake.scanned.data)
        self._clocks[topic] = int(state.heads[CLOCK])
        return intake.lost(first)

    def _grown(self, scanned: Scanned | None = None) -> State:
        """More room, as compiled code has asked for."""
        self._emission.name(self._tables.state, scanned and scanned.data)
        self._tables.grow()
        return self._tables.state

    def _open(self, topic: Topic, records: Records) -> int:
        ledger, row = self._ledgers[topic], EVENTS.index(topic)
        if len(ledger) == self._tables.state.batches.shape[1]:
            self._tables.lengthen_batches([self._ledgers[each].numbers for each in EVENTS])
        number = ledger.open(self._here(topic, int(records.offsets[0])), int(records.offsets[-1]))
        self._tables.state.batches[row, number % self._tables.state.batches.shape[1]] = BEGINNING
        if topic in self._overtaken:
            self._overtaken.discard(topic)
            self._resume(topic, number, int(records.timestamps[0]))
        return number

    def _resume(self, topic: Topic, number: int, timestamp: int) -> None:
        """Retention took what was before the record of `timestamp`."""
        longest = self._control.timeline.longest_deadline(timestamp)
        self._emitted_before = max(self._emitted_before, longest + 1)
        self.time = max(self.time, self._emitted_before)
        past = max(self._clocks[topic], timestamp - GRACE)
        batches.lose(self._state, EVENTS.index(topic), number, NOBODY, timestamp, past, sums.INCOMPLETE)
        self._emission.name(self._tables.state, None)

    def overtaken(self, topic: Topic) -> None:
        """Retention took records of a topic that were still needed: panes that may have held some are not
        emitted again.
        """
        self._overtaken.add(topic)

    # Time and output.

    def advance(self, reached: int) -> None:
        """All three topics have passed every deadline before `reached`: decides what waited for that. What is
        final goes out with the next `snapshots`.
        """
        if reached <= self.reached:
            return
        self.time = max(self.time, reached)
        state = self._state
        while not held.settle_all(state, reached):
            state = self._grown()
        self._emission.name(state, None)

    def snapshots(self, snapshot: int, now: int) -> Iterator[Pane]:
        """Snapshots of panes that changed: of final ones, which are then forgotten, and of those whose turn
        it is. `now` is wall time in ms.
        """
        return self.tell(snapshot, now).panes()

    def final_snapshots(self, snapshot: int) -> Iterator[Pane]:
        """As `snapshots`, but of final panes only: while the state is being rebuilt, others would be
        fragments.
        """
        return self.tell(snapshot, None).panes()

    def tell(self, snapshot: int, now: int | None) -> Snapshots:
        """What `snapshots` says, or `final_snapshots` where there is no `now`, still to be written: that may
        be done while more is read.
        """
        state = self._state
        windows = state.windows[: state.pools[WINDOWS, USED]]
        standing = windows["open"] != 0
        final = standing & (windows["deadline"] < self.reached)
        due = final
        if now is not None:
            due = final | (standing & (windows["changed"] != 0) & (windows["due"] <= now))
            rows = np.flatnonzero(due)
            windows["due"][rows] = now + np.maximum(YOUNG, (self.newest - windows["end"][rows]) // AGEING)
        told = np.flatnonzero(due & (windows["deadline"] >= self._emitted_before))
        found = self._emission.snapshots(state, told, self.reached, snapshot)
        for row in np.flatnonzero(final).tolist():
            cells.close(state, row)
        return found

    def retractions(self, policy: Policy, since: int, snapshot: int) -> Iterator[Pane]:
        """Snapshots that say that panes of the policy's model from `since` on are void: those that are open,
        and not final under the policy.
        """
        state, model = self._state, self._control.shapes.row_of(policy.model)
        lasts = policy.attribution.window + policy.attribution.lateness
        windows = state.windows[: state.pools[WINDOWS, USED]]
        of_model = (windows["open"] != 0) & (windows["model"] == model) & (windows["start"] >= since)
        for row in np.flatnonzero(of_model & (windows["end"] + lasts >= self.time)).tolist():
            yield from self._emission.retractions(state, row, snapshot)

    def curtail(self) -> bool:
        """Closes the oldest panes before their time, to make room: they are counted `incomplete`, and what
        still comes for them is `late`. They go out with the next snapshots, so everything is counted, here or
        there, even while the state is being rebuilt. False where none is open.
        """
        state = self._state
        windows = state.windows[: state.pools[WINDOWS, USED]]
        standing = (windows["open"] != 0) & (windows["deadline"] >= self.reached)
        if not standing.any():
            return False
        oldest = int(windows["deadline"][standing].min())
        for row in np.flatnonzero(standing & (windows["deadline"] == oldest)).tolist():
            while not tables.room(state, 0, 0, 0, 0):
                state = self._grown()
            batches.mark_incomplete(state, row)
        self.advance(oldest + 1)
        return True

    # What a successor needs, and what all this takes.

    def safe(self, topic: Topic) -> Safe:
        """From where a successor has to read a topic, and what it has to know of what is before."""
        ledger = self._ledgers[topic]
        untils: Integers = self._tables.state.batches[EVENTS.index(topic)]
        return ledger.safe(self.reached, untils, self._here(topic, ledger.position))

    def _here(self, topic: Topic, offset: int) -> Safe:
        """What a successor has to know to begin at `offset`, to where the topic is read."""
        return Safe(offset, self._clocks[topic], self._arrivals[topic].origins)

    @property
    def bytes(self) -> int:
        """Memory in use."""
        return self._tables.bytes

    @property
    def pending(self) -> int:
        """Predictions that are held."""
        pools = self._tables.state.pools
        return int(pools[PREDICTIONS, USED] - pools[PREDICTIONS, SPARE])

    @property
    def open_panes(self) -> int:
        """Panes that are not final."""
        state = self._tables.state
        return int(np.count_nonzero(state.windows["open"][: state.pools[WINDOWS, USED]]))
