"""`headgate streams`."""

import argparse

from schemas.settings import Settings
from streams import registry, supervisor


def configure(parser: argparse.ArgumentParser) -> None:
    """Which stages."""
    parser.description = (
        "Runs the named stages (all by default), each in a process of its own; one that dies is started\n"
        "again.\n\n"
        "  join   matches predictions with feedback and writes metrics, pane by pane\n"
        "  judge  watches the metrics, raises alerts, and moves releases on or back\n"
        "  sink   stores everything in ClickHouse\n"
        "  notify sends alerts to Alertmanager or a webhook, where one is configured ([notify])\n"
        "  examples keeps a sample of raw records, where [examples] is configured and policies ask\n\n"
        "Run it on several machines to share the work, as far as there are partitions.\n\n"
        "Each process answers /healthz, /readyz and /metrics (Prometheus): join on 127.0.0.1:9400, judge on\n"
        "9401, sink on 9402, notify on 9403, examples on 9404. HEADGATE_HEALTH=HOST:PORT puts join\n"
        "elsewhere, and the others on the ports after it; HEADGATE_HEALTH=off turns it off."
    )
    parser.add_argument(
        "stages", nargs="*", metavar="STAGE", type=stage, help=f"any of {', '.join(registry.STAGES)}"
    )


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Runs until Ctrl-C or SIGTERM."""
    return supervisor.run(list(dict.fromkeys(arguments.stages)), settings)


def stage(text: str) -> str:
    """The name of a stage as argparse takes it."""
    if text not in registry.STAGES:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected any of {', '.join(registry.STAGES)}")
    return text
