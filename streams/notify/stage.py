"""The notify stage: tells receivers of alerts, and never holds up the judge, for it reads `alerts` like
anybody.

The idempotency zone ends at a receiver's answer: before, a message may be posted again, by a successor too;
after, it is not. Three steps, in this order: what came is written to `alerts.open`, and with it whom an
attempt is about to be made to tell; only then is it posted, and the offset in `alerts` safe; who took it is
written with what comes next. So a successor knows of everybody who may have heard, and tells them when it is
over.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence

import msgspec

from schemas import signing, topics
from schemas.errors import HeadgateError
from schemas.records import Alert, Codec, DeadLetter
from schemas.settings import Settings
from streams import registry
from streams.letters import dead_letter
from streams.log import Entry, Follower, patiently
from streams.notify import journal, posting
from streams.notify.desk import Desk
from streams.notify.journal import Journal, Note
from streams.notify.silencing import Silences
from streams.stage import Assigned, Committed, Reading, Record, TopicPartition
from streams.transactions import FencedError

log = logging.getLogger(__name__)


class Post:
    """One partition of `alerts` that is ours. All below `position` is in the book, all below `safe` in the
    journal; nobody is told of anything before `end` is reached, where the log ended when we took it over.
    """

    def __init__(self, partition: int, standing: Assigned) -> None:
        self.partition = partition
        self.end = standing.end
        self.position: int | None = None
        self.safe: int | None = None
        self.caught_up = False
        self.journal: Journal | None = None
        self.ready = False
        self.letters: list[DeadLetter] = []


class NotifyStage:
    """The stage named `notify`."""

    name = "notify"
    topics = registry.reads(name)

    def __init__(self, settings: Settings) -> None:
        """Raises `HeadgateError` where no receiver is configured."""
        self._settings = settings
        receivers = posting.configured(settings.notify)
        if not receivers:
            raise HeadgateError("notify: found no receiver, expected one under [notify] in headgate.toml")
        self._desk = Desk(self.name, receivers, Silences(signing.keyring(settings.signing)))
        self._posts: dict[int, Post] = {}
        self._codec: Codec[Alert] = Codec(Alert)
        self._silences: Follower | None = None
        self._writing: asyncio.Task[None] | None = None
        self._letters = 0
        self._ticked: int | None = None

    def assigned(self, partitions: Mapping[TopicPartition, Assigned]) -> None:
        """What is known of them is read before their first records, or at the next tick."""
        for place, standing in partitions.items():
            self._posts[place.partition] = Post(place.partition, standing)

    def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Forgets them. Answers to what is under way are no longer ours to write down."""
        numbers = {place.partition for place in partitions}
        for number in numbers:
            self._posts.pop(number, None)
        self._desk.forget(numbers)

    async def process(self, partition: TopicPartition, records: Sequence[Record]) -> None:
        """Takes in alerts; nobody is told before the next tick."""
        post = self._posts[partition.partition]
        await self._prepare(post)
        now = _now()
        for record in records:
            try:
                alert = _ended(self._codec.decode(record.value), record.timestamp)
            except (ValueError, RecursionError) as error:
                self._letters += 1
                post.letters.append(dead_letter(self.name, partition, record, str(error), now))
            else:
                self._desk.book.take(alert, partition.partition, record.offset, now)
        post.position = records[-1].offset + 1
        self._desk.hurry()

    def held(self) -> Collection[TopicPartition]:
        """Nothing is ever held back."""
        return ()

    async def tick(self, readings: Mapping[TopicPartition, Reading], now: int) -> None:
        """Follows silences, tells receivers what is due, and writes down what came of it."""
        if self._ticked is not None and now - self._ticked > 1_000 * self._settings.streams.session:
            self._desk.doubt()  # we were frozen: the group may have given our partitions to others
        self._ticked = now
        for post in list(self._posts.values()):
            await self._prepare(post)
        await self._follow()
        for place, reading in readings.items():
            self._advance(self._posts[place.partition], reading)
        ready = {post.partition for post in self._posts.values() if post.ready and post.caught_up}
        self._desk.plan(ready, now)
        self._desk.post(now)
        self._write_down()

    def safe(self, partition: TopicPartition) -> Committed | None:
        """The offset after the last record that is written down, as far as there was anything to write."""
        post = self._posts.get(partition.partition)
        return None if post is None or post.safe is None else Committed(post.safe, "")

    def vitals(self) -> dict[str, float]:
        """See `streams.health.VITALS`."""
        return {
            "catching_up": sum(not post.caught_up for post in self._posts.values()),
            "dead_letters_total": self._letters,
            **self._desk.vitals(_now()),
        }

    async def close(self) -> None:
        """Waits a moment for answers, and writes them down."""
        await self._desk.close()
        for _ in range(2):  # what is being written, and what has come since
            self._write_down()
            if self._writing is not None:
                await self._writing
        if self._silences is not None:
            await asyncio.to_thread(self._silences.close)

    async def _prepare(self, post: Post) -> None:
        """Takes the partition over, then reads what stands: in that order, so that no zombie can write after
        it was read.
        """
        if post.ready:
            return
        if post.journal is None:
            opened = Journal(self._settings, post.partition)
            await asyncio.to_thread(opened.open)
            post.journal = opened
        follower = Follower(self._settings, topics.OPEN_ALERTS)
        try:
            entries = await patiently(follower.refresh)
        finally:
            await asyncio.to_thread(follower.close)
        if self._posts.get(post.partition) is post:
            for key, case in journal.kept(entries, post.partition).items():
                self._desk.book.restore(post.partition, key, case)
            post.ready = True
            self._desk.hurry()

    async def _follow(self) -> None:
        """Takes in silences that were made or ended since."""
        if self._silences is None:
            follower = Follower(self._settings, topics.SILENCES)
            entries = await patiently(follower.refresh)
            self._silences = follower
        else:
            entries = self._silences.poll(0)
        for entry in entries:
            self._silence(entry)

    def _silence(self, entry: Entry) -> None:
        try:
            self._desk.silences.read(entry.key, entry.value, entry.timestamp, entry.headers)
        except ValueError as error:
            log.error("control.silences, offset %d: %s; it silences nothing", entry.offset, error)
        self._desk.hurry()

    def _advance(self, post: Post, reading: Reading) -> None:
        if post.position is None or reading.position > post.position:
            post.position = reading.position  # also past what is no record
        if not post.caught_up and post.position >= post.end:
            post.caught_up = True
            self._desk.hurry()

    def _write_down(self) -> None:
        """Begins to write what has changed, unless something is being written. Raises what kept that from
        being written.
        """
        if self._writing is not None and not self._writing.done():
            return
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()
        for partition, letter in self._desk.letters():
            if partition in self._posts:
                self._letters += 1
                self._posts[partition].letters.append(letter)
        if self._desk.waits or any(post.letters for post in self._posts.values()):
            self._writing = asyncio.create_task(self._write())
        else:
            for post in self._posts.values():
                post.safe = post.position if post.ready else None

    async def _write(self) -> None:
        """Writes what there is, and only then calls it safe, and lets be posted what waited for it."""
        notes: dict[int, list[Note]] = {}
        for place, case in self._desk.book.changes():
            notes.setdefault(place.partition, []).append(journal.note(place.key, case))
        posts = [(post, post.position, post.letters) for post in self._posts.values() if post.ready]
        for post, _, _ in posts:
            post.letters = []
        queued = self._desk.queued()
        for post, position, letters in posts:
            await self._keep(post, notes.get(post.partition, []), letters)
            post.safe = position
        self._desk.written(queued)

    async def _keep(self, post: Post, notes: Sequence[Note], letters: Sequence[DeadLetter]) -> None:
        if post.journal is None or not (notes or letters):
            return
        try:
            await asyncio.to_thread(post.journal.write, notes, letters)
        except FencedError:
            if self._posts.get(post.partition) is post:
                raise
            log.info("partition %d of alerts has gone to another process in mid-write", post.partition)


def _ended(alert: Alert, timestamp: int) -> Alert:
    """With an end, where it is resolved: the record's Kafka timestamp (ms) if it names none."""
    if alert.status == "resolved" and alert.ends_at is None:
        return msgspec.structs.replace(alert, ends_at=max(timestamp, alert.starts_at))
    return alert


def _now() -> int:
    return time.time_ns() // 1_000_000
