"""`headgate schema export|apply|show|grants`: the records' JSON Schema, and ClickHouse's tables."""

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from infra.commands.output import print_json
from schemas import json_schema
from schemas.errors import HeadgateError
from schemas.settings import Settings
from streams.storage import grants
from streams.storage.complaints import explain
from streams.storage.migration import State, migrate, migrations, state

logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # what it reports is in its errors as well


def configure(parser: argparse.ArgumentParser) -> None:
    """Where to, and what of it."""
    parser.description = (
        "The records of every topic as JSON Schema (draft 2020-12), and ClickHouse's tables and views,\n"
        "which the sink brings up to date when it starts, too."
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION", title="actions", dest="action")
    export = actions.add_parser("export", help="write a schema a topic into a folder", allow_abbrev=False)
    export.add_argument("folder", type=Path, metavar="DIR", help="the folder; it is made where it is missing")
    actions.add_parser(
        "apply", help="bring ClickHouse's tables and views up to date", allow_abbrev=False
    ).description = (
        "Applies the migrations that ClickHouse lacks, the tables' limits of age ([storage]), and the\n"
        "views. Safe to repeat; two at a time do no harm; one that failed half-way is done again."
    )
    show = actions.add_parser("show", help="what has been applied, and what has not", allow_abbrev=False)
    show.add_argument("--json", action="store_true", help="print JSON")
    actions.add_parser(
        "grants", help="make or change the user that dashboards read with", allow_abbrev=False
    ).description = (
        "Creates the user of [clickhouse] reader, or changes it: it may read the database and nothing else,\n"
        "with limits on memory and time. Its password comes from the environment\n"
        f"({grants.VARIABLE}) or from the file [clickhouse] reader_password_file."
    )


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Prints the files that it has written, or how ClickHouse stands."""
    match arguments.action:
        case "export":
            for path in json_schema.export(arguments.folder):
                print(path)
        case "apply":
            _apply(settings)
        case "show":
            _show(settings, json=arguments.json)
        case "grants":
            with connected(settings) as client:
                grants.apply(client, settings)
            print(f"user {settings.clickhouse.reader}: may read {settings.clickhouse.database}")
    return 0


def _apply(settings: Settings) -> None:
    where = settings.clickhouse
    with connected(settings) as client:
        before = state(client, where.database, where.cluster)
        migrate(client, where.database, settings.storage, where.cluster)
    for migration in before.pending:
        print(f"applied {migration.number:04d} {migration.name}")
    print(f"database {where.database}: {len(migrations())} migrations, up to date")


def _show(settings: Settings, *, json: bool) -> None:
    where = settings.clickhouse
    with connected(settings) as client:
        found = state(client, where.database, where.cluster)
    if json:
        print_json(_rows(found))
        return
    for row in _rows(found):
        when = "" if row.at is None else datetime.fromtimestamp(row.at / 1000, UTC).isoformat(" ", "seconds")
        print(f"{row.number:04d} {row.name:<12} {when or 'not applied':<25} {row.headgate}".rstrip())
    if found.missing:
        print(f"missing: {', '.join(found.missing)}; `headgate schema apply` makes them again")
    if found.views:
        print(f"views that are not ours: {', '.join(found.views)}; `headgate schema apply` replaces them")


class Row(msgspec.Struct, frozen=True):
    """A migration, and when (epoch ms) and by which Headgate it was applied, where it was."""

    number: int
    name: str
    at: int | None = None
    headgate: str = ""


def _rows(found: State) -> list[Row]:
    return [Row(each.number, each.name, each.at, each.headgate) for each in found.applied] + [
        Row(each.number, each.name) for each in found.pending
    ]


@contextmanager
def connected(settings: Settings) -> Iterator[Client]:
    """A connection. ClickHouse's errors become `HeadgateError`."""
    where = settings.clickhouse
    try:
        with clickhouse_connect.get_client(
            **where.connect(), connect_timeout=5, query_retries=0, autogenerate_session_id=False
        ) as client:
            yield client
    except (ClickHouseError, HTTPError, OSError) as error:
        raise HeadgateError(f"ClickHouse at {where.url}: {explain(error)}") from error
