"""`series` has in columns what `metrics` has in rows: of windows that are added up, and of rollups."""

from collections.abc import Iterator

import pytest

from schemas.settings import Settings
from streams.storage.migration import migrations
from streams.storage.series import KEPT, columns
from tests.contract.test_views import SNAPSHOTS
from tests.contract.view_world import DAY, NOON, Database, opened, pane, progress

STATISTICS = next(one for one in migrations() if one.name == "statistics")
KEYS = {"": "", "_by_segment": ", segment, segment_value"}


@pytest.fixture(scope="module")
def recorded(settings: Settings) -> Iterator[Database]:
    """Two hours of two models, all of it final, nothing rolled up yet."""
    with opened(settings) as database:
        database.write(*(one.pane for one in SNAPSHOTS), progress(NOON + DAY))
        yield database


@pytest.fixture(scope="module")
def rolled(settings: Settings) -> Iterator[Database]:
    """The same, of which nothing is left but the rollups."""
    with opened(settings) as database:
        database.write(*(one.pane for one in SNAPSHOTS), progress(NOON + DAY))
        assert database.writer.roll((0,), 60.0)
        database.client.command("TRUNCATE TABLE panes")
        yield database


@pytest.fixture(scope="module")
def older(settings: Settings) -> Iterator[Database]:
    """The same, rolled up before rollups kept statistics."""
    with opened(settings) as database:
        for table in ("panes_1m", "panes_1h"):
            database.client.command(
                f"ALTER TABLE {table} {', '.join(f'DROP COLUMN {name}' for name in sorted(KEPT))}"
            )
        database.write(*(one.pane for one in SNAPSHOTS), progress(NOON + DAY))
        assert database.writer.roll((0,), 60.0)
        database.client.command("TRUNCATE TABLE panes")
        for statement in STATISTICS.statements:
            database.client.command(statement)
        yield database


def in_rows(database: Database, kind: str, suffix: str) -> dict[tuple[object, ...], dict[str, object]]:
    """`metrics`: what is said of each series; of metrics with a cut-off a value for each k."""
    found: dict[tuple[object, ...], dict[str, object]] = {}
    query = (
        f"SELECT pane, seconds, model, version, arm, final{KEYS[kind]}, metric, value, lower, upper"
        f" FROM metrics{kind}{suffix}"
    )
    for *key, metric, value, lower, upper in database.read(query):
        said = found.setdefault(tuple(key), {})
        name, _, k = metric.partition("@")
        if k:
            by_cut_off = said.setdefault(f"{name}@k", {})
            assert isinstance(by_cut_off, dict)
            by_cut_off[int(k)] = value
        else:
            said |= {metric: value, f"{metric}_lower": lower, f"{metric}_upper": upper}
    return found


def in_columns(database: Database, kind: str, suffix: str) -> dict[tuple[object, ...], dict[str, object]]:
    names = [name for name in columns() if name != "final"]
    stated = ", ".join(f"`{name}`" for name in names)
    query = (
        f"SELECT pane, seconds, model, version, arm, final{KEYS[kind]}, {stated} FROM series{kind}{suffix}"
    )
    rows = database.read(query)
    found = {row[: -len(names)]: dict(zip(names, row[-len(names) :], strict=True)) for row in rows}
    assert len(found) == len(rows)
    return found


def assert_the_same(database: Database, kind: str, suffix: str) -> None:
    expected, found = in_rows(database, kind, suffix), in_columns(database, kind, suffix)
    assert len(expected) > 10
    assert found.keys() >= expected.keys()
    for key, said in expected.items():
        told = {name: asked(value, said[name]) for name, value in found[key].items() if name in said}
        assert {name.removesuffix("_lower").removesuffix("_upper") for name in said} <= told.keys()
        assert told == {name: near(value) for name, value in said.items() if name in told}, key


def asked(value: object, expected: object) -> object:
    """Of a map the keys that are expected: rows of `metrics` without predictions and without sums are not
    there."""
    if isinstance(value, dict) and isinstance(expected, dict):
        return {k: each for k, each in value.items() if k in expected}
    return value


def near(value: object) -> object:
    """What is the same but for the order in which it was added up."""
    if isinstance(value, dict):
        return {k: near(each) for k, each in value.items()}
    return pytest.approx(value, rel=1e-12) if isinstance(value, float) else value


@pytest.mark.parametrize("suffix", ["", "_1m", "_1h"])
@pytest.mark.parametrize("kind", KEYS)
def test_every_metric_is_in_its_column(recorded: Database, kind: str, suffix: str) -> None:
    assert_the_same(recorded, kind, suffix)


@pytest.mark.parametrize("suffix", ["_1m", "_1h"])
@pytest.mark.parametrize("kind", KEYS)
def test_a_rollup_says_the_same(rolled: Database, kind: str, suffix: str) -> None:
    assert_the_same(rolled, kind, suffix)


@pytest.mark.parametrize("suffix", ["_1m", "_1h"])
def test_a_rollup_from_before_it_kept_statistics_says_the_same(older: Database, suffix: str) -> None:
    assert_the_same(older, "", suffix)


def test_a_rollup_finds_out_percentiles_and_areas_when_it_is_made(rolled: Database) -> None:
    """Not when somebody asks."""
    query = (
        "SELECT column FROM system.parts_columns"
        " WHERE active AND database = currentDatabase() AND table = 'panes_1m'"
    )
    assert {name for (name,) in rolled.read(query)} >= KEPT


def test_a_metric_with_a_bound_has_both(recorded: Database) -> None:
    described = {name for name, *_ in recorded.read("DESCRIBE series")}
    bounded = {name.removesuffix("_lower") for name in described if name.endswith("_lower")}
    assert {"ctr", "error_rate", "slow_rate", "accuracy", "missing_rate"} <= bounded
    assert all(f"{name}_upper" in described for name in bounded)


def test_a_series_without_predictions_has_a_row_with_what_it_counts(database: Database) -> None:
    database.write(pane(version="", arm="", sums={"unmatched": 3.0}))
    assert database.read("SELECT predictions, unmatched, ctr, latency_p99_ms FROM series") == [
        (0.0, 3.0, None, None)
    ]
