"""A release's status as people see it in a terminal: first what is going on, then what comes next, then what
that rests on.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from infra.commands.output import ago, instant
from infra.commands.release_beside import imagined, shadow
from infra.commands.release_tests import tests
from infra.commands.release_view import Status, WorkerStatus, asked
from infra.commands.silence_log import about
from schemas.records import DAY, YEAR_2000
from streams.judge.releases.beside import Report

COLOURS = {
    "stable": "green", "canary": "cyan", "watching": "cyan", "paused": "yellow", "rolled_back": "red",
    "applied": "green", "waiting": "cyan", "late": "yellow", "failed": "red",
}  # fmt: skip

HIDDEN = (
    "as_of", "now", "command_id", "cause", "actor", "findings", "alpha_spent", "drift", "link", "resolves",
    "through", "maturity", "outcome", "shadow",
)  # fmt: skip
"""Parts of a decision that its reason says in words, that stand elsewhere, or that are for programs."""
SILENT = 30_000
"""A judge that has said nothing of a running release for so long (ms) is not well."""
UNANSWERED = 10_000
"""Neither is one that has not answered a command for so long (ms): it waits a little for new versions."""
REFUSED = 3_600_000
"""So long (ms) a refused command is shown: it says little of what stands now."""
LINES = 10
"""So many decisions and alerts are shown."""


def panel(status: Status, now: int) -> RenderableType:
    """The whole picture, as of `now` (epoch ms)."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(status, now):
        facts.add_row(name, value)
    parts: list[RenderableType] = []
    if status.sentence:
        parts += [Text(status.sentence, style=f"bold {COLOURS[status.phase]}"), *_judge(status, now), Text()]
    parts += [facts, *_section(_coming(status), _next(status, now)), *_outlook(status)]
    if status.imagined:
        parts += _section("dry run: nothing was done, but would have been", imagined(status.imagined, now))
    if status.beside is not None:
        parts += _section(f"shadow {status.beside.shadow}", shadow(status.beside))
    elif isinstance(status.decision.get("shadow"), Mapping):
        report = msgspec.convert(status.decision["shadow"], Report)
        parts += _section(f"shadow {report.shadow}, as it ended", shadow(report))
    parts += _section("alerts", _alerts(status, now))
    parts += _section("workers", [_workers(status.workers, now)])
    parts += _section("decisions", _history(status, now))
    return Panel(Group(*parts), title=Text(status.model), box=box.ROUNDED, expand=False)


def _coming(status: Status) -> str:
    if status.dry_run:
        return "next, at the earliest, were it not a dry run: the judge moves nothing by itself"
    return "next, at the earliest"


def _section(title: str, parts: list[RenderableType]) -> list[RenderableType]:
    return [Text(), Rule(Text(title, style="bold"), align="left", style="dim"), *parts] if parts else []


def _judge(status: Status, now: int) -> Iterator[Text]:
    """How the judge sees it, or that it sees nothing."""
    outlook = status.outlook
    waiting = [command for command in status.waiting if now > command.ts + UNANSWERED]
    silent = None
    if outlook is not None and now > outlook.at + SILENT:
        silent = f"has said nothing for {ago(now - outlook.at)}"
    elif waiting:
        silent = f"does not answer {asked(waiting[0], now)}"
    if silent is not None:
        yield Text(
            f"The judge {silent}: see whether `headgate streams judge` runs. "
            f"`headgate release rollback {status.model} --force` works without it.",
            style="bold red",
        )
    if outlook is not None:
        yield Text(f"The judge, {ago(now - outlook.at)} ago: {outlook.verdict}")


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
    if not status.decision.get("findings"):
        for name, value in _numbers(status.decision):
            yield "", Text(f"{name} {value}", style="dim")
    for command in status.waiting:
        yield "asked", Text(f"{asked(command, now)}, is not answered yet", style="yellow")
    link = status.decision.get("link")
    if isinstance(link, str):
        yield "look at", Text(link, style="dim", overflow="fold")
    last = status.refused[-1] if status.refused else None
    if last is not None and now <= last.ts + REFUSED:
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


def _next(status: Status, now: int) -> list[RenderableType]:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for step in status.next:
        if step.at is None:
            table.add_row(Text("when"), Text(step.what))
        else:
            left = f"in {ago(step.at - now)}" if step.at > now else "now"
            table.add_row(Text.assemble(left, (f"  {_clock(step.at)}", "dim")), Text(step.what))
    return [table] if status.next else []


def _outlook(status: Status) -> list[RenderableType]:
    """The tests, and what is behind them."""
    outlook = status.outlook
    context: Mapping[str, Any] = status.decision if outlook is None else outlook.context
    findings = context.get("findings") or []
    parts = [tests(findings)] if findings else []
    title = "tests" if outlook is not None else "tests, when it was decided"
    return [*_section(title, parts), *_section("furthest from the training data", _drift(context))]


def _drift(context: Mapping[str, Any]) -> list[RenderableType]:
    far = [one for one in context.get("drift") or [] if one["psi"] > one["limit"]]
    if not far:
        return []
    named = (f"{one['feature']} (PSI {one['psi']:.2f}, limit {one['limit']:g})" for one in far)
    return [Text(", ".join(named))]


def _alerts(status: Status, now: int) -> list[RenderableType]:
    lines: list[RenderableType] = [
        Text.assemble(
            (f"{alert.severity} ", "red" if alert.severity == "page" else "yellow"),
            f"{alert.rule}, for {ago(now - alert.starts_at)}: {alert.annotations.get('summary', '')}",
        )
        for alert in status.alerts[-LINES:]
    ]
    if len(status.alerts) > LINES:
        lines.insert(0, Text(f"and {len(status.alerts) - LINES} older ones", style="dim"))
    lines += [
        Text(
            f"silenced: {about(one)}, by {one.actor} until {instant(one.ends_at)} "
            f"({ago(one.ends_at - now)}): {one.reason}; `headgate silence end {one.silence_id}`",
            style="dim",
        )
        for one in status.silences
    ]
    return lines


def _history(status: Status, now: int) -> list[RenderableType]:
    if not status.history:
        return []
    lines: list[RenderableType] = []
    for turn in reversed(status.history[-LINES:]):
        when = _clock(turn.ts) if now - turn.ts < DAY else instant(turn.ts)[:16]
        parts = ((f"{when}  {turn.generation:>3}  ", "dim"), (f"{turn.phase:11}  ", COLOURS[turn.phase]))
        lines.append(Text.assemble(*parts, turn.reason, no_wrap=True, overflow="ellipsis"))
    return lines


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


def _clock(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%H:%M:%S UTC")
