"""`headgate dashboards export`."""

import argparse
from pathlib import Path

import msgspec

from infra.grafana.export import export
from schemas.settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Where to."""
    parser.description = (
        "Grafana's dashboards of Headgate, with the ClickHouse data source that the settings name.\n"
        "Start Grafana with GF_PATHS_PROVISIONING=DIR, and with the plug-in grafana-clickhouse-datasource;\n"
        "it takes the user's password from HEADGATE_CLICKHOUSE_PASSWORD in its own environment."
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION", title="actions")
    wanted = actions.add_parser("export", help="write a provisioning folder for Grafana", allow_abbrev=False)
    wanted.add_argument("folder", type=Path, metavar="DIR", help="the folder; it is made where it is missing")
    wanted.add_argument(
        "--reader",
        action="store_true",
        help="Grafana signs in as the user of [clickhouse] reader, which `headgate schema grants` makes",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Prints the files that it has written."""
    where = settings.clickhouse
    user = where.reader if arguments.reader else where.user
    for path in export(arguments.folder, msgspec.structs.replace(where, user=user)):
        print(path)
    return 0
