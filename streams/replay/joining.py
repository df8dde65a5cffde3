"""The joins of a replay: what is due (`agenda.py`) in, and what they say to it out, in steps.

Pure: no Kafka, no clock, no I/O. What is fed is what the stage is fed (`streams/join/stage.py`); a round is
what its tick is: the joins pass the time that all topics have passed, and tell their snapshots and how far
they are.

Source partitions know nothing of each other, so each does all that is due together by itself, in a thread
beside the others. Nothing comes back from the judge (`judging.py`), so all may be ahead of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from schemas import topics
from schemas.errors import HeadgateError
from schemas.records import Codec, DeadLetter, Profile, Progress
from schemas.timeline import BEGINNING
from schemas.topics import EVENTS, Topic
from streams.join.arrivals import Fault
from streams.join.control import Control
from streams.join.core import Join
from streams.join.ledger import Safe
from streams.join.passage import Passage
from streams.join.references import References
from streams.join.snapshots import Snapshots
from streams.join.source import Source
from streams.replay.agenda import HEEDED, Due, Feed, Round, Slice
from streams.replay.ahead import Team
from streams.replay.block import Single
from streams.replay.known import Known
from streams.replay.letters import letter
from streams.replay.policies import Policies
from streams.stage import Reading

END = 1 << 60
"""A time that is past everything."""

ANYWHERE = (1 << 31) - 1
"""The number of partitions where it is not known: records then stand where they are."""

STARTS = {topic: Safe(0, BEGINNING) for topic in EVENTS}


class Fed(NamedTuple):
    """The joins were fed up to event time `hand` (ms), with events or without: `letters` are what was none,
    `singles` the records of all other topics.
    """

    letters: list[DeadLetter]
    singles: list[Single]
    eventful: bool
    hand: int


class Look(NamedTuple):
    """What the joins say at event time `now` (ms): the snapshots of each, and how far each is."""

    now: int
    told: list[Snapshots]
    progress: list[Progress]


class End(NamedTuple):
    """The input ended at `now` (ms): the snapshots of all panes that were open."""

    now: int
    told: list[Snapshots]


Step = Fed | Look | End


class Said(NamedTuple):
    """What one join says in a round."""

    snapshots: Snapshots
    progress: Progress


class Joining:
    """Does what is due, in its order."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._policies = Policies(known.policies)
        self._policies.foresee(known.foreseen)
        self._references = References()
        for profile in known.profiles:
            self._references.add(profile)
        self._control = Control(self._policies.joined, self._references)
        self._sources: dict[int, Source] = {}
        for number in range(known.count or 0):
            self._source(number)
        self._team = Team()
        self._profiles: Codec[Profile] = Codec(Profile)

    def steps(self, agenda: Iterable[list[Due]]) -> Iterator[list[Step]]:
        """What comes of all that is due, as many steps at a time as are done together."""
        for due in agenda:
            yield self._work(due)
            for task in due:
                if isinstance(task, Feed):
                    self._heed(task.portion.singles)

    def _work(self, due: Sequence[Due]) -> list[Step]:
        """Has all joins do what is due."""
        self._begin(task for task in due if isinstance(task, Feed))
        numbers = sorted(self._sources)
        done = self._team.map(lambda number: _done(number, self._sources[number], due), numbers)
        return [_step(task, answers) for task, *answers in zip(due, *done, strict=True)]

    def _begin(self, feeds: Iterable[Feed]) -> None:
        """The pieces that begin. All joins share the models that they make known."""
        for feed in feeds:
            for number, slices in sorted(feed.portion.slices.items()):
                join = self._source(number).join
                for inlet, _ in slices:
                    if inlet.intake is None:
                        topic, events = inlet.piece.topic, inlet.piece.events
                        inlet.intake = join.begin(topic, events, events.scanned)

    def _heed(self, singles: Iterable[Single]) -> None:
        """What control topics say holds from now on."""
        for single in singles:
            if single.topic not in HEEDED:
                continue
            with suppress(ValueError):  # the judge's half has the dead letter
                if single.topic == topics.POLICIES:
                    self._policy(single)
                else:
                    self._references.add(self._profiles.decode(single.record.value))
                    self._control.refresh()

    def _source(self, number: int) -> Source:
        source = self._sources.get(number)
        if source is None:
            join = Join(number, self._known.count or ANYWHERE, self._control, STARTS, BEGINNING)
            passage = Passage(dict.fromkeys(EVENTS, True), self._known.settling)
            source = self._sources[number] = Source(join, passage)
        return source

    def _policy(self, single: Single) -> None:
        """Puts a policy in force. Raises `HeadgateError` where it comes after events that it holds for."""
        model = self._policies.meet(single)
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


Answer = list[DeadLetter] | Said | Snapshots | None


def _done(number: int, source: Source, due: Iterable[Due]) -> list[Answer]:
    """What a source partition answers to all that is due."""
    return [_answer(number, source, task) for task in due]


def _answer(number: int, source: Source, task: Due) -> Answer:
    if isinstance(task, Feed):
        return list(_taken(source, task.portion.slices.get(number, ())))
    if isinstance(task, Round):
        return _said(source, task) if number in task.sources else None  # it is not there yet
    source.join.advance(END)
    return source.join.tell(task.number, task.now)


def _step(task: Due, answers: Sequence[Answer]) -> Step:
    """What all source partitions together say to what was due."""
    if isinstance(task, Feed):
        letters = [letter for answer in answers if isinstance(answer, list) for letter in answer]
        return Fed(letters, task.portion.singles, bool(task.portion.slices), task.hand)
    if isinstance(task, Round):
        said = [answer for answer in answers if isinstance(answer, Said)]
        return Look(task.now, [each.snapshots for each in said], [each.progress for each in said])
    return End(task.now, [answer for answer in answers if isinstance(answer, Snapshots)])


def _taken(source: Source, slices: Iterable[Slice]) -> Iterator[DeadLetter]:
    """Feeds a join; answers the dead letters."""
    for inlet, until in slices:
        assert inlet.intake is not None, "it has begun"
        for lost in source.join.take(inlet.intake, until):
            if lost.fault is Fault.UNREADABLE:
                yield letter("join", inlet.piece.topic, inlet.piece.partition, lost.record, lost.reason)


def _said(source: Source, round_: Round) -> Said:
    """What the stage's tick does."""
    readings = _read_to_the_end(round_.now)
    source.pass_time(readings, round_.now)
    snapshots = source.join.tell(round_.number, round_.now)
    place, count = round_.sources.index(source.join.partition), len(round_.sources)
    # Where nothing ever came, it is as far as the others.
    return Said(snapshots, source.progress(readings, place, count, round_.number, whole=True))


def _read_to_the_end(now: int) -> dict[Topic, Reading]:
    """In a recording every topic is read to its end, as of now."""
    return dict.fromkeys(EVENTS, Reading(0, 0, now))
