"""`headgate check` on ClickHouse: does it answer, and are the tables and views there? What it lacks of them
is made, where this user may and no newer Headgate has been there.
"""

import logging
from collections.abc import Iterator

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from infra.commands import schema
from infra.commands.finding import Finding, ok, wrong
from schemas.clickhouse import TABLES
from schemas.errors import HeadgateError
from schemas.settings import Settings
from streams.storage import NAMES, migrate
from streams.storage.migration import SchemaError, State, migrations, state

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
    """How tables and views stand, once they are as they are to be."""
    where = settings.clickhouse
    subject = f"database {where.database}"
    try:
        before = state(client, where.database, where.cluster)
    except SchemaError as error:
        return _refused(subject, error)
    if not before.current:
        try:
            with schema.connected(settings) as patient:
                migrate(patient, where.database, settings.storage, where.cluster)
        except HeadgateError as error:
            finding = _refused(subject, error)
            return wrong(subject, f"lacks {_lacking(before)}: {finding.text}", finding.remedy)
    standing = f"{len(migrations())} migrations, {len(TABLES)} tables, {len(NAMES)} views"
    return ok(subject, standing if before.current else f"{_made(before)}; {standing}")


def _refused(subject: str, error: HeadgateError) -> Finding:
    text, _, remedy = str(error).removeprefix(f"{subject}: ").partition("; ")
    return wrong(
        subject, text, remedy or "run `headgate schema apply` as a user who may; the sink waits till then"
    )


def _lacking(before: State) -> str:
    return ", ".join(
        [
            *(f"migration {each.number:04d} {each.name}" for each in before.pending),
            *before.missing,
            *(f"the view {name}" for name in before.views),
        ]
    )


def _made(before: State) -> str:
    """What was done, the least of it that says all: a migration makes its tables, and views follow."""
    if before.pending:
        return f"applied {', '.join(f'{each.number:04d} {each.name}' for each in before.pending)}"
    if before.missing:
        return f"made {', '.join(before.missing)} again"
    return f"replaced the view{'s' if len(before.views) > 1 else ''} {', '.join(before.views)}"


def _reason(error: BaseException) -> str:
    """The operating system's word where that is the cause, else the first line of the server's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error).strip().split("\n", maxsplit=1)[0]
