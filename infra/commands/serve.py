"""`headgate serve`."""

import argparse
from pathlib import Path

from schemas.settings import Settings
from serving.supervisor import serve


def configure(parser: argparse.ArgumentParser) -> None:
    """Which models, from where."""
    parser.description = (
        "Runs one serving worker: ranks what comes in inference.requests with the versions that the\n"
        "releases name, and answers in inference.predictions. Start as many as you need: they share\n"
        "the partitions. It is started again when a model crashes or hangs it, and the request that did so\n"
        "is answered with an error.\n\n"
        "DIR holds the models: DIR/<model>/<version>/model.onnx and model.toml.\n\n"
        "It answers /healthz, /readyz and /metrics (Prometheus) on 127.0.0.1:9420; HEADGATE_SERVING_HEALTH\n"
        "gives it another HOST:PORT, which several on one machine want, and turns it off with off."
    )
    parser.add_argument("--models", type=Path, metavar="DIR", required=True, help="the folder of models")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="MODEL",
        help="serve these models only, in a consumer group of their own",
    )
    parser.add_argument(
        "--threads",
        type=count,
        default=1,
        metavar="N",
        help="CPU threads of one model run; default: %(default)s",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Runs until Ctrl-C or SIGTERM."""
    return serve(settings, arguments.models, arguments.only, arguments.threads)


def count(text: str) -> int:
    """A number of threads as argparse takes it."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number of at least 1")
    return int(text)
