"""The judge as a stage: feeds `core.Judge` from Kafka and writes what it decides, releases before anything
else.

State is rebuilt from the log. `safe` is the offset of the oldest pane that a running release, a rule's
window or an open alert still needs; a start reads again from there, decides nothing until it has caught up,
and repeats no alert whose record stood before the note (`done`) of the last commit. Idempotency zone: an
input may be read twice at any time; a release record is committed exactly once, for its `as_of` says which
commands it knew, and only one writer gets through.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from confluent_kafka import KafkaException

from schemas import signing, topics
from schemas.errors import HeadgateError
from schemas.records import (
    Ack,
    Alert,
    Codec,
    CommandRecord,
    DeadLetter,
    PaneRecord,
    PolicyRecord,
    problem,
)
from schemas.settings import Settings
from schemas.timeline import BEGINNING, Timeline
from streams import registry
from streams.join.murmur import partitions as murmur
from streams.judge import inheritance
from streams.judge.check import check
from streams.judge.facts import alerts
from streams.judge.post import Post
from streams.judge.recovery import read_again
from streams.judge.register import Bad, Register
from streams.judge.releases.checkpoint import Checkpoint
from streams.judge.writer import Message, Writer
from streams.letters import dead_letter
from streams.log import Entry, Follower, patiently
from streams.metrics.profiles import Profiles
from streams.stage import Assigned, Committed, Reading, Record, TopicPartition
from streams.transactions import FencedError

log = logging.getLogger(__name__)

Judged = TypeVar("Judged", CommandRecord, Ack)

SKEW = 600_000
"""By so much (ms) the clocks of two judges, and the broker's, may differ."""


class JudgeStage:
    """The stage named `judge`."""

    name = "judge"
    topics = registry.reads(name)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._timeline = Timeline()
        self._profiles = Profiles()
        self._posts: dict[int, Post] = {}
        self._policies: Follower | None = None
        self._releases: Follower | None = None
        self._references: Follower | None = None
        self._keys = signing.keyring(settings.signing)
        self._register = Register(self._keys)
        self._known: Counter[int] = Counter()
        """Partition of `control.policies` → the offset below which it is known."""
        self._unfit: list[Bad] = []
        """Policies that are left alone, of which no letter has been written yet."""
        self._pane_codec: Codec[PaneRecord] = Codec(PaneRecord)
        self._command_codec: Codec[CommandRecord] = Codec(CommandRecord)
        self._ack_codec: Codec[Ack] = Codec(Ack)
        self._policy_codec: Codec[PolicyRecord] = Codec(PolicyRecord)
        self._letters = 0

    def assigned(self, partitions: Mapping[TopicPartition, Assigned]) -> None:
        """Each number's partitions come together; where one of them moves, all of that number begin anew."""
        for number in {place.partition for place in partitions}:
            mine = {place: standing for place, standing in partitions.items() if place.partition == number}
            self._posts[number] = Post(
                number, self._timeline, self._profiles, mine, self._settings.grafana.url
            )

    def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Forgets them, and their writers."""
        for number in {place.partition for place in partitions}:
            self._posts.pop(number, None)

    async def process(self, partition: TopicPartition, records: Sequence[Record]) -> None:
        """Takes in records; nothing is decided before the next tick."""
        post = self._posts.get(partition.partition)
        if post is None:
            return
        await self._prepare(post)
        for record in records:
            try:
                self._take(post, partition, record, records[0].offset)
            except ValueError as error:
                self._letters += 1
                post.outbox.append(dead_letter(self.name, partition, record, str(error), _now()))
        post.advance(partition, records)

    def held(self) -> Collection[TopicPartition]:
        """Nothing is ever held back."""
        return ()

    async def tick(self, readings: Mapping[TopicPartition, Reading], now: int) -> None:
        """Follows policies and releases, decides, and writes what was decided."""
        for post in list(self._posts.values()):
            await self._prepare(post)
        self._follow()
        for post in list(self._posts.values()):
            aside = _aside(post, now)
            if not post.catch_up(readings):
                await self._write(post, aside)
                continue
            reading = readings.get(post.place(topics.SAMPLES))
            if reading is not None:
                post.outbox.extend(post.sampled.pass_time(reading))
            decisions = post.judge.decide(now, post.as_of(self._known[post.partition]))
            again = self._register.unsound(post.partition)
            await self._write(
                post,
                [
                    *(Message(topics.RELEASES, model, value) for model, value in again),
                    *(Message(topics.RELEASES, record.model, record) for record in decisions.releases),
                    *(_kept(checkpoint) for checkpoint in decisions.handed),
                ],
            )
            for record in decisions.releases:
                log.info(
                    "%s generation %d: %s: %s", record.model, record.generation, record.phase, record.reason
                )
            for checkpoint in decisions.checkpoints:
                for refusal in checkpoint.refusals:
                    if refusal.ts == now:
                        log.warning(
                            "%s: %s by %s is refused: %s",
                            checkpoint.model,
                            refusal.command,
                            refusal.actor,
                            refusal.reason,
                        )
            self._complain(post, now)
            outbox, post.outbox = post.outbox, []
            await self._write(
                post,
                [
                    *(_kept(checkpoint) for checkpoint in decisions.checkpoints),
                    *(self._message(value) for value in outbox),
                    *(self._message(alert) for alert in decisions.alerts),
                    *(Message(topics.RULES, firing.key, firing) for firing in post.judge.firings()),
                    *aside,
                ],
            )
            for checkpoint in decisions.checkpoints:
                post.judge.secure(checkpoint)
            post.flush()
            post.forget(now)

    def safe(self, partition: TopicPartition) -> Committed | None:
        """What its post calls so."""
        post = self._posts.get(partition.partition)
        return None if post is None else post.safe(partition)

    def vitals(self) -> dict[str, float]:
        """See `streams.health.VITALS`."""
        posts = self._posts.values()
        horizons = [horizon for post in posts if (horizon := post.judge.horizon) is not None]
        fire = [post.judge.open_alerts() + post.sampled.samples.open_alerts() for post in posts]
        found: dict[str, float] = {
            "catching_up": sum(not post.caught_up for post in posts),
            "dead_letters_total": self._letters,
            "models": sum(post.judge.models for post in posts),
            "open_alerts": sum(fire),
        }
        if horizons:
            found["watermark_delay_seconds"] = (_now() - min(horizons)) / 1_000
        return found

    async def close(self) -> None:
        """All that was decided is written already."""
        for follower in (self._policies, self._releases, self._references):
            if follower is not None:
                await asyncio.to_thread(follower.close)

    def _take(self, post: Post, partition: TopicPartition, record: Record, batch: int) -> None:
        """Raises ValueError for a record that cannot be read."""
        if partition.topic == topics.COMMANDS.name:
            command = _sound(self._command_codec.decode(record.value), record)
            forged = self._keys.mistake(record.value or b"", record.headers)
            post.judge.command(command, record.offset, record.timestamp, forged)
        elif partition.topic == topics.ACKS.name:
            post.judge.ack(_sound(self._ack_codec.decode(record.value), record), record)
        elif partition.topic == topics.SAMPLES.name:
            post.outbox.extend(post.sampled.take(record, batch))
        else:
            post.hear(self._pane_codec.decode(record.value), record, batch)

    async def _prepare(self, post: Post) -> None:
        """Takes the partition over, then reads what stands: in that order, so that no zombie can write after
        it was read.
        """
        if post.ready:
            return
        if post.writer is None:
            writer = Writer(self._settings, post.partition)
            await asyncio.to_thread(writer.open)
            post.writer = writer
        await self._refresh(post)
        since = max(0, post.note.since - SKEW)
        for detection, at in await patiently(
            lambda: inheritance.detections(self._settings, post.partition, since)
        ):
            post.relearn(detection, at)
        for remembered in await patiently(lambda: inheritance.remembered(self._settings, post.partition)):
            post.judge.remember(remembered)
        for record in self._register.of(post.partition):
            post.judge.adopt(record)
        await read_again(self._settings, post.judge, post.partition, post.positions, _now())
        self._expect(post, self._timeline.models())
        post.ready = True

    def _expect(self, post: Post, models: Collection[str]) -> None:
        """Has those of the post's models watched that may have fallen silent, or never speak."""
        for model in models:
            mine = murmur([model.encode()], self._settings.topics.model_partitions)[0] == post.partition
            silent = any(rule.no_data is not None for rule in self._timeline.latest(model).rules)
            if mine and (silent or post.judge.floor > BEGINNING):
                post.judge.expect(model)

    async def _refresh(self, post: Post) -> None:
        """Reads policies, releases and checkpoints to their ends, however long the broker takes."""
        said, pause = False, 0.5
        while True:
            try:
                for checkpoint in await asyncio.to_thread(
                    inheritance.checkpoints, self._settings, post.partition
                ):
                    post.judge.recall(checkpoint)
                if self._policies is None:
                    self._policies = Follower(self._settings, topics.POLICIES)
                if self._releases is None:
                    self._releases = Follower(self._settings, topics.RELEASES)
                if self._references is None:
                    self._references = Follower(self._settings, topics.PROFILES)
                self._read_profiles(await asyncio.to_thread(self._references.refresh))
                self._read_policies(await asyncio.to_thread(self._policies.refresh))
                self._register.read(await asyncio.to_thread(self._releases.refresh))
                return
            except KafkaException as error:
                if not said:
                    log.warning("the control topics cannot be read (%s); trying on", error.args[0].str())
                said = True
                await asyncio.sleep(pause)
                pause = min(2 * pause, 10.0)

    def _follow(self) -> None:
        """What has come on the control topics since; does not wait."""
        if self._references is not None:
            self._read_profiles(self._references.poll(0))
        if self._policies is not None:
            self._read_policies(self._policies.poll(0))
        if self._releases is not None:
            for number, record in self._register.read(self._releases.poll(0)):
                if number in self._posts:
                    self._posts[number].judge.adopt(record)

    def _read_policies(self, entries: Sequence[Entry]) -> None:
        """Puts policies in force; one that the judge cannot carry out is left alone, and the last good one
        stays.
        """
        for entry in entries:
            self._known[entry.partition] = entry.offset + 1
            try:
                policy = Timeline().read(entry.value, entry.timestamp)
                check(policy)
                self._timeline.add(policy, max(self._policy_codec.decode(entry.value).ts, entry.timestamp))
                for post in self._posts.values():
                    if post.ready:
                        self._expect(post, [policy.model])
            except HeadgateError as error:
                log.error("control.policies, offset %d: %s; the last good policy stays", entry.offset, error)
                self._unfit.append(Bad(entry, str(error)))

    def _read_profiles(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            try:
                self._profiles.read(entry.value)
            except HeadgateError as error:
                log.error("offset %d: %s; it is left alone", entry.offset, error)

    def _complain(self, post: Post, now: int) -> None:
        """Letters about releases and policies that are none, and about acks of releases that there never
        were.
        """
        for unfit in [bad for bad in self._unfit if bad.entry.partition == post.partition]:
            self._unfit.remove(unfit)
            self._letters += 1
            place = post.place(topics.POLICIES)
            post.outbox.append(dead_letter(self.name, place, unfit.entry, unfit.reason, now))
        for bad in self._register.bad(post.partition):
            log.error("control.releases, offset %d: %s", bad.entry.offset, bad.reason)
            self._letters += 1
            place = post.place(topics.RELEASES)
            post.outbox.append(dead_letter(self.name, place, bad.entry, bad.reason, now))
            if bad.forged and bad.model is not None:
                post.judge.forged(bad.model, topics.RELEASES.name, bad.entry.timestamp, bad.reason)
        for stray, reason in post.judge.strays(now):
            if stray.origin is not None:
                self._letters += 1
                letter = dead_letter(self.name, post.place(topics.ACKS), stray.origin, reason, now)
                post.outbox.append(letter)

    async def _write(self, post: Post, messages: Sequence[Message]) -> None:
        if not messages or post.writer is None:
            return
        try:
            await asyncio.to_thread(post.writer.write, messages)
        except FencedError:
            if self._posts.get(post.partition) is post:
                raise
            log.info("partition %d has gone to another judge in mid-write", post.partition)

    def _message(self, value: Alert | DeadLetter) -> Message:
        if isinstance(value, Alert):
            linked = alerts.linked(value, self._settings.grafana.url)
            return Message(topics.ALERTS, value.model, linked)
        return Message(topics.DEAD_LETTERS, value.key or "", value)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _sound(record: Judged, origin: Record) -> Judged:
    """The record, if it can have come when it did. Raises ValueError."""
    mistake = problem(record, origin.timestamp)
    if mistake is not None:
        raise ValueError(mistake)
    return record


def _kept(checkpoint: Checkpoint) -> Message:
    return Message(topics.EVIDENCE, checkpoint.model, checkpoint)


def _aside(post: Post, now: int) -> list[Message]:
    """What the change detectors have seen, and what rules have come to remember. It waits for no decision,
    and no decision for it.
    """
    return [
        *(Message(topics.DRIFT, detection.model, detection) for detection in post.detections(now)),
        *(Message(topics.RULES, key, record) for key, record in post.judge.histories()),
    ]
