"""`headgate check` on ClickHouse: does it answer, and are the tables and views there?"""

import logging
from collections.abc import Iterator

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError

from infra.commands.finding import Finding, ok, wrong
from schemas.clickhouse import TABLES
from schemas.settings import Settings
from streams.storage.views import definitions

logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # what it reports is in its errors as well

PATIENCE = 5
"""Seconds in which it must answer."""


def check(settings: Settings) -> Iterator[Finding]:
    """Whether it answers, and what of ours it has."""
    where = settings.clickhouse
    subject = f"ClickHouse {where.url}"
    try:
        with clickhouse_connect.get_client(
            **where.connect(), connect_timeout=PATIENCE, send_receive_timeout=PATIENCE, query_retries=0
        ) as client:
            query = "SELECT name FROM system.tables WHERE database = {database:String}"
            rows = client.query(query, parameters={"database": where.database}).result_rows
            version = client.server_version
    except (ClickHouseError, OSError) as error:
        yield wrong(
            subject,
            f"does not answer, or does not let us in: {_reason(error)}",
            "start it (`headgate up` for a local one), or set HEADGATE_CLICKHOUSE, or url, user and password "
            "under [clickhouse] in headgate.toml",
        )
        return
    yield ok(subject, f"version {version}")
    found = {str(name) for (name,) in rows}
    tables, views = {table.name for table in TABLES}, set(definitions(where.database))
    missing = sorted((tables | views) - found)
    if missing:
        yield wrong(
            f"database {where.database}",
            f"has no {', '.join(missing)}",
            "`headgate streams sink` creates tables and views when it starts",
        )
    else:
        yield ok(f"database {where.database}", f"{len(tables)} tables, {len(views)} views")


def _reason(error: BaseException) -> str:
    """The operating system's word where that is the cause, else the first line of the server's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error).strip().split("\n", maxsplit=1)[0]
