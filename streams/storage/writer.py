"""Inserts rows into ClickHouse: connects, brings the database up to date, writes table by table, keeps the
rollups right. Blocking; retrying is the caller's.

Not for reading, and not for deciding what a row is (`schemas/clickhouse.py`).
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import clickhouse_connect
from clickhouse_connect.driver import options
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError
from urllib3.exceptions import HTTPError

from schemas.clickhouse import PANES, TABLES
from schemas.settings import ClickHouse, Storage
from schemas.table import Stored, Table
from streams.storage.complaints import explain
from streams.storage.layout import Layout
from streams.storage.migration import SchemaError, migrate
from streams.storage.rollups import Rollups

SETTINGS = {
    # An answer means that the rows are in a part on disk, not in a buffer of the server.
    "async_insert": 0,
    "wait_end_of_query": 1,
    # Rows are versioned: a block may go in twice, and nothing rests on the server's memory of blocks.
    "insert_deduplicate": 0,
    # Recorded data may span years in one block: that is many parts, not a mistake.
    "max_partitions_per_insert_block": 0,
}
"""Of every insert: nothing rests on a server's defaults, which differ between versions."""

CONNECT = 5
"""Seconds to reach ClickHouse."""
ANSWER = 30
"""Seconds to wait for its answer."""

for _library in ("clickhouse_connect", "urllib3"):
    # They report every attempt of a connection; the sink says once that ClickHouse is away.
    logging.getLogger(_library).setLevel(logging.ERROR)

# Its first insert would import pandas, wherever that is installed, to see whether our lists are a data frame.
options.pd = None


class AwayError(Exception):
    """ClickHouse cannot be reached, or refuses. Nothing is known of the rows: write them again."""


class Writer:
    """One connection to ClickHouse, made when it is needed and made anew after an error. Not for two threads
    at a time."""

    def __init__(self, settings: ClickHouse, storage: Storage | None = None) -> None:
        self._settings = settings
        self._storage = storage or Storage()
        self._layout = Layout(settings.database, settings.cluster)
        self._rollups = Rollups(self._layout, SETTINGS)
        self._client: Client | None = None

    def write(self, rows: Mapping[Table, Sequence[Stored]]) -> None:
        """Inserts everything, in the order of `TABLES`, and adds up again what it changes in the rollups. To
        write rows again is harmless.

        Raises `AwayError`, and the database is then brought up to date before the next write: a table that
        was dropped is there again.
        """
        with self._connected() as client:
            for table in TABLES:
                if stored := rows.get(table):
                    self._insert(client, table, stored)
            self._rollups.repair(client, rows.get(PANES, ()))

    def roll(self, partitions: Collection[int], seconds: float) -> bool:
        """Adds up what has become final in these partitions of `metrics.panes`, for about so many seconds;
        answers whether there is no more to do. Raises `AwayError`.
        """
        with self._connected() as client:
            return self._rollups.advance(client, partitions, seconds)

    def forget(self, partitions: Collection[int]) -> None:
        """These partitions of `metrics.panes` have been somebody else's. May be called while another thread
        writes."""
        self._rollups.forget(partitions)

    def close(self) -> None:
        """Ends the connection, if there is one."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @contextmanager
    def _connected(self) -> Iterator[Client]:
        """The connection, which is given up where there is an error: `AwayError`."""
        try:
            if self._client is None:
                self._client = self._connect()
            yield self._client
        except DataError:
            raise
        except (ClickHouseError, HTTPError, OSError, SchemaError) as error:
            self.close()
            raise AwayError(
                f"{self._settings.url}: {error if isinstance(error, SchemaError) else explain(error)}"
            ) from error

    def _connect(self) -> Client:
        client = clickhouse_connect.get_client(
            **self._settings.connect(),
            connect_timeout=CONNECT,
            send_receive_timeout=ANSWER,
            query_retries=0,
            autogenerate_session_id=False,
        )
        migrate(client, self._settings.database, self._storage, self._settings.cluster)
        return client

    def _insert(self, client: Client, table: Table, rows: Sequence[Stored]) -> None:
        client.insert(
            table.name,
            table.values(rows),
            column_names=[column.name for column in table.columns],
            column_type_names=[column.type for column in table.columns],
            column_oriented=True,
            database=self._settings.database,
            settings={**SETTINGS, **self._layout.settings},
        )
