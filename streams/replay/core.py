"""The join and the judge, one after the other, over recorded events: what they would have said.

Pure: no Kafka, no clock, no I/O. What is fed is what the stages are fed (`streams/join/stage.py`,
`streams/judge/stage.py`), and the same cores answer; a look (`clockwork.py`) is what their ticks are: the
joins pass the time that all topics have passed and tell their snapshots and how far they are, the judge takes
them in and decides. The records between two looks go in topic by topic, in portions that do not depend on
the blocks in which they come: the same records in the same order give the same output, byte for byte.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from schemas import topics
from schemas.errors import HeadgateError
from schemas.policies import Policy
from schemas.records import (
    ENCODER,
    YEAR_2000,
    Ack,
    Alert,
    Codec,
    CommandRecord,
    DeadLetter,
    Pane,
    Profile,
    Progress,
    Release,
    Sample,
    problem,
)
from schemas.signing import Keyring
from schemas.timeline import BEGINNING
from schemas.topics import EVENTS, Topic
from streams.columns import Integers, Row
from streams.join.arrivals import Fault
from streams.join.control import Control
from streams.join.core import Join
from streams.join.events import Events
from streams.join.ledger import Safe
from streams.join.passage import SETTLING, Passage
from streams.join.references import References
from streams.join.source import Source
from streams.judge.core import Judge
from streams.judge.releases.release import Positions
from streams.judge.rules.samples import Samples
from streams.letters import dead_letter
from streams.metrics.profiles import Profiles
from streams.replay.block import Block, Single
from streams.replay.board import Board
from streams.replay.clockwork import LOOK, looks
from streams.replay.policies import Policies
from streams.replay.rows import Output
from streams.replay.sample_board import SampleBoard
from streams.stage import Reading, Record, TopicPartition

PORTION = 100_000
"""Records that go into the joins at once, at most, however much comes in a second."""

END = 1 << 60
"""A time that is past everything."""

ANYWHERE = (1 << 31) - 1
"""The number of partitions where it is not known: records then stand where they are."""

WORKER = "replay"
"""The worker that acknowledges everything at once, where a recording has no acks."""

STARTS = {topic: Safe(0, BEGINNING) for topic in EVENTS}


class Slice(NamedTuple):
    """Records of a partition of an event topic, in its order."""

    topic: Topic
    partition: int
    events: Events


@dataclass
class Portion:
    """What has come since the joins were last fed."""

    slices: list[Slice] = field(default_factory=list)
    singles: list[Single] = field(default_factory=list)
    count: int = 0


@dataclass(frozen=True)
class Known:
    """What is known before the first record comes. `policies` are to hold instead of those in the
    recording, `foreseen` and `profiles` are records of `control.policies` and `control.profiles`,
    `acknowledged` the models whose workers' acks are in it (None: it is not known, those that have none so
    far acknowledge at once). `count` is the number of partitions of the event topics, None where it is not
    known. `settling`: topics in which nothing comes pass time so long (ms) after the others. Panes that start
    before `since` (ms) are not known whole, and not told.
    """

    policies: Sequence[Policy] = ()
    foreseen: Sequence[Single] = ()
    profiles: Sequence[Profile] = ()
    acknowledged: frozenset[str] | None = None
    count: int | None = None
    settling: int = SETTLING
    since: int = BEGINNING
    unfinal: bool = False
    keys: Keyring = field(default_factory=Keyring)


class Replay:
    """Takes blocks of records, in the order in which they came, and answers what comes of them."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self.policies = Policies(known.policies)
        self.policies.foresee(known.foreseen)
        references, self._profiles = References(), Profiles()
        for profile in known.profiles:
            references.add(profile)
            self._profiles.add(profile)
        self._control = Control(self.policies.joined, references)
        self._references = references
        self._sources: dict[int, Source] = {}
        for number in range(known.count or 0):
            self._source(number)
        self._judge = Judge(0, self.policies.judged, known.since, self._profiles)
        self._samples = Samples(self.policies.judged, known.since)
        self._board = Board(known.since)
        self._sample_board = SampleBoard(
            lambda model: int(self.policies.joined.latest(model).pane), known.since
        )
        self._portion = Portion()
        self._hand = BEGINNING
        self._sampled = BEGINNING
        self._round = 0
        self._told = 0
        self._offsets = dict.fromkeys((topics.COMMANDS, topics.ACKS, topics.POLICIES), 0)
        self._acknowledged = set(known.acknowledged or ())
        self._eventful = False
        self._commands: Codec[CommandRecord] = Codec(CommandRecord)
        self._acks: Codec[Ack] = Codec(Ack)
        self._releases: Codec[Release] = Codec(Release)
        self._sample_codec: Codec[Sample] = Codec(Sample)
        self._profile_codec: Codec[Profile] = Codec(Profile)

    @property
    def hand(self) -> int:
        """The event time that is reached (ms)."""
        return self._hand

    # Records in.

    def feed(self, block: Block) -> Iterator[Output]:
        """Takes the next records."""
        running = np.maximum.accumulate(np.maximum(self._instants(block), self._hand))
        seconds = running // LOOK
        cuts = np.flatnonzero(np.diff(seconds, prepend=self._hand // LOOK)).tolist()
        start = 0
        for cut in [*cuts, block.size]:
            yield from self._collect(block, running, start, cut)
            if cut < block.size:
                yield from self._feed()
                for look in looks(self._hand, int(running[cut])):
                    yield from self._look(look)
            start = cut

    def close(self) -> Iterator[Output]:
        """The input is over: closes all panes, and decides what follows from that; time stands still."""
        yield from self._feed()
        yield from self._look(self._hand)
        now = max(self._hand, YEAR_2000)
        for source in self._in_order():
            source.join.advance(END)
        for pane in self._snapshots(now):
            self._board.take(pane)
            yield from self._judged(pane, now)
        yield from self._board.final(END)
        yield from self._sample_board.final(END)
        self._judge.close()
        yield from self._decide(now, ())

    def _instants(self, block: Block) -> Integers:
        """Each record's min(`ts`, Kafka timestamp), if it is a good one; shape (block.size,)."""
        instants = np.full(block.size, BEGINNING, np.int64)
        for piece in block.pieces:
            rows = piece.events.scanned.rows
            times = np.minimum(rows["ts"], piece.events.timestamps)
            instants[piece.ranks] = np.where(rows["fault"] == 0, times, BEGINNING)
        for single in block.singles:
            instants[single.rank] = self._instant(single)
        return instants

    def _instant(self, single: Single) -> int:
        codec = self._codec(single.topic)
        if codec is None:
            return BEGINNING
        try:
            found = codec.decode(single.record.value)
        except ValueError:
            return BEGINNING
        if problem(found, single.record.timestamp) is not None:
            return BEGINNING
        return min(found.ts, single.record.timestamp)

    def _codec(self, topic: Topic) -> Codec[CommandRecord] | Codec[Ack] | Codec[Sample] | None:
        """Of topics whose records move the hand."""
        if topic == topics.COMMANDS:
            return self._commands
        if topic == topics.ACKS:
            return self._acks
        return self._sample_codec if topic == topics.SAMPLES else None

    def _collect(self, block: Block, running: Integers, start: int, end: int) -> Iterator[Output]:
        """Puts the records from rank `start` to `end` into the portion; feeds it where it is full. `running`
        is where the hand is with each record.
        """
        while start < end:
            stop = min(end, start + PORTION - self._portion.count)
            for piece in block.pieces:
                first, last = np.searchsorted(piece.ranks, (start, stop)).tolist()
                if first < last:
                    events = piece.events.part(slice(first, last))
                    self._portion.slices.append(Slice(piece.topic, piece.partition, events))
            self._portion.singles += [single for single in block.singles if start <= single.rank < stop]
            self._portion.count += stop - start
            start = stop
            self._hand = int(running[stop - 1])
            if self._portion.count >= PORTION:
                yield from self._feed()

    def _feed(self) -> Iterator[Output]:
        """Feeds the portion to the joins, then to the judge."""
        portion, self._portion = self._portion, Portion()
        letters = list[DeadLetter]()
        for slice_ in sorted(portion.slices, key=lambda each: (each.partition, EVENTS.index(each.topic))):
            letters += self._join(slice_)
        alerts = list[Alert]()
        for single in portion.singles:
            try:
                alerts += self._take(single)
            except ValueError as error:
                stage = "judge" if single.topic in (topics.COMMANDS, topics.ACKS) else "sink"
                letters.append(_letter(stage, single.topic, single.partition, single.record, str(error)))
        letters.sort(key=lambda letter: (letter.topic, letter.partition, letter.offset))
        yield from letters
        yield from alerts

    def _join(self, slice_: Slice) -> Iterator[DeadLetter]:
        self._eventful = True
        source = self._source(slice_.partition)
        for lost in source.join.read(slice_.topic, slice_.events, slice_.events.scanned):
            if lost.fault is Fault.UNREADABLE:
                yield _letter("join", slice_.topic, slice_.partition, lost.record, lost.reason)

    def _source(self, number: int) -> Source:
        source = self._sources.get(number)
        if source is None:
            join = Join(number, self._known.count or ANYWHERE, self._control, STARTS, BEGINNING)
            passage = Passage(dict.fromkeys(EVENTS, True), self._known.settling)
            source = self._sources[number] = Source(join, passage)
        return source

    def _in_order(self) -> list[Source]:
        return [self._sources[number] for number in sorted(self._sources)]

    def _take(self, single: Single) -> Sequence[Alert]:
        """A record of another topic than those of events. Raises ValueError for one that cannot be read."""
        topic, record = single.topic, single.record
        # Several partitions of a model-keyed topic are one here, and of one the offsets grow.
        offset = max(record.offset, self._offsets.get(topic, 0))
        if topic in self._offsets:
            self._offsets[topic] = offset + 1
        if topic == topics.COMMANDS:
            self._eventful = True
            command = self._commands.decode(record.value)
            _check(problem(command, record.timestamp))
            forged = self._known.keys.mistake(record.value or b"", record.headers)
            self._judge.command(command, offset, record.timestamp, forged)
        elif topic == topics.ACKS:
            ack = self._acks.decode(record.value)
            _check(problem(ack, record.timestamp))
            if ack.model not in self._acknowledged:
                self._acknowledged.add(ack.model)
                self._judge.dismiss(ack.model, WORKER)
            self._judge.ack(ack, record)
        elif topic == topics.SAMPLES:
            return self._sample(record)
        elif topic == topics.POLICIES:
            self._policy(single)
        elif topic == topics.PROFILES:
            self._references.add(profile := self._profile_codec.decode(record.value))
            self._profiles.add(profile)
            self._control.refresh()
        elif topic == topics.RELEASES:
            self._release(self._releases.decode(record.value))
        return ()

    def _sample(self, record: Record) -> list[Alert]:
        sample = self._sample_codec.decode(record.value)
        _check(problem(sample, record.timestamp))
        self._sampled = self._hand
        self._sample_board.take(sample)
        return self._samples.take(sample, record.timestamp)

    def _policy(self, single: Single) -> None:
        """Puts a policy in force. Raises `HeadgateError` where it comes after events that it holds for."""
        model = self.policies.meet(single)
        if model is None:
            return
        policy, since = self._control.timeline.latest(model), self._control.timeline.entries(model)[-1].start
        if any(any(source.join.retractions(policy, since, 0)) for source in self._sources.values()):
            raise HeadgateError(
                f"control.policies, offset {single.record.offset}: found a policy of {model} behind events "
                "that it holds for, expected it before them: put it first, give it with --policy, or give "
                "the recording as a file, which is looked through beforehand"
            )
        self._control.refresh()

    def _release(self, record: Release) -> None:
        """A release that stood before anything else goes on standing, and one that somebody forced holds;
        others are what a judge decided then, which is to be found out here anew.
        """
        if not self._eventful or (record.evidence or {}).get("cause") == "force":
            self._judge.adopt(record)

    # Looks.

    def _look(self, now: int) -> Iterator[Output]:
        """What the stages' ticks do, at event time `now` (ms)."""
        if now == BEGINNING:
            return
        for source in self._in_order():
            source.pass_time(_read_to_the_end(now), now)
        alerts = list[Alert]()
        for pane in self._snapshots(now):
            self._board.take(pane)
            for said in self._judged(pane, now):
                if isinstance(said, Alert):
                    alerts.append(said)
                else:
                    yield said
        progress = list(self._progress(now))
        for each in progress:
            alerts += self._judge.pane(each, now)
            self._told += 1
        yield from self._board.final(min((each.time for each in progress), default=BEGINNING))
        yield from self._sample_board.final(now)
        if self._known.unfinal:
            yield from self._board.unfinal()
            yield from self._sample_board.unfinal()
        alerts += self._samples.pass_time(max(0, now - self._sampled) if self._sampled > BEGINNING else 0)
        yield from self._decide(now, alerts)

    def _snapshots(self, now: int) -> list[Pane]:
        """What the joins have to tell, in an order that does not depend on how they hold it."""
        self._round += 1
        sources = self._in_order()
        told = (source.snapshots(self._round, now, whole=True) for source in sources)
        return sorted((pane for panes in told for pane in panes), key=_order)

    def _judged(self, pane: Pane, now: int) -> Sequence[Alert | DeadLetter]:
        """What the judge says to a snapshot; one that it refuses (of a Kafka timestamp that is far ahead) is
        a dead letter of `metrics.panes`, as live.
        """
        self._told += 1
        try:
            return self._judge.pane(pane, now)
        except ValueError as error:
            place = TopicPartition(topics.PANES.name, 0)
            record = Row(self._told, now, pane.model.encode(), ENCODER.encode(pane), ())
            return [dead_letter("judge", place, record, str(error), now)]

    def _progress(self, now: int) -> Iterator[Progress]:
        """How far the source partitions are; where nothing ever came, they are as far as the others."""
        sources, readings = self._in_order(), _read_to_the_end(now)
        for place, source in enumerate(sources):
            yield source.progress(readings, place, len(sources), self._round, whole=True)

    def _decide(self, now: int, alerts: Iterable[Alert]) -> Iterator[Output]:
        """What the judge decides: traffic first."""
        decisions = self._judge.decide(now, self._positions())
        yield from decisions.releases
        yield from alerts
        yield from decisions.alerts
        for release in decisions.releases:
            if release.model not in self._acknowledged:
                self._judge.ack(_acknowledged(release))
        for checkpoint in decisions.checkpoints:
            self._judge.secure(checkpoint)
        for stray, reason in self._judge.strays(now):
            if stray.origin is not None:
                yield _letter("judge", topics.ACKS, 0, stray.origin, reason)
        self._judge.detections()
        self._judge.forget(now)

    def _positions(self) -> Positions:
        """Below which offsets the inputs are known; of panes, how many have been told."""
        known = {topic.name: offset for topic, offset in self._offsets.items()}
        known[topics.PANES.name] = self._told
        return {name: {"0": offset} for name, offset in sorted(known.items())}


def _order(pane: Pane) -> tuple[int, str, str, str, str, str, int, int, int]:
    return (
        *(pane.start, pane.model, pane.version, pane.arm, pane.segment, pane.segment_value),
        *(pane.generation, pane.partition, pane.part),
    )


def _read_to_the_end(now: int) -> dict[Topic, Reading]:
    """In a recording every topic is read to its end, as of now."""
    return dict.fromkeys(EVENTS, Reading(0, 0, now))


def _acknowledged(release: Release) -> Ack:
    return Ack(
        model=release.model,
        worker=WORKER,
        ts=release.ts,
        kind="ack",
        generation=release.generation,
        status="applied",
    )


def _check(mistake: str | None) -> None:
    if mistake is not None:
        raise ValueError(mistake)


def _letter(stage: str, topic: Topic, partition: int, record: Record, reason: str) -> DeadLetter:
    return dead_letter(stage, TopicPartition(topic.name, partition), record, reason, record.timestamp)
