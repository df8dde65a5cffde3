"""How fast the dashboards' queries are on a month of ClickHouse: the SQL of each panel, variable and
annotation, expanded as Grafana's plug-in does, over six hours, seven days and thirty days, through the HTTP
front.

Each round looks at another model. The time is from the request to the last byte of the reply.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import clickhouse_connect
import msgspec
import numpy as np
from clickhouse_connect.driver.client import Client

from infra.grafana.elements import Dashboard
from infra.grafana.export import DASHBOARDS
from infra.local.clickhouse import ClickHouse
from schemas import settings
from streams.storage import migrate
from tests.bench import storage_world as world
from tests.bench.storage_month import END, PATIENCE, Month
from tests.bench.storage_world import DAY, HOUR
from tests.contract.grafana_macros import ALL, View, expand, settled

FOLDER = Path(sys.prefix) / "bench" / "views"
"""Where months are kept, by their days: making thirty takes a quarter of an hour."""
SPANS = {"6 h": 6 * HOUR, "7 days": 7 * DAY, "30 days": 30 * DAY}
ROUNDS = 10
POINTS = 1_000
"""Across a panel: Grafana's interval is a span over so many."""
LIMIT = 0.5
"""Seconds that the slowest query in twenty may take."""


class Asked(NamedTuple):
    """One query of a dashboard."""

    dashboard: Dashboard
    what: str
    sql: str

    @property
    def name(self) -> str:
        """Where it is asked, and what."""
        return f"{self.dashboard.title.removeprefix('Headgate ')}: {self.what}"


class Timed(NamedTuple):
    """How long a query took: seconds of each round, by span."""

    asked: Asked
    seconds: dict[str, list[float]]

    @property
    def worst(self) -> float:
        """The slowest span's 95th percentile."""
        return max(_quantile(found, 0.95) for found in self.seconds.values())

    def __str__(self) -> str:
        return f"| {self.asked.name} | {' | '.join(map(_spread, self.seconds.values()))} |"


def measure(days: int, containing: str = "") -> str:
    """Fills what lacks of so many days, then asks everything, or the queries with so much in their names; a
    table, the slowest first."""
    with served(FOLDER / str(days)) as (client, clickhouse):
        migrate(client, clickhouse.database)
        month = Month(client, clickhouse, days)
        month.fill(lambda text: print(text, flush=True))
        print(sizes(client), flush=True)
        found = ask(client, [one for one in asked() if containing in one.name])
    overall = [second for one in found for seconds in one.seconds.values() for second in seconds]
    slow = sum(one.worst > LIMIT for one in found)
    return "\n".join(
        [
            f"| median / p95, ms, of {ROUNDS} models | {' | '.join(SPANS)} |",
            f"|---|{'---|' * len(SPANS)}",
            *map(str, sorted(found, key=lambda one: -one.worst)),
            f"all: {_spread(overall)}; p95 over {1000 * LIMIT:.0f} ms: {slow} of {len(found)} queries",
        ]
    )


@contextmanager
def served(folder: Path) -> Iterator[tuple[Client, settings.ClickHouse]]:
    """The engine over a folder that stays, and a client of it."""
    folder.mkdir(parents=True, exist_ok=True)
    server = ClickHouse(folder / "clickhouse", folder / "clickhouse.log")
    clickhouse = msgspec.structs.replace(settings.ClickHouse(), url=server.url)
    server.start()
    try:
        client = clickhouse_connect.get_client(
            **clickhouse.connect(), autogenerate_session_id=False, send_receive_timeout=PATIENCE
        )
        client.command(f"CREATE DATABASE IF NOT EXISTS {clickhouse.database}")
        client.database = clickhouse.database
        yield client, clickhouse
        client.close()
    finally:
        server.stop()


def sizes(client: Client) -> str:
    """Rows and bytes of the tables, the largest first."""
    rows = client.query(
        "SELECT table, sum(rows), sum(data_compressed_bytes), sum(data_uncompressed_bytes), count()"
        " FROM system.parts WHERE active AND database = currentDatabase()"
        " GROUP BY table ORDER BY 3 DESC LIMIT 7"
    ).result_rows
    lines = (
        f"| {table} | {count:,} | {packed / 1e9:.2f} GB "
        f"| {packed / count:.0f} | {plain / count:.0f} | {parts} |"
        for table, count, packed, plain, parts in rows
    )
    head = "| table | rows | on disk | bytes a row, compressed | plain | parts |\n|---|---|---|---|---|---|"
    return "\n".join([head, *lines])


def asked() -> Iterator[Asked]:
    """Everything that the dashboards ask."""
    for dashboard in DASHBOARDS:
        for variable in dashboard.variables:
            if variable.sql and variable.label:
                yield Asked(dashboard, f"variable {variable.name}", variable.sql)
        for annotation in dashboard.annotations:
            yield Asked(dashboard, f"annotation {annotation.name}", annotation.query.sql)
        for row in dashboard.rows:
            for panel in row.panels:
                yield Asked(dashboard, panel.title, panel.query.sql)


def ask(client: Client, queries: Iterable[Asked]) -> list[Timed]:
    """Times each query in each span, `ROUNDS` times, after a round that does not count."""
    found = [Timed(one, {name: [] for name in SPANS}) for one in queries]
    for number in range(ROUNDS + 1):
        for name, span in SPANS.items():
            look = looked(world.name(number + 1), span)
            views = {
                dashboard.uid: settled(dashboard, look, lambda sql: str(client.command(sql)))
                for dashboard in DASHBOARDS
            }
            for one in found:
                sql = expand(one.asked.sql, views[one.asked.dashboard.uid])
                began = time.perf_counter()
                client.raw_query(sql, fmt="Native")
                if number:
                    one.seconds[name].append(time.perf_counter() - began)
    return found


def looked(model: str, span: int) -> View:
    """A dashboard of a model over the last of the month."""
    chosen = {"model": model, "version": ALL, "resolution": "auto", "method": "psi"}
    chosen |= {"segment": "surface", "test": "ctr worse_by 0", "request": ""}
    return View(END - span, END, span // POINTS, chosen)


def _spread(seconds: list[float]) -> str:
    """Median and 95th percentile, in ms."""
    return f"{1000 * _quantile(seconds, 0.5):.0f} / {1000 * _quantile(seconds, 0.95):.0f}"


def _quantile(seconds: list[float], q: float) -> float:
    return float(np.quantile(seconds, q))
