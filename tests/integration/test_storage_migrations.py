"""The database is brought up to date on the real engine: new, old, damaged, by several at once, never
back."""

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import clickhouse_connect
import msgspec
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from schemas.clickhouse import PANES, TABLES
from schemas.records import ENCODER, Sample
from schemas.settings import Settings, Storage
from schemas.table import Stored
from streams.sink import SinkStage
from streams.stage import Assigned, TopicPartition
from streams.storage import NAMES, grants, migrate
from streams.storage.complaints import explain
from streams.storage.layout import Layout
from streams.storage.migration import SchemaError, migrations, state
from streams.storage.views import definitions
from streams.storage.writer import AwayError, Writer
from tests.contract.view_world import NOON, pane


class World:
    """A database, and a client of the server that it is to be on."""

    def __init__(self, settings: Settings) -> None:
        self.name = f"migrations_{uuid4().hex[:8]}"
        own = msgspec.structs.replace(settings.clickhouse, database=self.name)
        self.settings = msgspec.structs.replace(settings, clickhouse=own)
        self.client: Client = clickhouse_connect.get_client(**own.connect(), autogenerate_session_id=False)

    def migrate(self, **days: int) -> None:
        self.storage = Storage(**days)
        migrate(self.client, self.name, self.storage)
        self.client.database = self.name

    def read(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.client.query(query).result_rows]

    def noted(self) -> list[int]:
        return [number for (number,) in self.read("SELECT number FROM schema_migrations ORDER BY number")]

    def write(self, **fields: object) -> None:
        Writer(self.settings.clickhouse, self.storage).write({PANES: [Stored(pane(**fields), 0, 0)]})  # type: ignore[arg-type]


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    """Without a database yet."""
    made = World(settings)
    yield made
    made.client.command(f"DROP DATABASE IF EXISTS {made.name}")
    made.client.close()


@pytest.fixture(scope="module")
def current(settings: Settings) -> Iterator[World]:
    """A database that is up to date, to be left so."""
    made = World(settings)
    made.migrate()
    yield made
    made.client.command(f"DROP DATABASE {made.name}")
    made.client.close()


ALL = [each.number for each in migrations()]

# What they make


def test_tables_have_the_columns_keys_and_versions_that_the_sink_writes_for(current: World) -> None:
    for table in TABLES:
        rows = current.read(
            "SELECT name, type FROM system.columns"
            f" WHERE database = '{current.name}' AND table = '{table.name}'"
        )
        found = dict(rows)
        assert {column.name: column.type for column in table.columns}.items() <= found.items()
        [[key, engine, partition]] = current.read(
            "SELECT sorting_key, engine_full, partition_key FROM system.tables"
            f" WHERE database = '{current.name}' AND name = '{table.name}'"
        )
        assert key == ", ".join(table.order_by)
        assert engine.startswith(
            f"ReplacingMergeTree({table.version})" if table.version else "ReplacingMergeTree "
        )
        assert set(re.findall(r"\((\w+)\)", partition)) <= set(table.order_by)


def test_the_columns_that_views_are_made_with_are_those_of_their_queries(current: World) -> None:
    for name, query in definitions(current.name).items():
        made = [(column, type_) for column, type_, *_ in current.read(f"DESCRIBE TABLE {name}")]
        assert made == [(column, type_) for column, type_, *_ in current.read(f"DESCRIBE ({query})")], name


def test_a_new_database_has_every_migration_noted_with_its_checksum_and_the_version(current: World) -> None:
    rows = current.read(
        "SELECT number, name, checksum, headgate != '' FROM schema_migrations ORDER BY number"
    )
    assert rows == [(each.number, each.name, each.checksum, True) for each in migrations()]
    assert state(current.client, current.name).current


def test_to_migrate_again_changes_nothing(current: World) -> None:
    query = (
        "SELECT name, uuid, metadata_modification_time FROM system.tables"
        f" WHERE database = '{current.name}' ORDER BY name"
    )
    before = current.read(query)
    current.migrate()
    assert current.read(query) == before
    assert current.noted() == ALL


def test_no_view_has_rows_or_complaints_about_a_model_that_there_is_not(current: World) -> None:
    for view in NAMES:
        if view not in ("sources", "dead_letters"):
            assert current.read(f"SELECT * FROM {view} WHERE model = 'nobody'") == []


def test_every_statement_for_a_cluster_is_sql(current: World) -> None:
    """Parsed by the engine; there is no cluster to run them on."""
    layout = Layout("headgate", "main")
    for migration in migrations():
        for statement in migration.statements:
            for one in layout.statements(statement):
                assert "Query " in str(current.client.command(f"EXPLAIN AST {one}"))


def test_every_statement_for_the_reader_is_sql(current: World) -> None:
    """Parsed by the engine, whose one account may not make users."""
    for layout in (Layout("headgate"), Layout("headgate", "main")):
        for one in grants.statements(layout, "dash-board", "x"):
            assert "Query" in str(current.client.command(f"EXPLAIN AST {one}"))


# What was there before


def test_a_database_from_before_there_were_migrations_is_taken_over_with_its_rows(world: World) -> None:
    """Monthly partitions, fewer columns, views of its own."""
    for statement in (
        f"CREATE DATABASE {world.name}",
        f"CREATE TABLE {world.name}.panes (model LowCardinality(String), version LowCardinality(String), "
        "arm LowCardinality(String), segment LowCardinality(String), segment_value String, "
        "start DateTime64(3, 'UTC'), end DateTime64(3, 'UTC'), generation Int64, partition UInt64, "
        "part Int64, snapshot UInt64, deadline DateTime64(3, 'UTC'), retracted Bool, "
        "sums Map(LowCardinality(String), Float64), latency Map(Int32, UInt64), topic_partition UInt32) "
        "ENGINE = ReplacingMergeTree(snapshot) PARTITION BY toYYYYMMDD(start) "
        "PRIMARY KEY (model, segment, start) ORDER BY "
        "(model, segment, start, segment_value, version, arm, end, generation, partition, part)",
        f"CREATE TABLE {world.name}.samples_log (model LowCardinality(String), ts DateTime64(3, 'UTC'), "
        "name LowCardinality(String), value Float64, version Nullable(String), phase Nullable(String), "
        "labels Map(LowCardinality(String), String), topic_partition UInt32, topic_offset UInt64) "
        "ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(ts) "
        "ORDER BY (model, name, ts, topic_partition, topic_offset)",
        f"INSERT INTO {world.name}.panes (model, version, arm, start, end, deadline, sums) "
        f"SELECT 'ranker', 'v1', 'stable', fromUnixTimestamp64Milli(toInt64({NOON})) AS at, at + 10, "
        "at + 70, map('predictions', 7.)",
        f"INSERT INTO {world.name}.samples_log (model, ts, name, value) "
        "SELECT 'ranker', now64(3), 'loss', 0.5",
        f"CREATE VIEW {world.name}.metrics AS SELECT 1 AS old",
    ):
        world.client.command(statement)
    world.migrate()
    assert world.noted() == ALL
    assert world.read("SELECT value FROM metrics WHERE metric = 'predictions'") == [(7.0,)]
    assert world.read("SELECT value FROM samples") == [(0.5,)]
    world.write(partition=1)
    assert world.read("SELECT value FROM metrics_1h WHERE metric = 'predictions'") == [(17.0,)]


def test_a_migration_that_fails_half_way_is_done_again_and_nothing_is_lost(world: World) -> None:
    world.migrate()
    world.write()
    for name in ("panes_1h", "rolled", "panes_1m"):
        world.client.command(f"DROP TABLE {name}")
    world.client.command("TRUNCATE TABLE schema_migrations")
    world.client.command("CREATE TABLE panes_1h (start DateTime64(3, 'UTC')) ENGINE = Log")
    with pytest.raises(SchemaError, match=r"migration 3 \(rollups\) stopped at 'ALTER TABLE .*`panes_1h`"):
        world.migrate()
    assert world.noted() == [1, 2]
    world.client.command("DROP TABLE panes_1h")
    world.migrate()
    assert world.noted() == ALL
    assert world.read("SELECT value FROM metrics_1m WHERE metric = 'predictions'") == [(10.0,)]


def test_a_table_a_column_and_a_view_that_are_gone_are_made_again(world: World) -> None:
    world.migrate()
    world.write()
    world.client.command("DROP TABLE rolled")
    world.client.command("ALTER TABLE panes DROP COLUMN quality")
    world.client.command("DROP VIEW drift")
    found = state(world.client, world.name)
    assert (found.missing, found.views) == (["panes.quality", "rolled"], ["drift"])
    world.migrate()
    assert state(world.client, world.name).current
    assert world.read("SELECT value FROM metrics WHERE metric = 'predictions'") == [(10.0,)]


def test_several_may_migrate_at_the_same_time(world: World) -> None:
    def one(_: int) -> None:
        with clickhouse_connect.get_client(
            **world.settings.clickhouse.connect(), autogenerate_session_id=False
        ) as client:
            migrate(client, world.name)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(one, range(3)))
    assert state(world.client, world.name).current


# Forward only


@pytest.fixture
def newer(current: World) -> Iterator[World]:
    """A database at which a newer Headgate has been."""
    current.client.command(
        "INSERT INTO schema_migrations SELECT 900, 'later', 'x', now64(3), '9.1' SETTINGS async_insert = 0"
    )
    yield current
    current.client.command(
        "ALTER TABLE schema_migrations DELETE WHERE number = 900 SETTINGS mutations_sync = 1"
    )


def test_a_database_of_a_newer_headgate_is_refused_with_both_versions(newer: World) -> None:
    with pytest.raises(SchemaError) as refusal:
        newer.migrate()
    said = str(refusal.value)
    assert f"database {newer.name}: found migration 900 (later), which Headgate 9.1 applied" in said
    assert f"expected {ALL[-1]} at most" in said
    assert said.endswith("run the newer Headgate")


def test_before_a_newer_database_the_sink_waits_and_loses_nothing(
    newer: World, caplog: pytest.LogCaptureFixture
) -> None:
    partition = TopicPartition("metrics.samples", 0)

    class Message:
        offset, timestamp, key, headers = 0, NOON, b"ranker", ()
        value = ENCODER.encode(Sample(model="newer", ts=NOON, name="loss", value=1.0))

    async def scenario() -> None:
        stage = SinkStage(newer.settings)
        stage.assigned({partition: Assigned(None, 0, 1)})
        await stage.process(partition, [Message()])
        closing = asyncio.create_task(stage.close())
        async with asyncio.timeout(20):
            while not caplog.records:
                await asyncio.sleep(0.05)
        assert stage.safe(partition) is None
        newer.client.command(
            "ALTER TABLE schema_migrations DELETE WHERE number = 900 SETTINGS mutations_sync = 1"
        )
        await closing
        safe = stage.safe(partition)
        assert safe is not None
        assert safe.offset == 1

    asyncio.run(scenario())
    assert "which Headgate 9.1 applied" in caplog.text
    assert newer.read("SELECT value FROM samples WHERE model = 'newer'") == [(1.0,)]


def test_a_migration_that_was_another_one_is_refused(current: World) -> None:
    query = (
        "ALTER TABLE schema_migrations UPDATE checksum = '{}' WHERE number = 1 SETTINGS mutations_sync = 1"
    )
    current.client.command(query.format("other"))
    with pytest.raises(SchemaError, match=r"migration 1 \(tables\).* is not the one of that number here"):
        current.migrate()
    current.client.command(query.format(migrations()[0].checksum))


# Age


def test_rows_go_when_they_were_written_too_long_ago_whatever_their_own_time(world: World) -> None:
    world.migrate(panes_days=7, samples_days=0)
    world.write()  # of 2023
    world.write(start=NOON + 86_400_000)
    engines = dict(world.read(f"SELECT name, engine_full FROM system.tables WHERE database = '{world.name}'"))
    assert "TTL written + toIntervalDay(7)" in engines["panes"]
    assert "TTL" not in engines["samples_log"]
    world.client.command(
        f"ALTER TABLE panes UPDATE written = now() - 8 * 86400"
        f" WHERE start = fromUnixTimestamp64Milli(toInt64({NOON})) SETTINGS mutations_sync = 1"
    )
    world.client.command("OPTIMIZE TABLE panes FINAL")
    assert world.read("SELECT toUnixTimestamp64Milli(start) FROM panes") == [(NOON + 86_400_000,)]


def test_another_age_in_the_settings_holds_from_the_next_time_on(world: World) -> None:
    query = (
        "SELECT extract(engine_full, 'toIntervalDay.([0-9]+)') FROM system.tables"
        f" WHERE database = '{world.name}' AND name = 'panes'"
    )
    found = []
    for days in (7, 14, 0):
        world.migrate(panes_days=days)
        found += world.read(query)
    assert found == [("7",), ("14",), ("",)]


# ClickHouse refuses


def test_a_full_disk_is_said_and_the_same_rows_are_taken_when_there_is_room(world: World) -> None:
    world.migrate()
    world.client.command(
        "ALTER TABLE panes MODIFY SETTING min_free_disk_bytes_to_perform_insert = 1000000000000000000"
    )
    with pytest.raises(AwayError, match="make room on ClickHouse's disk"):
        world.write()
    world.client.command("ALTER TABLE panes RESET SETTING min_free_disk_bytes_to_perform_insert")
    world.write()
    assert world.read("SELECT value FROM metrics WHERE metric = 'predictions'") == [(10.0,)]


def test_a_wrong_password_is_said_and_not_repeated(settings: Settings) -> None:
    wrong = msgspec.structs.replace(settings.clickhouse, password="s3cret")
    with pytest.raises(AwayError) as refusal:
        Writer(wrong).write({})
    said = str(refusal.value)
    assert "Authentication failed" in said
    assert "HEADGATE_CLICKHOUSE_PASSWORD" in said
    assert "s3cret" not in said


def test_a_clickhouse_that_may_only_be_read_is_said(current: World) -> None:
    with pytest.raises(DatabaseError) as refusal:
        current.client.command("TRUNCATE TABLE rolled", settings={"readonly": 2})
    assert "give this user the right to write" in explain(refusal.value)
