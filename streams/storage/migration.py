"""Brings a ClickHouse database up to date: numbered migrations, forward only (`migrations/*.sql`), then what
settings and the catalogue say anew each time: how long rows are kept, and the views.

Each statement of a migration can be run again and changes nothing then. So one that fails half-way is begun
anew by whoever comes next, two that migrate at the same time do no harm, and a database from before there
were migrations is one that none has been noted in.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from schemas.clickhouse import TABLES
from schemas.errors import HeadgateError
from schemas.settings import Storage
from schemas.table import quoted
from streams.storage import retention
from streams.storage.complaints import explain
from streams.storage.layout import Layout
from streams.storage.views import COLUMNS, definitions

FOLDER = Path(__file__).parent / "migrations"

NOTES = """\
CREATE TABLE IF NOT EXISTS schema_migrations
(
    number UInt32,
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC'),
    headgate String
)
ENGINE = ReplacingMergeTree
ORDER BY number"""
"""Which migrations have been applied, when, and by which version of Headgate."""


class SchemaError(HeadgateError):
    """The database is not one that this Headgate may change."""


class Migration(NamedTuple):
    """One step. It never changes once it is released: what is to be mended is the next one's."""

    number: int
    name: str
    statements: tuple[str, ...]

    @property
    def checksum(self) -> str:
        """Of what it does; comments may change."""
        return hashlib.sha256(";\n".join(self.statements).encode()).hexdigest()


class Applied(NamedTuple):
    """What a database says of a migration. `at`: epoch ms. `headgate`: the version that applied it."""

    number: int
    name: str
    checksum: str
    at: int
    headgate: str


class State(NamedTuple):
    """Where a database stands. `missing`: tables, or columns as `table.column`, that migrations made and that
    are gone."""

    applied: Sequence[Applied]
    pending: Sequence[Migration]
    missing: Sequence[str]
    views: Sequence[str]

    @property
    def current(self) -> bool:
        """Whether `migrate` would change nothing but how long rows are kept."""
        return not (self.pending or self.missing or self.views)


@cache
def migrations() -> tuple[Migration, ...]:
    """All that there are, in their order."""
    return tuple(_read(file) for file in sorted(FOLDER.glob("*.sql")))


def migrate(client: Client, database: str, storage: Storage | None = None, cluster: str = "") -> None:
    """Brings `database` up to date, and creates it where there is none. Safe to repeat, while others read and
    write too; where nothing is to be done it only asks.

    Raises `SchemaError` for a database that a newer Headgate has been at, for one in which a migration was
    different, and where ClickHouse refuses a statement; clickhouse-connect's errors else. The client need not
    be connected to `database`.
    """
    layout = Layout(database, cluster)
    client.command(f"CREATE DATABASE IF NOT EXISTS {quoted(database)}{layout.everywhere}")
    for statement in layout.statements(NOTES):
        client.command(statement)
    known = {each.number for each in _applied(client, layout)}
    again = bool(missing_in(client, layout)) and not known.isdisjoint(each.number for each in migrations())
    for migration in migrations():
        if again or migration.number not in known:
            _run(client, layout, migration)
        if migration.number not in known:
            _note(client, layout, migration)
    retention.apply(client, layout, storage or Storage())
    for name, definition, comment in _outdated(client, layout):
        client.command(
            f"CREATE OR REPLACE VIEW {layout.table(name)}{layout.everywhere}{definition}\nCOMMENT '{comment}'"
        )


def state(client: Client, database: str, cluster: str = "") -> State:
    """Where `database` stands; changes nothing. Raises what `migrate` does."""
    layout = Layout(database, cluster)
    applied = _applied(client, layout)
    known = {each.number for each in applied}
    return State(
        applied,
        [each for each in migrations() if each.number not in known],
        missing_in(client, layout),
        [name for name, *_ in _outdated(client, layout)],
    )


def missing_in(client: Client, layout: Layout) -> list[str]:
    """What of our tables a database lacks."""
    query = "SELECT table, name FROM system.columns WHERE database = {database:String}"
    rows = client.query(query, parameters={"database": layout.database}).result_rows
    found = {f"{table}.{name}" for table, name in rows}
    tables = {str(table) for table, _ in rows}
    wanted = {table.name: [column.name for column in table.columns] for table in TABLES}
    wanted |= {name: [] for name in ("panes_1m", "panes_1h", "rolled")}
    return [
        item
        for name, columns in wanted.items()
        for item in ([f"{name}.{column}" for column in columns] if name in tables else [name])
        if item not in found
    ]


def _applied(client: Client, layout: Layout) -> list[Applied]:
    """What has been noted, in the order of numbers; checked against what we know."""
    exists = client.command(
        "SELECT count() FROM system.tables WHERE database = {database:String} AND name = 'schema_migrations'",
        parameters={"database": layout.database},
    )
    if not int(str(exists)):
        return []
    rows = client.query(
        "SELECT number, argMin(name, applied_at), argMin(checksum, applied_at),"
        " toUnixTimestamp64Milli(min(applied_at)), argMin(headgate, applied_at)"
        f" FROM {layout.table('schema_migrations')} GROUP BY number ORDER BY number"
    ).result_rows
    applied = [Applied(*row) for row in rows]
    _check(layout.database, applied)
    return applied


def _check(database: str, applied: Sequence[Applied]) -> None:
    ours = {each.number: each for each in migrations()}
    for each in applied:
        if each.number not in ours:
            raise SchemaError(
                f"database {database}: found migration {each.number} ({each.name}), which Headgate "
                f"{each.headgate} applied, expected {max(ours)} at most, which is what Headgate "
                f"{version('headgate')} knows; run the newer Headgate"
            )
        if each.checksum != ours[each.number].checksum:
            raise SchemaError(
                f"database {database}: migration {each.number} ({each.name}), which Headgate {each.headgate} "
                "applied, is not the one of that number here: found another checksum; run the Headgate that "
                "applied it, or one that was made from it"
            )


def _run(client: Client, layout: Layout, migration: Migration) -> None:
    for statement in migration.statements:
        for one in layout.statements(statement):
            try:
                client.command(one)
            except DatabaseError as error:
                raise SchemaError(
                    f"database {layout.database}: migration {migration.number} ({migration.name}) stopped at "
                    f"{' '.join(one.split())[:80]!r}: {explain(error)}; what it has done stays, and the next "
                    "who migrates begins it anew"
                ) from error


def _note(client: Client, layout: Layout, migration: Migration) -> None:
    client.command(
        f"INSERT INTO {layout.table('schema_migrations')} SELECT {{number:UInt32}}, {{name:String}},"
        " {checksum:String}, now64(3), {headgate:String}",
        parameters={
            "number": migration.number,
            "name": migration.name,
            "checksum": migration.checksum,
            "headgate": version("headgate"),
        },
    )


def _outdated(client: Client, layout: Layout) -> Iterator[tuple[str, str, str]]:
    """The views that are missing or are not as ours: name, what follows it, and the comment that says which
    they are."""
    query = "SELECT name, comment FROM system.tables WHERE database = {database:String} AND engine = 'View'"
    rows = client.query(query, parameters={"database": layout.database}).result_rows
    comments = {str(name): str(comment) for name, comment in rows}
    for name, query in definitions(layout.database).items():
        columns = ", ".join(f"{quoted(column)} {type_}" for column, type_ in COLUMNS.get(name, {}).items())
        definition = f"{f' ({columns})' if columns else ''} AS\n{query}"
        comment = f"Headgate, {hashlib.sha256(definition.encode()).hexdigest()[:16]}"
        if comments.get(name) != comment:
            yield name, definition, comment


def _read(file: Path) -> Migration:
    number, _, name = file.stem.partition("_")
    text = re.sub(r"^--.*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    statements = tuple(part.strip() for part in text.split(";\n") if part.strip())
    return Migration(int(number), name, statements)
