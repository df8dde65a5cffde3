"""`headgate`: reads the command line, loads the settings, hands over to one of `infra/commands/`.

Each command is a module with `configure(parser)` and `run(arguments, settings) -> int`, imported when it is
asked for, so that `headgate --help` answers at once. Exit status 0 is success, 1 a failure that is explained
in one line, 2 wrong usage.
"""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn, Protocol, cast

from schemas import settings as configuration
from schemas.errors import HeadgateError
from schemas.settings import Settings


class Module(Protocol):
    """What a command's module offers."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's arguments, and its description."""

    def run(self, arguments: argparse.Namespace, settings: Settings) -> int:
        """Does it; answers the exit status. Raises `HeadgateError` for what a person can mend."""


class Command(NamedTuple):
    """A command of the table: its name, one line about it, and its module."""

    name: str
    help: str
    module: str


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "up", "start Kafka and ClickHouse on this machine, with topics and tables", "infra.commands.up"
        ),
        Command("demo", "see the whole loop at work on real data, by itself", "infra.commands.demo"),
        Command(
            "streams", "run the stages: join events, judge releases, store metrics", "infra.commands.streams"
        ),
        Command("model", "add, list, check and convert the versions to be served", "infra.commands.model"),
        Command("serve", "run a serving worker over a folder of models", "infra.commands.serve"),
        Command("policy", "check, publish and show what is watched and decided", "infra.commands.policy"),
        Command("release", "start, steer and follow the release of a version", "infra.commands.release"),
        Command("silence", "keep alerts from being sent for a while", "infra.commands.silence"),
        Command("profile", "make the reference that drift is measured against", "infra.commands.profile"),
        Command("replay", "what would have happened? Recorded events, again", "infra.commands.replay"),
        Command("check", "is everything reachable and as it should be?", "infra.commands.check"),
        Command("topics", "create the topics on a Kafka of your own", "infra.commands.topics"),
        Command("schema", "the records' JSON Schemas, and ClickHouse's tables", "infra.commands.schema"),
        Command("dashboards", "export Grafana's dashboards", "infra.commands.dashboards"),
    )
}

DESCRIPTION = """\
Headgate watches ranking models online, on Kafka, and decides their releases.
"""

EPILOG = """\
commands:
{commands}

To begin: `headgate up` in one terminal, `headgate streams` in a second, `headgate check` in a third; or
`headgate demo`, which does it all by itself. `headgate COMMAND --help` explains a command.

Kafka and ClickHouse are found by `headgate.toml` in the working directory, and by the variables
HEADGATE_KAFKA (host:port,…) and HEADGATE_CLICKHOUSE (http://host:port), which are stronger.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script. Answers the exit status; wrong usage is `SystemExit` with 2, as argparse has it."""
    outer_parser = _parser()
    outer = outer_parser.parse_args(arguments)
    if outer.command is None:
        outer_parser.print_help(sys.stderr)
        return 2
    command = COMMANDS[outer.command]
    module = cast(Module, importlib.import_module(command.module))
    parser = argparse.ArgumentParser(
        f"headgate {command.name}", formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    module.configure(parser)
    inner = parser.parse_args(outer.arguments)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return module.run(inner, _settings(outer.config))
    except HeadgateError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped before it was done", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {command.name:<{width}}  {command.help}" for command in COMMANDS.values())
    parser = argparse.ArgumentParser(
        "headgate",
        usage="headgate [--config FILE] COMMAND …",
        description=DESCRIPTION,
        epilog=EPILOG.format(commands=lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="read FILE instead of headgate.toml")
    parser.add_argument("command", nargs="?", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _settings(file: Path | None) -> Settings:
    if file is not None and not file.is_file():
        raise HeadgateError(f"{file}: found no such file, expected settings; give --config the path of one")
    return configuration.load(file or configuration.FILE)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM ends a command as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
