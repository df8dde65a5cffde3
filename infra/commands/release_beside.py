"""What happens beside a release, as people see it: how a shadow does, and what a dry run would have done."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from infra.commands.output import ago, instant
from streams.judge.releases.beside import Comparison, Report
from streams.judge.releases.dryrun import Would

STYLES = {"exceeded": "bold red", "within": "green", "too few samples": "dim"}


def shadow(report: Report) -> list[RenderableType]:
    """A line a metric, those beyond their limits first."""
    mine, others = report.samples
    seen = f"{mine:,.0f} predictions of {report.shadow}, {others:,.0f} of {report.stable}"
    lines: list[RenderableType] = [Text(f"{seen}, since {instant(report.since)}", style="dim")]
    if not report.comparisons:
        return lines
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("metric", no_wrap=True)
    for name in (report.shadow, report.stable, "difference"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("limit", overflow="fold")
    for found in sorted(report.comparisons, key=_order):
        table.add_row(
            Text(found.metric),
            _number(found.shadow),
            _number(found.stable),
            _difference(found),
            _state(found),
        )
    return [*lines, table]


def imagined(past: Sequence[Would], now: int) -> list[RenderableType]:
    """A line a decision, the newest last."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for would in past:
        table.add_row(Text(f"{ago(now - would.ts)} ago"), Text(would.act, style="yellow"), Text(would.reason))
    return [table] if past else []


def _order(found: Comparison) -> tuple[bool, bool]:
    return found.state != "exceeded", not found.limit


def _number(value: float | None) -> Text:
    return Text("-" if value is None else f"{value:.4g}")


def _difference(found: Comparison) -> Text:
    if found.effect is None:
        return Text("")
    text = f"{found.effect:+.1%}"
    if found.lower is not None and found.upper is not None:
        text += f" ({found.lower:+.1%} to {found.upper:+.1%})"
    return Text(text)


def _state(found: Comparison) -> Text:
    """Whether it is within its limit, where it has one."""
    if found.state == "too few samples":
        return Text(f"{found.limit} (too few samples)".strip(), style="dim")
    return Text(f"{found.limit}: {found.state}", style=STYLES[found.state]) if found.limit else Text("")
