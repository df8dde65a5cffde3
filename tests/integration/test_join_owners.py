"""Owners of a source partition, one after the other and at the same time, on the real broker: whose snapshots
hold. Faust is left out: each stage is handed its records here.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping

import msgspec
import pytest

from infra import topics as admin
from schemas import topics
from schemas.errors import HeadgateError
from schemas.records import ENCODER, ORIGIN, Codec, Pane, PaneRecord, Progress
from schemas.settings import Settings
from streams.columns import Records
from streams.join.murmur import partitions as murmur
from streams.join.stage import ROUNDS, JoinStage
from streams.log import Follower, Output
from streams.stage import Assigned, Committed, Reading, TopicPartition
from tests.conftest import SharedStack, isolated
from tests.oracle.log import Raw
from tests.oracle.panes import newest

PLACES = [TopicPartition(topic.name, 0) for topic in topics.EVENTS]
PLACE = TopicPartition(topics.PREDICTIONS.name, 0)
NOON = 1_767_268_800_000
HOUR = 3_600_000
Commits = Mapping[TopicPartition, Committed | None]
NOTHING: Commits = dict.fromkeys(PLACES)


class Log:
    """The predictions that are there, and what all owners say about them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.records: list[Raw] = []
        self._said = Follower(settings, topics.PANES)
        self._codec: Codec[PaneRecord] = Codec(PaneRecord)

    def predict(self, count: int) -> None:
        """More predictions of one pane."""
        for _ in range(count):
            number = len(self.records)
            prediction = {
                "request_id": f"r{number}", "ts": NOON + number, "model": "ranker", "version": "v1",
                "arm": "stable", "status": "ok", "latency_ms": 1,
            }  # fmt: skip
            key, value = f"r{number}".encode(), json.dumps(prediction).encode()
            self.records.append(Raw(number, NOON + number, key, value))

    def publish(self, panes: Iterable[Pane]) -> None:
        """Says what another owner would."""
        output = Output(self.settings)
        for pane in panes:
            output.send(topics.PANES, pane.model, ENCODER.encode(pane))
        output.flush()

    def said(self) -> list[Pane | Progress]:
        """What has been said since the last call."""
        return [self._codec.decode(entry.value) for entry in self._said.refresh()]

    def panes(self) -> list[Pane]:
        """The panes among it."""
        return [record for record in self.said() if isinstance(record, Pane)]


class Owner:
    """A join stage that owns the source partition from `commits` on."""

    def __init__(self, log: Log, commits: Commits = NOTHING) -> None:
        self._log = log
        self._stage = JoinStage(log.settings)
        self._ends = {place: len(log.records) if place == PLACE else 0 for place in PLACES}
        self._stage.assigned({place: Assigned(commits[place], 0, self._ends[place]) for place in PLACES})
        self._position = max((commit.offset for commit in commits.values() if commit is not None), default=0)
        self._now = time.time_ns() // 1_000_000

    async def read(self, count: int) -> None:
        """Reads the next records."""
        records = self._log.records[self._position : self._position + count]
        self._position += count
        await self._stage.process(PLACE, Records.of(records))

    def commits(self) -> dict[TopicPartition, Committed | None]:
        """What it would commit now."""
        return {place: self._stage.safe(place) for place in PLACES}

    async def say(self, committed: Commits | None = None) -> None:
        """A round of output, two seconds after the last, when the broker has `committed`: by default what the
        stage would have it.
        """
        held = self.commits() if committed is None else committed
        self._now += 2_000
        readings = {
            place: Reading(
                self._position if place == PLACE else 0,
                max(self._ends[place], self._position if place == PLACE else 0),
                self._now,
                held[place],
            )
            for place in PLACES
        }
        await self._stage.tick(readings, self._now)

    async def begin(self) -> None:
        """The first round, in which it sees that its epoch is committed."""
        await self.say()

    async def close(self) -> None:
        await self._stage.close()


@pytest.fixture
def log(stack: SharedStack) -> Log:
    """A log of this test's own."""
    settings = isolated(stack.settings)
    settings = msgspec.structs.replace(
        settings, topics=msgspec.structs.replace(settings.topics, partitions=1)
    )
    admin.create(settings, forever=True)
    return Log(settings)


def predictions(panes: list[Pane]) -> float:
    """The predictions of all panes, by the snapshots that hold."""
    return sum(pane.sums.get("predictions", 0) for pane in newest(panes).values())


def test_nothing_is_said_before_the_broker_has_the_epoch_for_the_next_owner_to_see(log: Log) -> None:
    async def scenario() -> tuple[list[Pane | Progress], list[Pane]]:
        log.predict(3)
        owner = Owner(log)
        await owner.read(3)
        await owner.say(NOTHING)
        await owner.say(NOTHING)
        before = log.said()
        await owner.begin()
        await owner.say()
        await owner.close()
        return before, log.panes()

    before, after = asyncio.run(scenario())
    assert before == []
    assert predictions(after) == 3


def test_a_later_owner_holds_against_one_before_whose_clock_was_ahead(log: Log) -> None:
    async def scenario() -> list[Pane]:
        log.predict(2)
        first = Owner(log)
        await first.read(2)
        await first.begin()
        await first.say()
        said = log.panes()
        log.publish(
            [msgspec.structs.replace(pane, snapshot=pane.snapshot + (HOUR << ROUNDS)) for pane in said]
        )
        log.predict(1)
        second = Owner(log, {place: _ahead(commit) for place, commit in first.commits().items()})
        await second.read(3)
        for _ in range(2):
            await second.say()
        await first.close()
        await second.close()
        return said + log.panes()

    assert predictions(asyncio.run(scenario())) == 3


def _ahead(commit: Committed | None) -> Committed:
    """As an owner commits whose clock is an hour ahead."""
    assert commit is not None
    note = msgspec.json.decode(commit.metadata, type=dict[str, object])
    note["epoch"] = int(str(note["epoch"])) + HOUR
    return Committed(commit.offset, msgspec.json.encode(note).decode())


def test_a_zombie_that_goes_on_where_it_stood_loses_against_its_successor(log: Log) -> None:
    async def scenario() -> list[Pane]:
        log.predict(1)
        zombie = Owner(log)
        await zombie.read(1)
        for _ in range(20):  # it has said much, a later owner has only begun
            await zombie.say()
        log.predict(3)
        successor = Owner(log, zombie.commits())
        await successor.read(4)
        for _ in range(2):
            await successor.say()
        await zombie.read(1)
        for _ in range(2):
            await zombie.say()
        await zombie.close()
        await successor.close()
        return log.panes()

    assert predictions(asyncio.run(scenario())) == 4


def test_no_two_snapshots_of_an_owner_have_one_version(log: Log) -> None:
    async def scenario() -> list[Pane]:
        owner = Owner(log)
        await owner.begin()
        for _ in range(3):
            log.predict(1)
            await owner.read(1)
            await owner.say()
        await owner.close()
        return log.panes()

    panes = asyncio.run(scenario())
    assert len({pane.snapshot for pane in panes}) == len(panes) == 3
    assert predictions(panes) == 3


def test_a_successor_says_nothing_of_open_panes_before_it_has_read_what_was_there_when_it_began(
    log: Log,
) -> None:
    async def scenario() -> tuple[list[Pane], list[Pane]]:
        log.predict(3)
        first = Owner(log)
        await first.read(3)
        await first.begin()
        await first.say()
        second = Owner(log, first.commits())
        log.panes()
        await second.read(2)
        for _ in range(3):
            await second.say()
        before = log.panes()
        await second.read(1)
        await second.say()
        await first.close()
        await second.close()
        return before, log.panes()

    before, after = asyncio.run(scenario())
    assert before == []
    assert predictions(after) == 3


def _noted(**note: object) -> Commits:
    """What a predecessor has committed that still needs everything from the first record on."""
    whole = {"clock": 0, "epoch": 1, "time": 0, "partitions": 1} | note
    return dict.fromkeys(PLACES, Committed(0, json.dumps(whole)))


def _read_by_a_successor(log: Log, commits: Commits) -> list[Pane]:
    """What it says of all records, once their panes' deadlines may have passed, too."""

    async def scenario() -> list[Pane]:
        owner = Owner(log, commits)
        await owner.read(len(log.records))
        for _ in range(3):
            await owner.say()
        await owner.close()
        return log.panes()

    return asyncio.run(scenario())


def test_a_successor_goes_by_the_clock_that_its_predecessor_had_before_the_committed_offset(log: Log) -> None:
    log.predict(2)
    panes = _read_by_a_successor(log, _noted(clock=NOON + HOUR))
    assert predictions(panes) == 0
    assert sum(pane.sums.get("late", 0) for pane in newest(panes).values()) == 2


def test_a_successor_says_nothing_of_panes_that_its_predecessor_has_finished(log: Log) -> None:
    log.predict(2)
    assert _read_by_a_successor(log, _noted(time=NOON + HOUR)) == []


def test_a_successor_knows_which_records_have_been_published_again(log: Log) -> None:
    log.predict(3)
    log.records = [
        record._replace(headers=[(ORIGIN, f"{PLACE.topic}/1/{7 + number}".encode())])
        for number, record in enumerate(log.records)
    ]
    panes = _read_by_a_successor(log, _noted(origins={"1": 8}))
    assert predictions(panes) == 1


def test_a_record_in_the_wrong_partition_is_published_again_in_the_right_one_with_its_origin(
    stack: SharedStack,
) -> None:
    log = Log(_two_partitions(stack))
    log.predict(8)
    again = Follower(log.settings, topics.PREDICTIONS)
    _read_by_a_successor(log, NOTHING)
    entries = again.refresh()
    assert {entry.partition for entry in entries} == {1}
    places = murmur([record.key or b"" for record in log.records], 2)
    wrong = [record for record, place in zip(log.records, places, strict=True) if place == 1]
    assert [(entry.key, entry.value, entry.timestamp) for entry in entries] == [
        (record.key, record.value, record.timestamp) for record in wrong
    ]
    assert [dict(entry.headers)[ORIGIN] for entry in entries] == [
        f"{PLACE.topic}/0/{record.offset}".encode() for record in wrong
    ]


def test_a_record_that_was_published_again_and_is_wrong_still_goes_no_further(stack: SharedStack) -> None:
    log = Log(_two_partitions(stack))
    log.predict(8)
    log.records = [record._replace(headers=[(ORIGIN, b"a/1/2")]) for record in log.records]
    again = Follower(log.settings, topics.PREDICTIONS)
    _read_by_a_successor(log, NOTHING)
    assert again.refresh() == []


def test_a_successor_refuses_another_number_of_partitions_and_says_how_to_migrate(log: Log) -> None:
    with pytest.raises(HeadgateError, match=r"found 1 partitions, expected 4.*under another prefix"):
        Owner(log, _noted(partitions=4))


def _two_partitions(stack: SharedStack) -> Settings:
    settings = isolated(stack.settings)
    settings = msgspec.structs.replace(
        settings, topics=msgspec.structs.replace(settings.topics, partitions=2)
    )
    admin.create(settings, forever=True)
    return settings
