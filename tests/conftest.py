"""The stacks that integration tests run on: one for all of them, each module with names of its own on it; and
stacks to break.

Where a Docker daemon answers, they are containers (`containers.py`), elsewhere the local stack.
`HEADGATE_TEST_STACK` chooses: `local`, or `containers`, which then must be had.
"""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from uuid import uuid4

import msgspec
import pytest

from infra.local.kafka import Kafka
from infra.local.stack import LocalStack
from schemas.settings import Settings

if TYPE_CHECKING:
    from tests.containers import ContainerStack

Stack: TypeAlias = "LocalStack | ContainerStack"

TOLD = pytest.StashKey[str]()
"""What xdist's controller tells its workers of the shared stack: the settings, as JSON."""

SOCKET = Path("/var/run/docker.sock")

LOCAL = "test_local_"
"""How files are called whose tests are about the local stack itself."""


@cache
def on_containers() -> bool:
    """Whether tests are to run on containers. Where nothing speaks of Docker, this costs nothing."""
    wanted = os.environ.get("HEADGATE_TEST_STACK", "")
    if wanted not in ("", "local", "containers"):
        raise pytest.UsageError(f"HEADGATE_TEST_STACK: found {wanted!r}, expected local or containers")
    if wanted or not ("DOCKER_HOST" in os.environ or SOCKET.exists()):
        return wanted == "containers"
    from tests import containers  # Docker's client takes a second to import

    return containers.answers()


def new_stack() -> Stack:
    """A stack of the kind that tests are to run on."""
    if not on_containers():
        return LocalStack()
    from tests.containers import ContainerStack

    return ContainerStack()


def pytest_report_header() -> str:
    """Says in the first lines of a run what it is on."""
    return f"stack: {'containers' if on_containers() else 'local'}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out, on containers, the tests of the local stack: they are run on that."""
    skip = pytest.mark.skip(reason="about the local stack; HEADGATE_TEST_STACK=local runs it")
    for item in items:
        if item.path.name.startswith(LOCAL) and on_containers():
            item.add_marker(skip)


class SharedStack(NamedTuple):
    """A running stack that all tests share, those of all workers. Not to be stopped, nor filled with topics
    without a prefix: see `settings`."""

    settings: Settings


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Before a worker of xdist starts: tells it of the stack, which its controller has."""
    if TOLD not in node.config.stash:
        running = new_stack()
        running.__enter__()
        node.config.add_cleanup(lambda: running.__exit__(None, None, None))
        node.config.stash[TOLD] = msgspec.json.encode(running.settings).decode()
    node.workerinput["stack"] = node.config.stash[TOLD]


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[SharedStack]:
    """The stack that all tests share."""
    told = getattr(request.config, "workerinput", None)
    if told is not None:
        yield SharedStack(msgspec.json.decode(told["stack"], type=Settings))
        return
    with new_stack() as running:
        yield SharedStack(running.settings)


@pytest.fixture(scope="module")
def settings(stack: SharedStack) -> Settings:
    """The shared stack's settings, with a topic prefix and a ClickHouse database that only this module has.
    Neither topics nor database exist yet: `infra.topics.create` and `streams.storage.migrate` make them.
    """
    return isolated(stack.settings)


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """A running stack for this test alone, to stop, kill and restart."""
    with new_stack() as running:
        yield running


def isolated(settings: Settings) -> Settings:
    """`settings` with names that nobody else uses."""
    name = uuid4().hex[:8]
    return msgspec.structs.replace(
        settings,
        topics=msgspec.structs.replace(settings.topics, prefix=f"{name}."),
        clickhouse=msgspec.structs.replace(settings.clickhouse, database=f"headgate_{name}"),
    )


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[Kafka]:
    """A broker to stop and start."""
    kafka = Kafka(tmp_path / "kafka", tmp_path / "kafka.log")
    kafka.start()
    yield kafka
    kafka.stop()
