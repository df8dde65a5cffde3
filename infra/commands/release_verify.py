"""`headgate release verify`: whether a model's decisions follow from the log, each made again from it."""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, closing

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.commands.output import instant, print_json
from schemas import topics
from schemas.errors import HeadgateError
from schemas.records import Codec, Release
from schemas.settings import Settings
from schemas.topics import Topic
from streams.judge.past import Past
from streams.judge.verify import Inputs, Result, Verified, verify
from streams.log import Entry, Follower

COLOURS = {Result.SAME: "green", Result.DIFFERENT: "red", Result.FORCED: "dim", Result.UNKNOWN: "yellow"}
SHOWN = 5
"""So many differences of a decision are shown."""

DESCRIPTION = (
    "Makes each decision in control.releases again: from the panes, commands, acks and policies below the\n"
    "offsets that it was made as of, at the time that it was made, and from nothing else. Exit 1 where one\n"
    "comes out different. Decisions of which the log has lost a part are called unknown."
)


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Verifies all decisions about a model that are in the log."""
    found = verified(settings, arguments.model)
    if arguments.json:
        print_json(found)
    else:
        _show(found)
    return 1 if any(one.result is Result.DIFFERENT for one in found) else 0


def verified(settings: Settings, model: str) -> list[Verified]:
    """Each decision about `model` that is in the log. Raises `HeadgateError` where there is none."""
    partition, releases = _releases(settings, model)
    with ExitStack() as stack:

        def past(topic: Topic) -> Iterator[Entry]:
            found = stack.enter_context(closing(Past(settings, topic, partition, since=0)))
            return (entry for batch in found.batches() for entry in batch)

        with closing(Follower(settings, topics.POLICIES)) as follower:
            policies = [entry for entry in follower.refresh() if entry.partition == partition]
        inputs = Inputs(policies, past(topics.PANES), past(topics.ACKS), past(topics.COMMANDS))
        return list(verify(model, partition, releases, inputs))


def _releases(settings: Settings, model: str) -> tuple[int, list[Release]]:
    """The model's partition, and its release records by generation."""
    codec: Codec[Release] = Codec(Release)
    found: dict[int, Release] = {}
    partition = 0
    with closing(Follower(settings, topics.RELEASES)) as follower:
        for entry in follower.refresh():
            if entry.key != model.encode() or not entry.value:
                continue
            try:
                record = codec.decode(entry.value)
            except msgspec.DecodeError:
                continue  # nobody follows it
            partition = entry.partition
            found.setdefault(record.generation, record)
    if not found:
        raise HeadgateError(f"{model} has no release: there is nothing to verify")
    return partition, [found[generation] for generation in sorted(found)]


def _show(found: list[Verified]) -> None:
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    for name in ("generation", "when", "phase", "found again", "decision"):
        table.add_column(name, overflow="fold")
    for one in found:
        words = Text(one.reason)
        for difference in one.differences[:SHOWN]:
            words.append(f"\n{difference}", style="yellow")
        if len(one.differences) > SHOWN:
            words.append(f"\nand {len(one.differences) - SHOWN} more differences", style="yellow")
        result = Text(one.result.value, style=COLOURS[one.result])
        table.add_row(str(one.generation), instant(one.ts), one.phase, result, words)
    console = Console(highlight=False)
    console.print(table)
    count = sum(one.result is Result.SAME for one in found)
    console.print(f"{count} of {len(found)} decisions follow from the log, each to the last digit")
