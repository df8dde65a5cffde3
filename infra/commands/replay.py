"""`headgate replay`: recorded events through the live join and judge, and what they would have said."""

import argparse
import dataclasses
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from time import monotonic, time_ns
from typing import NamedTuple

from infra.commands.output import instant, milliseconds, time
from infra.commands.replay_sources import Events, live, recorded
from schemas import policy_files
from schemas.policies import Policy
from schemas.records import DeadLetter
from schemas.settings import Settings
from schemas.timeline import BEGINNING
from streams.garbage import Garbage
from streams.join import heap
from streams.join.compile import compile_all
from streams.judge import check
from streams.replay import rows
from streams.replay.ahead import take_short_turns
from streams.replay.block import Block
from streams.replay.core import Replay
from streams.replay.kafka import Span
from streams.replay.rows import KINDS, Kind, Output

DESCRIPTION = """\
What would have happened? Runs exactly the live join and judge over recorded events and prints what comes of
them, a JSON object a line: {"type": "pane" | "alert" | "release" | "dead_letter", ...} with the columns of
the view `metrics`, or the fields of the topic. Nothing is written anywhere else. The same events give the
same bytes.
"""

EPILOG = """\
A line of events: {"topic": "inference.predictions", "value": {...}}, and, where they are known, "timestamp",
"partition", "offset", "key" and "headers" as Kafka had them. Time is event time. Policies hold as they were
recorded (control.policies), or as --policy says; control.commands start and stop releases.

  headgate replay --events monday.jsonl.gz | head
  headgate replay --events - --policy stricter.yaml --only alert,release < monday.jsonl
  headgate replay --from-kafka --since 2h --policy stricter.yaml --only release
"""

MOST_PARTITIONS = 100_000
"""Of a topic."""

NOUNS: dict[Kind, str] = {
    "pane": "row",
    "alert": "alert",
    "release": "release",
    "dead_letter": "dead letter",
}

BUFFER = 1 << 16
"""Bytes of output that are written at once."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Where the events are, and what is to be told."""
    parser.description = DESCRIPTION
    parser.epilog = EPILOG
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--events",
        nargs="+",
        metavar="FILE",
        help="recorded events, a record a line, in the order in which they came; - is standard input; what "
        "ends in .gz or .zst is unpacked",
    )
    source.add_argument("--from-kafka", action="store_true", help="the topics themselves, as they are now")
    parser.add_argument(
        "--policy",
        nargs="+",
        action="extend",
        default=[],
        type=Path,
        metavar="FILE",
        help="policies that hold from the beginning, instead of those that were recorded; one a model",
    )
    parser.add_argument(
        "--partitions",
        type=_count,
        metavar="N",
        help="of files: how many partitions the event topics had; places the records that do not say, and "
        "counts those in a wrong one",
    )
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument(
        "--from",
        dest="since",
        type=time,
        metavar="TIME",
        help="of Kafka: panes from then on, such as 2026-02-01T12:00",
    )
    begin.add_argument(
        "--since",
        dest="ago",
        type=milliseconds,
        metavar="DURATION",
        help="of Kafka: panes of the last 30m, 2h, 1d",
    )
    parser.add_argument(
        "--to", dest="until", type=time, metavar="TIME", help="of Kafka: only records from before"
    )
    parser.add_argument(
        "--model", nargs="+", metavar="MODEL", help="print what is about these models only, and dead letters"
    )
    parser.add_argument(
        "--only",
        type=_kinds,
        default=KINDS,
        metavar="TYPE,…",
        help=f"print these lines only: {', '.join(KINDS)}",
    )
    parser.add_argument(
        "--all", action="store_true", help="print panes that are not final, too, as often as they change"
    )
    parser.add_argument("--json", action="store_true", help="print JSON lines, as it does anyway")
    parser.set_defaults(wrong=parser.error)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Prints what comes of the events; what was read and found goes to standard error."""
    if arguments.from_kafka and arguments.partitions:
        arguments.wrong("--partitions is of --events: Kafka says itself how many partitions there are")
    if arguments.events and (arguments.since or arguments.ago or arguments.until):
        arguments.wrong("--from, --since and --to are of --from-kafka")
    policies = policy_files.load(arguments.policy, check.mistakes)
    with _events(arguments, settings, policies) as events:
        heap.keep()
        take_short_turns()
        compile_all()
        replay = Replay(dataclasses.replace(events.known, unfinal=arguments.all))
        _print(replay, events.blocks, Wanted(arguments.only, arguments.model))
    return 0


def _events(
    arguments: argparse.Namespace, settings: Settings, policies: list[Policy]
) -> AbstractContextManager[Events]:
    if arguments.events:
        return recorded(arguments.events, settings, policies, arguments.partitions)
    now = time_ns() // 1_000_000
    since = now - arguments.ago if arguments.ago else arguments.since
    return live(settings, policies, Span(since, arguments.until))


class Wanted(NamedTuple):
    """What is to be printed: these types, about these models (None: all)."""

    kinds: Collection[Kind]
    models: Collection[str] | None

    def takes(self, output: Output) -> bool:
        """Whether it is wanted."""
        if rows.kind(output) not in self.kinds:
            return False
        return self.models is None or isinstance(output, DeadLetter) or output.model in self.models


def _print(replay: Replay, blocks: Iterable[Block], wanted: Wanted) -> None:
    began, told = monotonic(), Counter[Kind]()
    buffer, garbage = bytearray(), Garbage()

    def write(outputs: Iterator[Output]) -> None:
        for output in outputs:
            if wanted.takes(output):
                told[rows.kind(output)] += 1
                buffer.extend(rows.line(output))
            if len(buffer) > BUFFER:
                flush()

    def flush() -> None:
        if not buffer:
            return
        sys.stdout.buffer.write(buffer)
        sys.stdout.buffer.flush()
        buffer.clear()

    for outputs in replay.run(blocks):
        write(outputs)
        flush()
        garbage.collect(monotonic())
    for note in replay.notes:
        print(f"note: {note}", file=sys.stderr)
    took = monotonic() - began
    print(_summary(replay.read, took, told, replay.hand), file=sys.stderr)


def _summary(read: int, took: float, told: Counter[Kind], hand: int) -> str:
    found = ", ".join(_counted(told[kind], NOUNS[kind]) for kind in KINDS)
    until = f" up to {instant(hand)}" if hand > BEGINNING else ""
    rate = f"{read / max(took, 1e-3):,.0f}/s"
    return f"{_counted(read, 'record')}{until} in {took:.1f} s ({rate}): {found}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < MOST_PARTITIONS:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number of partitions from 1 on")
    return int(text)


def _kinds(text: str) -> tuple[Kind, ...]:
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in KINDS:
            raise argparse.ArgumentTypeError(f"found {word!r}, expected some of {','.join(KINDS)}")
    return tuple(kind for kind in KINDS if kind in words)
