"""The sink stage without Faust: what it calls safe, and what it does while ClickHouse is away."""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

import clickhouse_connect
import msgspec
import pytest

from infra.local import ports
from schemas import topics
from schemas.records import ENCODER, Sample
from schemas.settings import Settings
from streams.sink import FULL, SinkStage
from streams.stage import Assigned, Reading, TopicPartition
from streams.storage.writer import Writer
from tests.contract.view_world import MINUTE, pane, progress

NOW = time.time_ns() // 1_000_000
SAMPLES = TopicPartition(topics.SAMPLES.name, 0)
PANES = TopicPartition(topics.PANES.name, 0)
COMMANDS = TopicPartition(topics.COMMANDS.name, 0)


class Message(NamedTuple):
    """A record as a Kafka client hands it over."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def messages(first: int, count: int, size: int = 10) -> list[Message]:
    """Samples, each with a label of `size` bytes."""
    return [
        Message(offset, NOW, b"ranker", ENCODER.encode(
            Sample(model="ranker", ts=NOW, name="loss", value=1.0, labels={"label": "x" * size})
        ))
        for offset in range(first, first + count)
    ]  # fmt: skip


def assign(stage: SinkStage, *partitions: TopicPartition) -> None:
    stage.assigned({partition: Assigned(None, 0, 100) for partition in partitions})


def readings(**positions: int) -> dict[TopicPartition, Reading]:
    places = {"samples": SAMPLES, "commands": COMMANDS}
    return {places[name]: Reading(position, position, NOW) for name, position in positions.items()}


def count(settings: Settings) -> int:
    client = clickhouse_connect.get_client(**settings.clickhouse.connect())
    try:
        found: int = client.command(f"SELECT count() FROM {settings.clickhouse.database}.samples")  # type: ignore[assignment]
    finally:
        client.close()
    return found


@pytest.fixture(scope="module", autouse=True)
def tables(settings: Settings) -> None:
    """All tables and views are there: on a busy machine it takes longer to make them than to say farewell."""
    writer = Writer(settings.clickhouse, settings.storage)
    writer.write({})
    writer.close()


@pytest.fixture
def away(settings: Settings) -> Settings:
    """Settings with a ClickHouse that is not there."""
    nowhere = msgspec.structs.replace(settings.clickhouse, url=f"http://127.0.0.1:{ports.free()}")
    return msgspec.structs.replace(settings, clickhouse=nowhere)


async def fill(stage: SinkStage) -> int:
    """Gives the stage as much as it takes without ClickHouse: one block on its way, and one gathered. Answers
    the offset at which it goes on."""
    for offset in range(20):
        await stage.process(SAMPLES, messages(offset, 1, FULL // 10))
    return 20


def test_nothing_is_safe_before_it_is_in_clickhouse_and_all_of_it_after(settings: Settings) -> None:
    async def scenario() -> None:
        stage = SinkStage(settings)
        assign(stage, SAMPLES)
        await stage.process(SAMPLES, messages(0, 5))
        assert stage.safe(SAMPLES) is None
        await stage.close()
        safe = stage.safe(SAMPLES)
        assert safe is not None
        assert safe.offset == 5
        assert count(settings) == 5

    asyncio.run(scenario())


def test_where_nothing_is_gathered_all_that_was_read_is_safe(settings: Settings) -> None:
    """Also offsets without a record, such as transaction markers."""

    async def scenario() -> None:
        stage = SinkStage(settings)
        assign(stage, SAMPLES, COMMANDS)
        await stage.process(SAMPLES, messages(0, 5))
        await stage.tick({}, NOW)
        await stage.tick(readings(samples=6, commands=17), NOW)
        commands, samples = stage.safe(COMMANDS), stage.safe(SAMPLES)
        assert commands is not None
        assert commands.offset == 17
        assert samples is None or samples.offset in (5, 6)
        await stage.close()
        await stage.tick(readings(samples=6), NOW)
        samples = stage.safe(SAMPLES)
        assert samples is not None
        assert samples.offset == 6

    asyncio.run(scenario())


def test_panes_that_are_final_are_added_up_to_minutes_after_they_are_written(settings: Settings) -> None:
    async def scenario() -> None:
        stage = SinkStage(settings)
        assign(stage, PANES)
        records = [pane(model="rolled"), progress(pane().deadline + MINUTE)]
        values = [ENCODER.encode(record) for record in records]
        await stage.process(PANES, [Message(i, NOW, b"rolled", value) for i, value in enumerate(values)])
        await stage.close()

    asyncio.run(scenario())
    with clickhouse_connect.get_client(**settings.clickhouse.connect()) as client:
        database = settings.clickhouse.database
        query = f"SELECT sums['predictions'] FROM {database}.panes_1m WHERE model = 'rolled'"
        assert client.query(query).result_rows == [(10.0,)]


def test_with_clickhouse_away_it_takes_two_blocks_and_then_waits(away: Settings) -> None:
    async def scenario() -> None:
        stage = SinkStage(away)
        assign(stage, SAMPLES)
        offset = await fill(stage)
        waiting = asyncio.create_task(stage.process(SAMPLES, messages(offset, 1)))
        done, _ = await asyncio.wait({waiting}, timeout=1.0)
        assert not done
        assert stage.safe(SAMPLES) is None
        waiting.cancel()

    asyncio.run(scenario())


def test_a_partition_that_is_revoked_while_it_waits_does_not_hang(away: Settings) -> None:
    async def scenario() -> None:
        stage = SinkStage(away)
        assign(stage, SAMPLES)
        offset = await fill(stage)
        waiting = asyncio.create_task(stage.process(SAMPLES, messages(offset, 1)))
        await asyncio.sleep(0)
        stage.revoked([SAMPLES])
        await asyncio.wait_for(waiting, 1.0)
        assert stage.safe(SAMPLES) is None

    asyncio.run(scenario())


def test_what_was_on_its_way_when_a_partition_went_is_not_called_safe_when_it_comes_back(
    settings: Settings,
) -> None:
    """Its position is then the committed offset again, and a safe one beyond that would be a lie."""

    async def scenario() -> None:
        stage = SinkStage(settings)
        assign(stage, SAMPLES)
        await stage.process(SAMPLES, messages(0, 5))
        await stage.tick({}, NOW)
        stage.revoked([SAMPLES])
        assign(stage, SAMPLES)
        await stage.close()
        assert count(settings) >= 5
        assert stage.safe(SAMPLES) is None

    asyncio.run(scenario())


def test_a_silence_without_value_is_a_tombstone_and_no_dead_letter(settings: Settings) -> None:
    silences = TopicPartition(topics.SILENCES.name, 0)

    async def scenario() -> None:
        stage = SinkStage(settings)
        assign(stage, silences)
        await stage.process(silences, [Message(0, NOW, b"ranker/s1", None)])
        await stage.close()
        assert stage.safe(silences) is not None
        assert stage.vitals()["dead_letters_total"] == 0

    asyncio.run(scenario())
