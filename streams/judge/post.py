"""One partition number of the judge: its `core.Judge`, where its inputs stand, and from which offsets a
successor would have to read them.

Knows offsets and batches, but neither Kafka nor time: reading and writing are `stage.py`'s.
"""

from collections.abc import Mapping, Sequence

import msgspec

from schemas import topics
from schemas.records import Alert, DeadLetter, Detection, Pane, PaneRecord
from schemas.timeline import Timeline
from schemas.topics import Topic
from streams.judge.core import Judge
from streams.judge.facts import notes
from streams.judge.facts.workers import LIVE
from streams.judge.releases.release import Positions
from streams.judge.rules.sampled import SampledPartition
from streams.judge.writer import Writer
from streams.metrics.profiles import Profiles
from streams.stage import Assigned, Committed, Reading, Record, TopicPartition

INPUTS = (topics.PANES, topics.COMMANDS, topics.ACKS)
"""What releases are decided from."""
MEMORY = 1_000
"""Milliseconds between two times of forgetting."""


class Post:
    """One partition number, from its assignment on. `outbox` is what is to be written besides decisions."""

    def __init__(
        self,
        partition: int,
        timeline: Timeline,
        profiles: Profiles,
        assigned: Mapping[TopicPartition, Assigned],
        dashboard: str,
    ) -> None:
        self.partition = partition
        self._ends = {
            place: standing.end
            for place, standing in assigned.items()
            if place.topic != topics.SAMPLES.name  # decisions wait for no samples, however many there are
        }
        self.note = notes.read(assigned.get(self.place(topics.PANES)))
        self.judge = Judge(partition, timeline, self.note.floor, profiles, dashboard)
        self.sampled = SampledPartition(timeline, assigned.get(self.place(topics.SAMPLES)))
        self.writer: Writer | None = None
        self.ready = False
        self.caught_up = False
        self.outbox: list[Alert | DeadLetter] = []
        self._cut = any(
            notes.cut(standing) for place, standing in assigned.items() if place.topic == topics.PANES.name
        )
        """The log of panes begins in the midst of what is needed."""
        self.positions = {place: notes.first(standing) for place, standing in assigned.items()}
        self._flushed = dict(self.positions)
        self._panes: dict[int, int] = {}
        """Pane start → the offset of the batch in which it first came."""
        self._detected: dict[int, int] = {}
        """Pane start → the wall time (ms) at which its first detection was written."""
        self._acks: list[tuple[int, int]] = []
        """The offset of each batch of acks, and its newest time."""
        self._forgot = 0

    def place(self, topic: Topic) -> TopicPartition:
        """This number's partition of a topic."""
        return TopicPartition(topic.name, self.partition)

    def as_of(self, policies: int) -> Positions:
        """Below which offsets the inputs are known, and `control.policies`."""
        inputs = {topic.name for topic in INPUTS}
        known = {place.topic: offset for place, offset in self.positions.items() if place.topic in inputs}
        known[topics.POLICIES.name] = policies
        return {topic: {str(self.partition): offset} for topic, offset in sorted(known.items())}

    def hear(self, record: PaneRecord, origin: Record, batch: int) -> None:
        """A record of `metrics.panes`, the record that it came in, and the offset at which that one's batch
        begins. Raises ValueError for one that contradicts itself.
        """
        alerts = self.judge.pane(record, origin.timestamp)
        if isinstance(record, Pane):
            self._panes.setdefault(record.start, batch)
            if self._cut:
                self._cut = False
                self.judge.doubt(record.end)
        if origin.offset >= self.note.done:
            self.outbox.extend(alerts)

    def advance(self, partition: TopicPartition, records: Sequence[Record]) -> None:
        """A batch has been taken in."""
        if partition.topic == topics.ACKS.name:
            self._acks.append((records[0].offset, max(record.timestamp for record in records)))
        self.positions[partition] = records[-1].offset + 1

    def catch_up(self, readings: Mapping[TopicPartition, Reading]) -> bool:
        """Whether all is known that stood in the log when the partitions were assigned."""
        self.caught_up = self.caught_up or all(
            place in readings and readings[place].position >= end for place, end in self._ends.items()
        )
        return self.caught_up

    def relearn(self, detection: Detection, at: int) -> None:
        """What a predecessor's change detectors saw, and the wall time (ms) at which it wrote that."""
        self.judge.relearn(detection)
        self._detected.setdefault(detection.start, at)

    def detections(self, now: int) -> list[Detection]:
        """What the change detectors have seen, to be written at `now` (wall ms)."""
        found = self.judge.detections()
        for detection in found:
            self._detected.setdefault(detection.start, now)
        return found

    def flush(self) -> None:
        """All that was decided from what is known has been written."""
        self._flushed = dict(self.positions)

    def safe(self, partition: TopicPartition) -> Committed | None:
        """None until it has caught up: what the predecessor called safe still is."""
        if not self.caught_up:
            return None
        flushed = self._flushed[partition]
        if partition.topic == topics.COMMANDS.name:
            pending = self.judge.pending()
            return Committed(flushed if pending is None else min(pending, flushed), "")
        if partition.topic == topics.ACKS.name:
            return Committed(min([offset for offset, _ in self._acks] + [flushed]), "")
        if partition.topic == topics.SAMPLES.name:
            return self.sampled.safe(flushed)
        floor = self.judge.needed()
        if floor is None:
            return None
        needed = [offset for start, offset in self._panes.items() if start >= floor]
        relearns = self.judge.relearns()
        since = [at for start, at in self._detected.items() if relearns is not None and start >= relearns]
        note = notes.Note(
            floor=max(floor, self.judge.floor), done=flushed, since=min(since, default=self.note.since)
        )
        return Committed(min([*needed, flushed]), msgspec.json.encode(note).decode())

    def forget(self, now: int) -> None:
        """Drops, every `MEMORY`, what nothing needs at `now` (wall ms)."""
        if now < self._forgot + MEMORY:
            return
        self._forgot = now
        self.judge.forget(now)
        floor = self.judge.needed()
        if floor is not None:
            self._panes = {start: offset for start, offset in self._panes.items() if start >= floor}
        relearns = self.judge.relearns()
        if relearns is not None:
            self._detected = {start: at for start, at in self._detected.items() if start >= relearns}
        since = self.judge.waiting_since()
        needed = (now if since is None else since) - 2 * LIVE
        self._acks = [(offset, newest) for offset, newest in self._acks if newest >= needed]
