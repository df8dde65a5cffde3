"""Brings a ClickHouse database up to date: tables that are missing, columns that an earlier version's lack,
and all views."""

from collections.abc import Sequence

from clickhouse_connect.driver.client import Client

from schemas.clickhouse import TABLES, Column, Table, quoted
from streams.storage.views import definitions


def migrate(client: Client, database: str) -> None:
    """Creates `database`, its tables and their columns where they do not exist yet, and the views anew. Safe
    to repeat, while others read and write too.

    Raises clickhouse-connect's errors. The client need not be connected to `database`.
    """
    client.command(f"CREATE DATABASE IF NOT EXISTS {quoted(database)}")
    for table in TABLES:
        client.command(table.ddl(database))
    known = _columns(client, database)
    for table in TABLES:
        if missing := [column for column in table.columns if column.name not in known[table.name]]:
            client.command(_additions(table, missing, database))
    for name, query in definitions(database).items():
        client.command(f"CREATE OR REPLACE VIEW {quoted(database)}.{quoted(name)} AS\n{query}")


def _columns(client: Client, database: str) -> dict[str, list[str]]:
    """The columns that each table has."""
    query = (
        "SELECT table, groupArray(name) FROM system.columns WHERE database = {database:String} GROUP BY table"
    )
    rows = client.query(query, parameters={"database": database}).result_rows
    return {str(table): list(names) for table, names in rows}


def _additions(table: Table, missing: Sequence[Column], database: str) -> str:
    """The statement that gives a table of an earlier version the columns that came since; in its older rows
    they are empty.
    """
    columns = (f"ADD COLUMN IF NOT EXISTS {quoted(column.name)} {column.type}" for column in missing)
    return f"ALTER TABLE {table.full_name(database)} {', '.join(columns)}"
