"""Fixtures of the tests of views."""

from collections.abc import Iterator

import pytest

from schemas.clickhouse import TABLES
from tests.conftest import SharedStack
from tests.contract.view_world import Database, opened


@pytest.fixture(scope="session")
def emptied(stack: SharedStack) -> Iterator[Database]:
    """One for all modules: to make its tables and views takes seconds."""
    with opened(stack.settings) as database:
        yield database


@pytest.fixture
def database(emptied: Database) -> Database:
    """A database without rows."""
    for name in [*(table.name for table in TABLES), "panes_1m", "panes_1h", "rolled"]:
        emptied.client.command(f"TRUNCATE TABLE {name}")
    emptied.writer.forget(range(2))
    return emptied
