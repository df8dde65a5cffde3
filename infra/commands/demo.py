"""`headgate demo`."""

import argparse

from infra.demo.run import run as run_demo
from schemas.settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """How to vary it, and how to look around afterwards."""
    parser.description = (
        "Runs the whole loop on MovieLens data, with its own Kafka, ClickHouse, stages and serving workers:\n"
        "a healthy version is promoted, one with a bug is rolled back, and you see why. Takes some minutes."
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="another seed is another history; default: %(default)s",
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave everything running afterwards, to be explored"
    )


def run(arguments: argparse.Namespace, _settings: Settings) -> int:
    """Exits with 0 only if everything went as it should."""
    return run_demo(arguments.seed, arguments.keep)
