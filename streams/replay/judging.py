"""The judge of a replay: what the joins say (`joining.py`) in, and what it would have said out, with the rows
of the panes.

Pure: no Kafka, no clock, no I/O. What is fed is what the stage is fed (`streams/judge/stage.py`); at a look
(`clockwork.py`) it takes the snapshots in and decides, as at the stage's tick.
"""

from collections.abc import Iterable, Iterator, Sequence

from schemas import topics
from schemas.records import (
    ENCODER,
    Ack,
    Alert,
    Codec,
    CommandRecord,
    DeadLetter,
    Pane,
    Profile,
    Release,
    Sample,
    problem,
)
from schemas.timeline import BEGINNING
from streams.columns import Row
from streams.join.snapshots import Snapshots, Tallied
from streams.judge.core import Judge
from streams.judge.releases.release import Positions
from streams.judge.rules.samples import Samples
from streams.letters import dead_letter
from streams.metrics import tallies
from streams.metrics.profiles import Profiles
from streams.metrics.tallies import Tally
from streams.replay.block import Single
from streams.replay.board import Board
from streams.replay.joining import END, End, Fed, Look, Step
from streams.replay.known import Known
from streams.replay.letters import letter
from streams.replay.policies import Policies
from streams.replay.rows import Output
from streams.replay.sample_board import SampleBoard
from streams.stage import Record, TopicPartition

WORKER = "replay"
"""The worker that acknowledges everything at once, where a recording has no acks."""


class Judging:
    """Takes the steps of the joins, in their order."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self.policies = Policies(known.policies)
        self.policies.foresee(known.foreseen)
        self._profiles = Profiles()
        for profile in known.profiles:
            self._profiles.add(profile)
        self._judge = Judge(0, self.policies.judged, known.since, self._profiles)
        self._samples = Samples(self.policies.judged, known.since)
        self._board = Board(known.since)
        self._sample_board = SampleBoard(
            lambda model: int(self.policies.joined.latest(model).pane), known.since
        )
        self._hand = BEGINNING
        self._sampled = BEGINNING
        self._told = 0
        self._offsets = dict.fromkeys((topics.COMMANDS, topics.ACKS, topics.POLICIES), 0)
        self._acknowledged = set(known.acknowledged or ())
        self._eventful = False
        self._commands: Codec[CommandRecord] = Codec(CommandRecord)
        self._acks: Codec[Ack] = Codec(Ack)
        self._releases: Codec[Release] = Codec(Release)
        self._sample_codec: Codec[Sample] = Codec(Sample)
        self._profile_codec: Codec[Profile] = Codec(Profile)

    def take(self, step: Step) -> Iterator[Output]:
        """Takes the next step; answers what comes of it."""
        if isinstance(step, Fed):
            return self._feed(step)
        return self._look(step) if isinstance(step, Look) else self._close(step)

    def _close(self, end: End) -> Iterator[Output]:
        """The input is over: decides what follows from it; time stands still."""
        for pane, tally in _snapshots(end.told):
            self._board.take(pane, tally)
            yield from self._judged(pane, tally, end.now)
        yield from self._board.final(END)
        yield from self._sample_board.final(END)
        self._judge.close()
        yield from self._decide(end.now, ())

    def _feed(self, fed: Fed) -> Iterator[Output]:
        """Takes in what is none of the joins'."""
        self._hand, self._eventful = fed.hand, self._eventful or fed.eventful
        letters, alerts = fed.letters, list[Alert]()
        for single in fed.singles:
            try:
                alerts += self._take(single)
            except ValueError as error:
                stage = "judge" if single.topic in (topics.COMMANDS, topics.ACKS) else "sink"
                letters.append(letter(stage, single.topic, single.partition, single.record, str(error)))
        letters.sort(key=lambda each: (each.topic, each.partition, each.offset))
        yield from letters
        yield from alerts

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
            self.policies.meet(single)
        elif topic == topics.PROFILES:
            self._profiles.add(self._profile_codec.decode(record.value))
        elif topic == topics.RELEASES:
            self._release(self._releases.decode(record.value))
        return ()

    def _sample(self, record: Record) -> list[Alert]:
        sample = self._sample_codec.decode(record.value)
        _check(problem(sample, record.timestamp))
        self._sampled = self._hand
        self._sample_board.take(sample)
        return self._samples.take(sample, record.timestamp)

    def _release(self, record: Release) -> None:
        """A release that stood before anything else goes on standing, and one that somebody forced holds;
        others are what a judge decided then, which is to be found out here anew.
        """
        if not self._eventful or (record.evidence or {}).get("cause") == "force":
            self._judge.adopt(record)

    def _look(self, look: Look) -> Iterator[Output]:
        """What the stage's tick does."""
        alerts = list[Alert]()
        for pane, tally in _snapshots(look.told):
            self._board.take(pane, tally)
            for said in self._judged(pane, tally, look.now):
                if isinstance(said, Alert):
                    alerts.append(said)
                else:
                    yield said
        for each in look.progress:
            alerts += self._judge.pane(each, look.now)
            self._told += 1
        yield from self._board.final(min((each.time for each in look.progress), default=BEGINNING))
        yield from self._sample_board.final(look.now)
        if self._known.unfinal:
            yield from self._board.unfinal()
            yield from self._sample_board.unfinal()
        since = look.now - self._sampled if self._sampled > BEGINNING else 0
        alerts += self._samples.pass_time(max(0, since))
        yield from self._decide(look.now, alerts)

    def _judged(self, pane: Pane, tally: Tally, now: int) -> Sequence[Alert | DeadLetter]:
        """What the judge says to a snapshot; one that it refuses (of a Kafka timestamp that is far ahead) is
        a dead letter of `metrics.panes`, as live.
        """
        self._told += 1
        try:
            return self._judge.snapshot(pane, tally, now)
        except ValueError as error:
            place = TopicPartition(topics.PANES.name, 0)
            value = ENCODER.encode(tallies.snapshot(tally, pane))
            record = Row(self._told, now, pane.model.encode(), value, ())
            return [dead_letter("judge", place, record, str(error), now)]

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
                yield letter("judge", topics.ACKS, 0, stray.origin, reason)
        self._judge.detections()
        self._judge.forget(now)

    def _positions(self) -> Positions:
        """Below which offsets the inputs are known; of panes, how many have been told."""
        known = {topic.name: offset for topic, offset in self._offsets.items()}
        known[topics.PANES.name] = self._told
        return {name: {"0": offset} for name, offset in sorted(known.items())}


def _snapshots(told: Iterable[Snapshots]) -> list[Tallied]:
    """Those of all joins, in an order that does not depend on how they hold them."""
    return sorted((each for snapshots in told for each in snapshots.tallied()), key=_order)


def _order(told: Tallied) -> tuple[int, str, str, str, str, str, int, int, int]:
    pane = told.pane
    return (
        *(pane.start, pane.model, pane.version, pane.arm, pane.segment, pane.segment_value),
        *(pane.generation, pane.partition, pane.part),
    )


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
