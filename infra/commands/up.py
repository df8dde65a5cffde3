"""`headgate up`."""

import argparse
from pathlib import Path

from infra.local.up import CLICKHOUSE_PORT, KAFKA_PORT, up
from schemas.settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Where the data goes, and which ports."""
    parser.description = (
        "Starts a real Kafka broker and the ClickHouse engine on this machine, creates topics and tables\n"
        "where they are missing, prints the endpoints, and stays until Ctrl-C. Only this machine can connect."
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="keep the data in DIR; without it, it is gone in the end"
    )
    parser.add_argument(
        "--kafka-port", type=port, default=KAFKA_PORT, metavar="PORT", help="default: %(default)s"
    )
    parser.add_argument(
        "--clickhouse-port", type=port, default=CLICKHOUSE_PORT, metavar="PORT", help="default: %(default)s"
    )


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Runs until Ctrl-C or SIGTERM."""
    up(settings, arguments.data, arguments.kafka_port, arguments.clickhouse_port)
    return 0


def port(text: str) -> int:
    """A port as argparse takes it; 0 is any free one."""
    number = int(text) if text.isdecimal() else -1
    if not 0 <= number <= 65_535:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected a port from 1 to 65535, or 0 for a free one"
        )
    return number
