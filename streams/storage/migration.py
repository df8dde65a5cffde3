"""Brings a ClickHouse database up to date: tables that are missing, and all views."""

from clickhouse_connect.driver.client import Client

from schemas.clickhouse import TABLES, quoted
from streams.storage.views import definitions


def migrate(client: Client, database: str) -> None:
    """Creates `database` and its tables where they do not exist yet, and the views anew. Safe to repeat,
    while others read and write too.

    Raises clickhouse-connect's errors. The client need not be connected to `database`.
    """
    client.command(f"CREATE DATABASE IF NOT EXISTS {quoted(database)}")
    for table in TABLES:
        client.command(table.ddl(database))
    for name, query in definitions(database).items():
        client.command(f"CREATE OR REPLACE VIEW {quoted(database)}.{quoted(name)} AS\n{query}")
