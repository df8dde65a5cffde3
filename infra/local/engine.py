"""ClickHouse's engine in this process (chDB), asked the way its HTTP interface is: SQL, format, database,
parameters, settings.

Knows nothing of HTTP (that is `clickhouse_server.py`). Its traps: one process only may own a data folder; a
connection runs one query at a time and keeps what `USE` and `SET` did to it. So every query has a connection
of its own (opening one takes a quarter of a millisecond): queries run side by side and leave nothing behind,
like requests to a server without a session.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

from chdb.state.sqlitelike import Connection

from infra.local.statement import Insert, split_insert

_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CODE = re.compile(r"Code: (\d+)\. DB::Exception: (?!Code: \d)")

UNKNOWN_EXCEPTION = 1002


class Query(NamedTuple):
    """`sql` may be an INSERT followed by its data. `format` holds where the SQL names none; `parameters` are
    for `{name:Type}`."""

    sql: bytes
    format: str = "TabSeparated"
    database: str = "default"
    parameters: Mapping[str, str] = {}
    settings: Mapping[str, str] = {}


class Result(NamedTuple):
    """The reply in the query's format, and what it took."""

    body: bytes
    read_rows: int
    read_bytes: int
    written_rows: int
    written_bytes: int
    seconds: float


class EngineError(Exception):
    """What is wrong with a query: ClickHouse's error code, and the message as a server would send it."""

    def __init__(self, message: str) -> None:
        """`message` is the engine's; what its callers put before the code is left out."""
        found = _CODE.search(message)
        self.code = int(found[1]) if found else UNKNOWN_EXCEPTION
        super().__init__(
            message[found.start() :] if found else f"Code: {self.code}. DB::Exception: {message}"
        )

    @classmethod
    def of(cls, code: int, name: str, text: str) -> Self:
        """One that the engine has no part in."""
        return cls(f"Code: {code}. DB::Exception: {text} ({name})")


class Engine:
    """The engine over one data folder, till `close`. `run` may be called by several threads at once."""

    def __init__(self, data: Path) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self._data = str(data)
        self._keeper = Connection(self._data)  # while one connection is open, opening others is cheap

    def run(self, query: Query) -> Result:
        """Runs one query to its end. Raises `EngineError`."""
        insert = split_insert(query.sql)
        connection = Connection(self._data)
        try:
            _prepare(connection, query)
            return _ask(connection, query) if insert is None else _insert(connection, insert)
        except RuntimeError as error:
            raise EngineError(str(error)) from error
        finally:
            connection.close()

    def close(self) -> None:
        """Closes the data folder."""
        self._keeper.close()


def _prepare(connection: Connection, query: Query) -> None:
    if query.database != "default":
        connection.query(f"USE {_identifier(query.database)}")
    values = {**query.settings, **{f"param_{name}": value for name, value in query.parameters.items()}}
    if values:
        connection.query(f"SET {', '.join(_assignment(name, value) for name, value in values.items())}")


def _ask(connection: Connection, query: Query) -> Result:
    return _run(connection, query.sql, query.format)


def _run(connection: Connection, sql: bytes, format_: str) -> Result:
    # Bytes are taken as well as text, and need not be UTF-8.
    answer = connection.query(sql, format_)  # type: ignore[arg-type]
    return Result(
        bytes(answer.bytes() or b""),
        answer.rows_read(),
        answer.bytes_read(),
        answer.rows_written(),
        answer.bytes_written(),
        answer.elapsed(),
    )


def _insert(connection: Connection, insert: Insert) -> Result:
    """The data go in as a file in memory. The engine has streams for them, too, but one that could not be
    written, as on a full disk, ends as if it had been (chDB 4.4).
    """
    with os.fdopen(os.memfd_create("insert"), "wb") as file:
        file.write(insert.data)
        file.flush()
        source = f" FROM INFILE '/proc/self/fd/{file.fileno()}' COMPRESSION 'none' ".encode()
        sql = insert.head + source + insert.settings + f" FORMAT {insert.format}".encode()
        return _run(connection, sql, "TabSeparated")


def _identifier(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _assignment(name: str, value: str) -> str:
    if not _SETTING.fullmatch(name):
        raise EngineError.of(115, "UNKNOWN_SETTING", f"Unknown setting {name!r}.")
    literal = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name} = '{literal}'"
