"""`headgate up`: the local stack in the foreground, with its topics and tables, until Ctrl-C or SIGTERM."""

import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import clickhouse_connect

from infra import topics
from infra.local.stack import LocalStack, remove_left
from schemas.errors import HeadgateError
from schemas.settings import Settings
from streams.storage.migration import migrate

KAFKA_PORT = 9092
CLICKHOUSE_PORT = 8123


def up(
    settings: Settings,
    data: Path | None = None,
    kafka_port: int = KAFKA_PORT,
    clickhouse_port: int = CLICKHOUSE_PORT,
) -> None:
    """Starts Kafka and ClickHouse, creates topics and tables, prints the endpoints and returns after Ctrl-C
    or SIGTERM.

    Topic prefix, partitions and ClickHouse's account are those of `settings`; `data` None is a temporary
    folder; such folders that stacks left behind when they were killed are removed. Raises `HeadgateError` for
    a busy port, a data folder that is in use, or what else keeps the stack from starting.
    """
    remove_left(Path(tempfile.gettempdir()), time.time())
    with (
        suppress(KeyboardInterrupt),
        _interruptible(),
        LocalStack(data, kafka_port, clickhouse_port, settings) as stack,
    ):
        topics.create(stack.settings, forever=True)
        _create_tables(stack.settings)
        sys.stdout.write(greeting(stack.settings, data))
        sys.stdout.flush()
        while (ended := stack.ended()) is None:
            time.sleep(1.0)
        raise HeadgateError(f"{ended} ended by itself; the logs are in {stack.logs}")


def _create_tables(settings: Settings) -> None:
    with clickhouse_connect.get_client(**settings.clickhouse.connect()) as client:
        migrate(client, settings.clickhouse.database, settings.storage)


def greeting(settings: Settings, data: Path | None) -> str:
    """What a person needs to use the stack, from another terminal."""
    url, database = settings.clickhouse.url, settings.clickhouse.database
    return (
        f"Kafka       {settings.kafka.brokers}\n"
        f"ClickHouse  {url} (user {settings.clickhouse.user}, database {database})\n"
        f"data        {data or 'temporary: removed at the end; --data DIR keeps it'}\n\n"
        "In another terminal:\n"
        f"  export HEADGATE_KAFKA={settings.kafka.brokers} HEADGATE_CLICKHOUSE={url}\n"
        "  headgate check\n"
        f"  curl {_account(settings)}'{url}/?database={database}' "
        "-d 'SELECT * FROM metrics ORDER BY pane DESC LIMIT 9 FORMAT Pretty'\n\n"
        "A Grafana with the plug-in grafana-clickhouse-datasource shows it:\n"
        "  headgate dashboards export dashboards && GF_PATHS_PROVISIONING=$PWD/dashboards grafana server\n\n"
        "Ctrl-C stops it.\n"
    )


def _account(settings: Settings) -> str:
    """What lets curl in where ClickHouse has a password, which curl then asks for."""
    return f"-u {shlex.quote(settings.clickhouse.user)} " if settings.clickhouse.password else ""


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM, and SIGINT where the shell has us ignore it, are a KeyboardInterrupt like Ctrl-C."""
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
