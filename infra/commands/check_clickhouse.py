"""`headgate check` on ClickHouse: does it answer, and are the tables and views there?"""

import logging
from collections.abc import Iterator

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from infra.commands.finding import Finding, ok, wrong
from schemas.clickhouse import TABLES
from schemas.settings import Settings
from streams.storage import NAMES
from streams.storage.migration import SchemaError, state

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
            yield ok(subject, f"version {client.server_version}")
            yield _database(client, settings)
    except (ClickHouseError, HTTPError, OSError) as error:
        yield wrong(
            subject,
            f"does not answer, or does not let us in: {_reason(error)}",
            "start it (`headgate up` for a local one), or set HEADGATE_CLICKHOUSE, or url, user and password "
            "under [clickhouse] in headgate.toml",
        )


def _database(client: Client, settings: Settings) -> Finding:
    """How tables and views stand."""
    where = settings.clickhouse
    subject = f"database {where.database}"
    try:
        found = state(client, where.database, where.cluster)
    except SchemaError as error:
        text, _, remedy = str(error).removeprefix(f"{subject}: ").partition("; ")
        return wrong(subject, text, remedy)
    lacking = [
        *(f"migration {each.number:04d} {each.name}" for each in found.pending),
        *found.missing,
        *(f"the view {name}" for name in found.views),
    ]
    if lacking:
        return wrong(
            subject,
            f"lacks {', '.join(lacking)}",
            "run `headgate schema apply`; `headgate streams sink` does it when it starts, too",
        )
    return ok(subject, f"{len(found.applied)} migrations, {len(TABLES)} tables, {len(NAMES)} views")


def _reason(error: BaseException) -> str:
    """The operating system's word where that is the cause, else the first line of the server's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error).strip().split("\n", maxsplit=1)[0]
