"""A release's status as people see it in a terminal."""

from collections.abc import Iterator, Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from infra.commands.output import ago, instant
from infra.commands.release_view import Status, WorkerStatus
from schemas.records import YEAR_2000

COLOURS = {
    "stable": "green", "canary": "cyan", "watching": "cyan", "paused": "yellow", "rolled_back": "red",
    "applied": "green", "waiting": "cyan", "late": "yellow", "failed": "red",
}  # fmt: skip

HIDDEN = ("as_of", "now", "command_id", "cause", "actor")
"""Parts of a decision that its reason says in words, or that are for programs."""


def panel(status: Status, now: int) -> RenderableType:
    """The whole picture, as of `now` (epoch ms)."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    for name, value in _facts(status, now):
        facts.add_row(name, value)
    return Panel(
        Group(facts, Text(), _workers(status.workers, now)),
        title=Text(status.model),
        box=box.ROUNDED,
        expand=False,
    )


def _facts(status: Status, now: int) -> Iterator[tuple[str, RenderableType]]:
    step = f", step {status.step} of {status.steps}" if status.step is not None else ""
    since = f"{instant(status.since)} ({ago(now - status.since)} ago)"
    yield "phase", Text.assemble((status.phase, COLOURS[status.phase]), step)
    yield "stable", Text(f"{status.stable} ({100 * (1 - status.weight):.4g} % of the traffic)")
    if status.candidate is not None:
        yield "candidate", Text(f"{status.candidate} ({100 * status.weight:.4g} % of the traffic)")
    if status.shadow is not None:
        yield "shadow", Text(status.shadow)
    yield "generation", Text(f"{status.generation}, since {since}")
    yield "decision", Text(status.reason)
    for name, value in _numbers(status.decision):
        yield "", Text(f"{name} {value}", style="dim")
    if status.refused:
        last = status.refused[-1]
        yield (
            "refused",
            Text(f"{last.command} by {last.actor}, {ago(now - last.ts)} ago: {last.reason}", style="yellow"),
        )


def _numbers(decision: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """The figures of a decision, a line each, and one for each object (values, samples)."""
    for name, value in decision.items():
        if name in HIDDEN or value is None:
            continue
        if isinstance(value, float):
            yield name, f"{value:.5g}"
        elif isinstance(value, Mapping):
            yield name, ", ".join(f"{key} {_figure(part)}" for key, part in value.items() if part is not None)
        elif isinstance(value, str | int):
            yield name, str(value)


def _figure(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return instant(int(value)) if value >= YEAR_2000 else f"{value:,.5g}"


def _workers(workers: list[WorkerStatus], now: int) -> RenderableType:
    if not workers:
        return Text("no serving worker is live", style="yellow")
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    for name in ("worker", "state", "generation", "versions", "heard of"):
        table.add_column(name)
    for worker in workers:
        state = Text(worker.state, style=COLOURS[worker.state])
        if worker.error:
            state.append(f": {worker.error}")
        generation = "-" if worker.generation < 0 else str(worker.generation)
        seen = f"{ago(now - worker.last_seen)} ago"
        table.add_row(Text(worker.worker), state, generation, Text(", ".join(worker.loaded)), seen)
    return table
