"""`headgate schema export`."""

import argparse
from pathlib import Path

from schemas import json_schema
from schemas.settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Where to."""
    parser.description = "The records of every topic as JSON Schema (draft 2020-12)."
    actions = parser.add_subparsers(required=True, metavar="ACTION", title="actions")
    export = actions.add_parser("export", help="write a schema a topic into a folder", allow_abbrev=False)
    export.add_argument("folder", type=Path, metavar="DIR", help="the folder; it is made where it is missing")


def run(arguments: argparse.Namespace, _settings: Settings) -> int:
    """Prints the files that it has written."""
    for path in json_schema.export(arguments.folder):
        print(path)
    return 0
