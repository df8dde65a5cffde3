"""Who is told what now: the book, the silences and the receivers put together; messages under way.

Knows no Kafka. One message at a time is under way to each Alertmanager and to each of a webhook's groups, so
the order of what is said of one alert is kept. A receiver that is away costs nothing but the newest record of
each alert.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from typing import NamedTuple

import aiohttp

from schemas.records import ENCODER, DeadLetter, Silence
from schemas.topics import ALERTS
from streams.columns import Row
from streams.letters import dead_letter
from streams.notify import posting
from streams.notify.book import Book
from streams.notify.plans import Group, Known, Message, unsent
from streams.notify.posting import Outcome, Receiver
from streams.notify.silencing import Silences, matches
from streams.stage import TopicPartition

log = logging.getLogger(__name__)

AHEAD = 500
"""A message waits for so long (ms) until it is written down that it is about to be posted, and no longer: a
page is not late because Kafka is."""
FAREWELL = 5.0
"""Seconds that messages under way have to be answered at the end; a successor posts them again."""


class Line:
    """What is between us and one receiver: the groups of which a message is under way, and how often in a row
    it has failed. Until wall time `until` (ms) it is left alone.
    """

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.busy: set[Group] = set()
        self.failures = 0
        self.until = 0

    @property
    def name(self) -> str:
        """The receiver's."""
        return self.receiver.plan.name


class Queued(NamedTuple):
    """A message that is to be posted once that is written down; `since`: wall time, ms."""

    line: Line
    message: Message
    since: int


class Desk:
    """All receivers of one process, and the silences that hold. `stage` is its name in dead letters."""

    def __init__(self, stage: str, receivers: Sequence[Receiver], silences: Silences) -> None:
        self.book = Book()
        self.silences = silences
        self._stage = stage
        self._lines = [Line(receiver) for receiver in receivers]
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._queue: list[Queued] = []
        self._letters: list[tuple[int, DeadLetter]] = []
        self._sure = True
        self._again = self._planned = 0
        self._posted = self._failed = 0
        self._silenced = self._unsent = 0
        self._oldest: int | None = None

    def doubt(self) -> None:
        """It may be that somebody else has our partitions: nothing is posted before something is written."""
        self._sure = False
        self.book.doubt()
        self.hurry()

    @property
    def waits(self) -> bool:
        """Whether something waits to be written down."""
        return self.book.changed or bool(self._queue)

    def hurry(self) -> None:
        """Something has happened: `plan` is to look again."""
        self._again = 0

    def forget(self, partitions: Collection[int]) -> None:
        """Somebody else tells of their alerts now."""
        self.book.forget(partitions)
        gone = [
            one for one in self._queue if any(place.partition in partitions for place in one.message.alerts)
        ]
        for one in gone:
            self._queue.remove(one)
            one.line.busy.discard(one.message.group)
        self.hurry()

    def plan(self, partitions: Collection[int], now: int) -> None:
        """Looks at what is due at wall time `now` (ms), of some partitions."""
        if self._planned <= now < self._again:  # unless the clock was put back
            return
        self._planned = now
        known = self._known(partitions, now)
        self._again = self.silences.next_change(now)
        for line in self._lines:
            if now < line.until:
                self._again = min(self._again, line.until)
                continue
            due = line.receiver.plan.due(known, line.busy, now)
            self._again = min(self._again, due.again)
            for message in due.messages:
                line.busy.add(message.group)
                if self.book.attempt(message.alerts, line.name) or not self._sure:
                    self._queue.append(Queued(line, message, now))
                else:
                    self._begin(line, message)
        self._count(known)

    def post(self, now: int) -> None:
        """Posts what has waited for too long. Raises what went wrong in posting others, beside what receivers
        do."""
        for task in [task for task in self._tasks if task.done()]:
            self._tasks.discard(task)
            task.result()
        if self._sure:
            self._begin_queued([queued for queued in self._queue if now >= queued.since + AHEAD])

    def queued(self) -> list[Queued]:
        """What is to be posted once all that has `changed` so far is written down."""
        return list(self._queue)

    def written(self, queued: Sequence[Queued]) -> None:
        """All that had changed is written down: posts them, unless they are already."""
        self._sure = True
        self._begin_queued(queued)

    def _begin_queued(self, queued: Sequence[Queued]) -> None:
        for one in queued:
            if one in self._queue:
                self._queue.remove(one)
                self._begin(one.line, one.message)

    def letters(self) -> list[tuple[int, DeadLetter]]:
        """What receivers have refused for good since the last call, each with the alert's partition."""
        letters, self._letters = self._letters, []
        return letters

    def vitals(self, now: int) -> dict[str, float]:
        """See `streams.health.VITALS`; at wall time `now` (ms)."""
        return {
            "failed_posts_total": self._failed,
            "oldest_unsent_seconds": 0.0 if self._oldest is None else max(0, now - self._oldest) / 1_000,
            "posted_alerts_total": self._posted,
            "receivers_away": sum(line.failures > 0 for line in self._lines),
            "silenced_alerts": self._silenced,
            "unsent_alerts": self._unsent,
        }

    async def close(self) -> None:
        """Gives what is under way a moment."""
        self._queue.clear()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=FAREWELL)
            for task in late:
                task.cancel()
        if self._session is not None:
            await self._session.close()

    def _known(self, partitions: Collection[int], now: int) -> list[Known]:
        """The cases that may be spoken of; those that are over for everybody are dropped."""
        self.silences.forget(now)
        silences: dict[str, list[Silence]] = {}
        for silence in self.silences.in_force(now):
            silences.setdefault(silence.model, []).append(silence)
        known = []
        for place, case in list(self.book.cases(partitions)):
            if not case.fires and all(line.receiver.plan.over(case, now) for line in self._lines):
                self.book.drop(place)
                continue
            about = silences.get(case.alert.model, ())
            silenced = case.fires and any(matches(silence, case.alert) for silence in about)
            if silenced:
                self.book.unsay(place, case)
            known.append(Known(place, case, silenced))
        return known

    def _count(self, known: Sequence[Known]) -> None:
        waiting = [one for one in known if any(unsent(one, line.name) for line in self._lines)]
        self._silenced = sum(one.silenced for one in known)
        self._unsent = len(waiting)
        self._oldest = min((one.case.noticed for one in waiting), default=None)

    def _begin(self, line: Line, message: Message) -> None:
        self._tasks.add(asyncio.create_task(self._post(line, message)))

    async def _post(self, line: Line, message: Message) -> None:
        if self._session is None:
            # Alerts are rare: a connection that the receiver has closed meanwhile would only cost time.
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        outcome = await line.receiver.post(self._session, message, _now())
        line.busy.discard(message.group)
        self.hurry()
        now = _now()
        self.book.tell(outcome.taken, line.name, now)
        self._posted += len(outcome.taken)
        self._refuse(line, outcome, now)
        if outcome.away is not None:
            self._failed += 1
            self._leave_alone(line, outcome.away, outcome.pause, now)
        elif line.failures:
            log.info("%s takes alerts again, after %d attempts", line.name, line.failures)
            line.failures, line.until = 0, 0

    def _leave_alone(self, line: Line, away: str, asked: float | None, now: int) -> None:
        """For a while, which is longer after each failure; messages that fail together are one."""
        if not line.failures:
            log.warning("%s does not take alerts (%s); trying on until it does", line.name, away)
        if now >= line.until:
            line.failures += 1
            line.until = now + int(1_000 * posting.pause_after(line.failures, asked))
        elif asked is not None:
            line.until = max(line.until, now + int(1_000 * posting.pause_after(line.failures, asked)))

    def _refuse(self, line: Line, outcome: Outcome, now: int) -> None:
        """What a receiver will never take is a dead letter, and not posted to it again as it is."""
        for place, (alert, reason) in outcome.refused.items():
            offset = self.book.offset(place)
            if offset is None:
                continue
            said = f"{line.name} {reason}"
            log.error("alert %s of %s: %s", alert.alert_id, alert.model, said)
            row = Row(offset, now, alert.model.encode(), ENCODER.encode(alert), ())
            where = TopicPartition(ALERTS.name, place.partition)
            self._letters.append((place.partition, dead_letter(self._stage, where, row, said, now)))
        refused = {place: alert for place, (alert, _) in outcome.refused.items()}
        self.book.refuse(refused, line.name, now)


def _now() -> int:
    return time.time_ns() // 1_000_000
