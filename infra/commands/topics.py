"""`headgate topics`."""

import argparse

from infra import topics
from infra.commands.output import print_json
from schemas.settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """What to do with them."""
    parser.description = (
        "The topics that Headgate works on; prefix, partitions and replicas are [topics] in headgate.toml."
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION", title="actions")
    create = actions.add_parser(
        "create",
        help="create those that are missing",
        description="Creates the topics that are missing, and checks the partitions of those that stand.\n"
        "Event topics are LogAppendTime; how long records are kept is the broker's to say.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    create.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Prints the topics that it has created."""
    created = sorted(topics.create(settings, forever=False))
    if arguments.json:
        print_json(created)
    elif created:
        print("\n".join(created))
    else:
        print("all topics are there")
    return 0
