"""Inserts rows into ClickHouse: connects, brings the database up to date, writes table by table. Blocking;
retrying is the caller's.

Not for reading, and not for deciding what a row is (`schemas/clickhouse.py`).
"""

import logging
from collections.abc import Mapping, Sequence

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError
from urllib3.exceptions import HTTPError

from schemas.clickhouse import TABLES, Stored, Table
from schemas.settings import ClickHouse
from streams.storage.migration import migrate

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
REASON = 300
"""Characters that are kept of an error: ClickHouse repeats the statement in it."""


for _library in ("clickhouse_connect", "urllib3"):
    # They report every attempt of a connection; the sink says once that ClickHouse is away.
    logging.getLogger(_library).setLevel(logging.ERROR)


class AwayError(Exception):
    """ClickHouse cannot be reached, or refuses. Nothing is known of the rows: write them again."""


class Writer:
    """One connection to ClickHouse, made when it is needed and made anew after an error. Not for two threads
    at a time."""

    def __init__(self, settings: ClickHouse) -> None:
        self._settings = settings
        self._client: Client | None = None

    def write(self, rows: Mapping[Table, Sequence[Stored]]) -> None:
        """Inserts everything, in the order of `TABLES`. To write rows again is harmless.

        Raises `AwayError`, and the database is then brought up to date before the next write: a table that
        was dropped is there again.
        """
        try:
            if self._client is None:
                self._client = self._connect()
            for table in TABLES:
                if stored := rows.get(table):
                    _insert(self._client, self._settings.database, table, stored)
        except DataError:
            raise
        except (ClickHouseError, HTTPError, OSError) as error:
            self.close()
            raise AwayError(f"{self._settings.url}: {_reason(error)}") from error

    def close(self) -> None:
        """Ends the connection, if there is one."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connect(self) -> Client:
        client = clickhouse_connect.get_client(
            **self._settings.connect(),
            connect_timeout=CONNECT,
            send_receive_timeout=ANSWER,
            query_retries=0,
            autogenerate_session_id=False,
        )
        migrate(client, self._settings.database)
        return client


def _insert(client: Client, database: str, table: Table, rows: Sequence[Stored]) -> None:
    client.insert(
        table.name,
        table.values(rows),
        column_names=[column.name for column in table.columns],
        column_type_names=[column.type for column in table.columns],
        column_oriented=True,
        database=database,
        settings=SETTINGS,
    )


def _reason(error: BaseException) -> str:
    """What went wrong at the bottom of it, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:REASON] or type(error).__name__
