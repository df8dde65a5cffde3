"""Migrations, and what becomes of their statements on a cluster; the reading user; what ClickHouse's errors
say."""

from pathlib import Path

import msgspec
import pytest

from schemas.errors import HeadgateError
from schemas.settings import ClickHouse, Settings
from streams.storage import grants
from streams.storage.complaints import explain
from streams.storage.layout import SHARDED, Layout
from streams.storage.migration import Migration, migrations

HERE, CLUSTER = Layout("headgate"), Layout("headgate", "main")
STATEMENTS = [statement for migration in migrations() for statement in migration.statements]


def test_migrations_are_numbered_from_one_without_a_gap() -> None:
    assert [each.number for each in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_checksum_is_of_what_a_migration_does() -> None:
    one = Migration(1, "tables", ("ALTER TABLE a ADD COLUMN b Int8",))
    assert one.checksum != one._replace(statements=("ALTER TABLE a ADD COLUMN b Int16",)).checksum


@pytest.mark.parametrize(
    "statement", STATEMENTS, ids=lambda text: text.split("(")[0].strip().replace("\n", " ")
)
def test_every_statement_of_a_migration_can_be_run_again(statement: str) -> None:
    """By its words; `test_storage_migrations.py` runs them all twice."""
    create = statement.startswith("CREATE TABLE IF NOT EXISTS ")
    parts = [part.strip() for part in statement.partition("\n")[2].split(",\n")]
    assert create or all(
        part.startswith(("ADD COLUMN IF NOT EXISTS ", "MODIFY COLUMN ", "MODIFY SETTING "))
        for part in ([statement.split(maxsplit=3)[3]] if len(parts[0]) == 0 else parts)
    )


# On a cluster


def test_a_table_with_many_rows_is_replicated_on_each_shard_and_read_over_all_by_model() -> None:
    found = CLUSTER.statements(
        "CREATE TABLE IF NOT EXISTS panes\n(\n    model String\n)\n"
        "ENGINE = ReplacingMergeTree(snapshot)\nORDER BY model"
    )
    assert found == [
        "CREATE TABLE IF NOT EXISTS `headgate`.`panes_shard` ON CLUSTER 'main'\n(\n    model String\n)\n"
        "ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/headgate/panes', '{replica}', "
        "snapshot)\nORDER BY model",
        "CREATE TABLE IF NOT EXISTS `headgate`.`panes` ON CLUSTER 'main'\n(\n    model String\n)\n"
        "ENGINE = Distributed('main', 'headgate', 'panes_shard', cityHash64(model))",
    ]


def test_a_small_table_is_on_every_node_under_its_own_name() -> None:
    [found] = CLUSTER.statements(
        "CREATE TABLE IF NOT EXISTS rolled\n(\n    seconds UInt32\n)\n"
        "ENGINE = ReplacingMergeTree\nORDER BY seconds"
    )
    assert "`rolled` ON CLUSTER 'main'" in found
    assert (
        "ReplicatedReplacingMergeTree('/clickhouse/tables/all/headgate/rolled', '{shard}-{replica}')" in found
    )


def test_a_column_is_added_to_the_shards_and_to_what_is_read_over_them() -> None:
    assert CLUSTER.statements("ALTER TABLE panes ADD COLUMN IF NOT EXISTS a Int8") == [
        "ALTER TABLE `headgate`.`panes_shard` ON CLUSTER 'main'\nADD COLUMN IF NOT EXISTS a Int8",
        "ALTER TABLE `headgate`.`panes` ON CLUSTER 'main'\nADD COLUMN IF NOT EXISTS a Int8",
    ]


def test_codecs_settings_and_ages_are_the_shards_alone() -> None:
    [found] = CLUSTER.statements("ALTER TABLE panes MODIFY COLUMN sums CODEC(ZSTD(3))")
    assert "panes_shard" in found


def test_on_one_server_a_statement_is_what_the_migration_says() -> None:
    [found] = HERE.statements("ALTER TABLE panes MODIFY TTL written + toIntervalDay(1)")
    assert found == "ALTER TABLE `headgate`.`panes`\nMODIFY TTL written + toIntervalDay(1)"


@pytest.mark.parametrize("layout", [HERE, CLUSTER], ids=["one server", "cluster"])
def test_every_migration_can_be_put_for_it(layout: Layout) -> None:
    assert all(layout.statements(statement) for statement in STATEMENTS)


def test_what_is_sharded_has_a_model() -> None:
    creates = {text.split("(")[0].split()[-1]: text for text in STATEMENTS if text.startswith("CREATE")}
    assert creates.keys() >= SHARDED
    assert all("    model LowCardinality(String)" in creates[name] for name in SHARDED)


def test_a_statement_that_is_not_known_to_work_on_a_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match="found 'DROP TABLE panes', expected CREATE TABLE IF NOT EXISTS"):
        CLUSTER.statements("DROP TABLE panes")


# The reading user


def reader(**fields: str) -> Settings:
    return Settings(clickhouse=ClickHouse(**fields))


def test_the_statements_have_no_password_in_them() -> None:
    assert not any("pass-word" in each for each in grants.statements(HERE, "reader", "pass-word"))


def test_the_reader_may_read_the_database_and_change_nothing() -> None:
    profile, *_, grant = grants.statements(HERE, "reader", "x")
    assert "readonly = 2" in profile
    assert "max_memory_usage" in profile
    assert "max_execution_time" in profile
    assert grant == "GRANT SELECT ON `headgate`.* TO `reader`"


def test_the_readers_password_is_the_environments_or_the_files(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("of the file\n")
    settings = reader(reader_password_file=str(file))
    assert grants.password(settings, {}) == "of the file"
    assert grants.password(settings, {grants.VARIABLE: "stronger"}) == "stronger"


def test_without_a_password_there_is_no_user() -> None:
    with pytest.raises(HeadgateError, match="found none, expected it in HEADGATE_READER_PASSWORD"):
        grants.password(reader(), {})


def test_an_empty_password_file_is_no_password(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    with pytest.raises(HeadgateError, match="is empty, expected a password"):
        grants.password(reader(reader_password_file=str(tmp_path / "secret")), {})


# Errors


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(516, "HEADGATE_CLICKHOUSE_PASSWORD"), (164, "the right to write"), (243, "make room"), (242, "Keeper")],
)
def test_an_error_that_a_person_can_mend_says_how(code: int, remedy: str) -> None:
    assert remedy in explain(ValueError(f"x\nCode: {code}. DB::Exception: no"))


def test_an_error_is_one_line_from_clickhouses_code_on() -> None:
    assert explain(ValueError("received\n Code: 60. DB::Exception:\n no such table")) == (
        "Code: 60. DB::Exception: no such table"
    )


def test_settings_of_a_cluster_name_are_a_word() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"cluster": "a'; DROP"}, ClickHouse)
