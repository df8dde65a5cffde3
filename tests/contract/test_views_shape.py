"""What views there are, what columns they have, how they come to be, and what a question of them reads."""

import re
from collections.abc import Iterator

import pytest

from schemas.settings import Settings
from streams.storage import NAMES, migrate
from tests.contract.view_world import COLUMNS, NOON, SECOND, Database, opened, pane


def test_every_view_of_the_contract_is_there(database: Database) -> None:
    found = database.read(
        f"SELECT name FROM system.tables WHERE database = '{database.name}' AND engine = 'View' ORDER BY name"
    )
    assert [name for (name,) in found] == sorted(NAMES)


@pytest.mark.parametrize(
    ("view", "columns"),
    [
        ("metrics", COLUMNS),
        ("metrics_by_segment", [*COLUMNS, "segment", "segment_value"]),
        ("metrics_1m", COLUMNS),
        ("metrics_1h", COLUMNS),
        (
            "drift",
            [
                *("pane", "seconds", "model", "version", "arm", "feature"),
                *("method", "value", "threshold", "drifted", "kind"),
            ],
        ),
    ],
)
def test_a_view_has_the_contracts_columns(database: Database, view: str, columns: list[str]) -> None:
    described = {name: type_ for name, type_, *_ in database.read(f"DESCRIBE {view}")}
    assert list(described) == columns
    assert str(described["pane"]).startswith("DateTime64(3")


def test_migrating_again_keeps_everything(database: Database) -> None:
    database.write(pane())
    migrate(database.client, database.name)
    assert database.value("predictions") == 10


def test_a_table_of_an_earlier_version_gets_the_columns_that_came_since(database: Database) -> None:
    database.write(pane())
    database.client.command("ALTER TABLE panes DROP COLUMN quality, DROP COLUMN positive_scores")
    migrate(database.client, database.name)
    assert database.value("predictions") == 10
    database.write(pane(partition=1, quality={"age": [10, 1, 0, 0, 0]}))
    assert database.value("missing_rate") == 0.1


@pytest.fixture(scope="module")
def large(settings: Settings) -> Iterator[Database]:
    """A day of fifty models, in 400,000 snapshots."""
    with opened(settings) as database:
        database.client.command(
            f"INSERT INTO {database.name}.panes"
            " (model, version, arm, segment, segment_value, start, end, generation, partition)"
            " SELECT concat('m', toString(number % 50)), 'v1', 'stable',"
            " if(number % 2, '', 'surface'), 'home',"
            f" fromUnixTimestamp64Milli(toInt64({NOON} + intDiv(number, 100) * 10000)) AS at,"
            " at + toIntervalSecond(10), 1, number % 4 FROM numbers(400000)"
        )
        database.client.command(f"INSERT INTO {database.name}.profiles (model, version) VALUES ('m7', 'v1')")
        yield database


@pytest.mark.parametrize("view", ["metrics", "metrics_by_segment", "metrics_1m", "metrics_1h", "drift"])
def test_a_question_for_one_model_and_hour_reads_only_what_it_needs(large: Database, view: str) -> None:
    """What is asked of a view reaches partitions and primary key, through ARRAY JOIN, GROUP BY and FINAL."""
    hour = NOON // SECOND + 6 * 3600
    plan = large.read(
        f"EXPLAIN indexes = 1 SELECT * FROM {view} WHERE model = 'm7'"
        f" AND pane >= fromUnixTimestamp({hour}) AND pane < fromUnixTimestamp({hour + 3600})"
    )
    text = "\n".join(str(line) for (line,) in plan)
    reads = [part.split("ReadFromMergeTree")[0] for part in text.split(".panes)")[1:]]
    assert reads
    for read in reads:
        granules = [
            (int(selected), int(total)) for selected, total in re.findall(r"Granules: (\d+)/(\d+)", read)
        ]
        assert granules[0][1] > 40
        assert granules[-1][0] <= 3
