"""Who asks a view for one model and some time reads that, and not everything: by the tables' primary keys."""

import re
from collections.abc import Iterator

import pytest

from infra.grafana.elements import Dashboard, Panel
from infra.grafana.export import DASHBOARDS
from schemas.settings import Settings
from tests.contract.grafana_macros import ALL, View, expand, settled
from tests.contract.view_world import HOUR, MINUTE, NOON, Database, opened, progress

MODELS, HOURS = 20, 24
TIMES = {
    **{name + suffix: "pane" for name in ("metrics", "metrics_by_segment") for suffix in ("", "_1m", "_1h")},
    **{
        name + suffix: "pane"
        for name in ("series", "series_by_segment", "drift", "latencies", "reliability")
        for suffix in ("", "_1m", "_1h")
    },
    "evidence": "ts",
    "samples": "ts",
    "acks": "ts",
    "example_requests": "ts",
    "example_predictions": "ts",
}
"""The views with many rows, and their columns of time."""
RECORDS = ("evidence_log", "samples_log", "acks_log", "example_requests_log", "example_predictions_log")
LARGE = ("panes", "panes_1m", "panes_1h", "drift_log", *RECORDS)
READ = re.compile(r"ReadFromMergeTree \(\w+\.(\w+)\)(.*?)(?=ReadFromMergeTree|\Z)", re.DOTALL)
KEYS = re.compile(r"PrimaryKey.*?Keys:(.*?)Condition:(.*?)Parts:.*?Granules: (\d+)/(\d+)", re.DOTALL)


@pytest.fixture(scope="module")
def full(settings: Settings) -> Iterator[Database]:
    """A day of twenty models, bare of what metrics are made of; half of it is rolled up."""
    with opened(settings) as database:
        rows = MODELS * HOURS * 360
        time = f"fromUnixTimestamp64Milli(toInt64({NOON} + number % {HOURS * 360} * 10000), 'UTC')"
        model = f"concat('model-', toString(intDiv(number, {HOURS * 360})))"
        source = f"FROM numbers({rows})"
        for segment in ("''", "'surface'"):
            for table in ("panes", "panes_1m", "panes_1h"):
                database.client.command(
                    f"INSERT INTO {table} (model, segment, start, end)\n"
                    f"SELECT {model}, {segment}, {time} AS t, t + toIntervalSecond(10) {source}"
                )
        database.client.command(
            "INSERT INTO drift_log (model, start, end)\n"
            f"SELECT {model}, {time} AS t, t + toIntervalSecond(10) {source}"
        )
        for table in RECORDS:
            database.client.command(f"INSERT INTO {table} (model, ts)\nSELECT {model}, {time} {source}")
        for length in (60, 3600):
            middle = NOON + HOURS // 2 * HOUR
            database.client.command(
                f"INSERT INTO rolled\nSELECT {length}, 0, fromUnixTimestamp64Milli(toInt64({middle}), 'UTC')"
            )
        database.write(progress(NOON + HOURS * HOUR))
        yield database


def reads(database: Database, query: str) -> dict[str, tuple[str, int, int]]:
    """By large table that a query reads: the columns of the primary key that are used, and the most granules
    that are read of how many."""
    plan = "\n".join(str(row[0]) for row in database.read(f"EXPLAIN indexes = 1 {query}"))
    found: dict[str, tuple[str, int, int]] = {}
    for table, text in READ.findall(plan):
        if table in LARGE:
            used = KEYS.search(text)
            keys, read, whole = ("", 1, 1) if used is None else (used[1], int(used[3]), int(used[4]))
            if read >= found.get(table, ("", -1, 0))[1]:
                found[table] = keys, read, whole
    return found


@pytest.mark.parametrize("view", TIMES)
def test_a_view_reads_the_models_time_and_no_more(full: Database, view: str) -> None:
    column = TIMES[view]
    first, last = NOON + 6 * HOUR, NOON + 18 * HOUR
    found = reads(
        full,
        f"SELECT * FROM {view} WHERE model = 'model-7' AND {column} >= fromUnixTimestamp64Milli({first})"
        f" AND {column} <= fromUnixTimestamp64Milli({last})",
    )
    assert found
    for table, (keys, read, whole) in found.items():
        assert "model" in keys, table
        assert read <= max(2, whole // 5), f"{table}: {read} of {whole} granules"


@pytest.mark.parametrize("view", ["metrics", "metrics_1m", "metrics_1h"])
def test_of_custom_metrics_only_the_time_that_is_asked_for_is_read(full: Database, view: str) -> None:
    first = f"fromUnixTimestamp64Milli({NOON + 23 * HOUR})"
    plan = full.read(f"EXPLAIN indexes = 1 SELECT * FROM {view} WHERE model = 'model-7' AND pane >= {first}")
    reads = [
        text
        for table, text in READ.findall("\n".join(str(line) for (line,) in plan))
        if table == "samples_log"
    ]
    parts = [[tuple(map(int, pair)) for pair in re.findall(r"Parts: (\d+)/(\d+)", text)] for text in reads]
    assert parts
    for steps in parts:
        assert steps[-1][0] < max(whole for _, whole in steps)


PANELS = [
    pytest.param(dashboard, panel, id=f"{dashboard.uid}: {panel.title}")
    for dashboard in DASHBOARDS
    for row in dashboard.rows
    for panel in row.panels
    if "${model" in panel.query.sql
]


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_a_panel_of_one_model_reads_no_other_models_rows(
    full: Database, dashboard: Dashboard, panel: Panel
) -> None:
    chosen = {"model": "model-7", "version": ALL, "resolution": "auto", "method": "psi", "segment": "surface"}
    chosen |= {"test": "ctr worse_by 0", "request": ""}
    look = View(NOON, NOON + 6 * HOUR, MINUTE, chosen)
    view = settled(dashboard, look, lambda sql: str(full.client.command(sql)))
    for table, (keys, read, whole) in reads(full, expand(panel.query.sql, view)).items():
        assert "model" in keys, table
        assert read <= max(2, whole // 5), f"{table}: {read} of {whole} granules"
