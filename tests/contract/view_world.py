"""A ClickHouse database of its own for tests of views, and records to write into it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.client import Client

from schemas.clickhouse import BY_RECORD
from schemas.records import Pane, Progress
from schemas.settings import Settings
from schemas.table import Stored, Table
from streams.storage import migrate
from streams.storage.writer import Writer

NOON = 1_700_049_600_000
"""2023-11-15 12:00 UTC."""
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000

COLUMNS = ["pane", "seconds", "model", "version", "arm", "metric", "value"]
COLUMNS += ["numerator", "denominator", "lower", "upper", "final"]


class Database:
    """A database of its own, to write records into and to read views of."""

    def __init__(self, settings: Settings) -> None:
        self.writer = Writer(settings.clickhouse)
        self.client: Client = clickhouse_connect.get_client(
            **settings.clickhouse.connect(), autogenerate_session_id=False
        )
        self.name = settings.clickhouse.database
        migrate(self.client, self.name)
        self.client.database = self.name

    def close(self) -> None:
        self.client.command(f"DROP DATABASE {self.name}")
        self.client.close()
        self.writer.close()

    def write(self, *records: msgspec.Struct, topic_partition: int = 0, first: int = 0) -> None:
        """Inserts records as if they stood one after the other in one topic partition, from offset `first`
        on."""
        stored: dict[Table, list[Stored]] = {}
        for offset, record in enumerate(records, first):
            table = BY_RECORD[type(record)]
            stored.setdefault(table, []).append(Stored(record, topic_partition, offset))
        self.writer.write(stored)

    def read(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.client.query(query).result_rows]

    def value(self, metric: str, view: str = "metrics") -> object:
        """The value of a metric that has one row in the view."""
        [[value]] = self.read(f"SELECT value FROM {view} WHERE metric = '{metric}'")
        return value


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """A new database, dropped in the end."""
    name = f"views_{uuid4().hex[:8]}"
    own = msgspec.structs.replace(settings.clickhouse, database=name)
    database = Database(msgspec.structs.replace(settings, clickhouse=own))
    yield database
    database.close()


def pane(start: int = NOON, length: int = 10 * SECOND, wait: int = MINUTE, **fields: object) -> Pane:
    """A pane of `ranker` v1, which is final `wait` ms after its end, but for `fields`."""
    values: dict[str, object] = {
        "model": "ranker",
        "version": "v1",
        "arm": "stable",
        "segment": "",
        "segment_value": "",
        "start": start,
        "end": start + length,
        "generation": 1,
        "partition": 0,
        "part": 0,
        "snapshot": 1,
        "deadline": start + length + wait,
        "sums": {"predictions": 10.0},
    }
    return Pane(**(values | fields))  # type: ignore[arg-type]


def progress(time: int, partition: int = 0, partitions: int = 1, snapshot: int = 1) -> Progress:
    return Progress(partition=partition, partitions=partitions, time=time, clock=time, snapshot=snapshot)


# Against the batch computation
