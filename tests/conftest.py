"""The stacks that integration tests run on: one for all of them, each module with names of its own on it; and
stacks to break.

Without Docker this is the local stack; where tests are to run against stock images, this is the one place to
say so.
"""

from collections.abc import Iterator
from uuid import uuid4

import msgspec
import pytest

from infra.local.stack import LocalStack
from schemas.settings import Settings


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    """The running stack that all tests share. Not to be stopped, nor filled with topics without a prefix: see
    `settings`."""
    with LocalStack() as running:
        yield running


@pytest.fixture(scope="module")
def settings(stack: LocalStack) -> Settings:
    """The shared stack's settings, with a topic prefix and a ClickHouse database that only this module has.
    Neither topics nor database exist yet: `infra.topics.create` and `streams.storage.migrate` make them.
    """
    return isolated(stack.settings)


@pytest.fixture
def own_stack() -> Iterator[LocalStack]:
    """A running stack for this test alone, to stop, kill and restart."""
    with LocalStack() as running:
        yield running


def isolated(settings: Settings) -> Settings:
    """`settings` with names that nobody else uses."""
    name = uuid4().hex[:8]
    return msgspec.structs.replace(
        settings,
        topics=msgspec.structs.replace(settings.topics, prefix=f"{name}."),
        clickhouse=msgspec.structs.replace(settings.clickhouse, database=f"headgate_{name}"),
    )
