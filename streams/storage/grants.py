"""The user that dashboards read with: it may read our database and change nothing, and no question of it
takes all of the server.

`readonly = 2`, for Grafana's plug-in and others set things of their own queries (`max_execution_time`); the
limits here cannot be raised with that.
"""

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from clickhouse_connect.driver.client import Client

from schemas.errors import HeadgateError
from schemas.settings import Settings
from schemas.table import quoted
from streams.storage.layout import Layout, text

VARIABLE = "HEADGATE_READER_PASSWORD"
"""The environment variable with the password."""

MEMORY = 4 << 30
"""Bytes that a query may take."""
SECONDS = 60
"""That a query may take."""
QUERIES = 20
"""That the user may have at the same time."""

HIDDEN: Mapping[str, str | int] = {"log_queries": 0}
"""ClickHouse writes queries down; those with a hash of a password need not be."""


def apply(client: Client, settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
    """Creates the user `[clickhouse] reader`, or gives it this password, these rights and these limits.

    Raises `HeadgateError` where there is no password, and clickhouse-connect's errors, as where we may not
    make users.
    """
    where = settings.clickhouse
    for statement in statements(
        Layout(where.database, where.cluster), where.reader, password(settings, environ)
    ):
        client.command(statement, settings=dict(HIDDEN))


def password(settings: Settings, environ: Mapping[str, str]) -> str:
    """From the environment, else from the file that the settings name."""
    if found := environ.get(VARIABLE):
        return found
    file = settings.clickhouse.reader_password_file
    if not file:
        raise HeadgateError(
            f"password of the user {settings.clickhouse.reader}: found none, expected it in {VARIABLE}, or "
            "in a file that reader_password_file under [clickhouse] in headgate.toml names"
        )
    try:
        found = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise HeadgateError(
            f"[clickhouse] reader_password_file: {file}: {getattr(error, 'strerror', None) or error}"
        ) from error
    if not found:
        raise HeadgateError(f"[clickhouse] reader_password_file: {file} is empty, expected a password")
    return found


def statements(layout: Layout, user: str, password: str) -> list[str]:
    """The SQL, which has no password in it but a salted hash. Safe to repeat."""
    salt = secrets.token_hex(16)
    hashed = hashlib.sha256((password + salt).encode()).hexdigest()
    limits = ", ".join(
        [
            "readonly = 2 CONST",
            f"max_memory_usage = {MEMORY} MAX {MEMORY}",
            f"max_execution_time = {SECONDS} MAX {SECONDS}",
            f"max_concurrent_queries_for_user = {QUERIES} MAX {QUERIES}",
        ]
    )
    name, where = quoted(user), layout.everywhere
    identified = f"IDENTIFIED WITH sha256_hash BY {text(hashed)} SALT {text(salt)}"
    return [
        f"CREATE SETTINGS PROFILE OR REPLACE {name}{where} SETTINGS {limits}",
        f"CREATE USER IF NOT EXISTS {name}{where} {identified} SETTINGS PROFILE {text(user)}",
        f"ALTER USER {name}{where} {identified} SETTINGS PROFILE {text(user)}",
        f"GRANT{where} SELECT ON {quoted(layout.database)}.* TO {name}",
    ]
