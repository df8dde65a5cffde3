"""The demo's screen: what Headgate says of each version, now. Where there is no terminal, a line now and then
instead.
"""

import time
from collections.abc import Mapping

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from infra.demo.observer import MATURE, Observer, Sums
from infra.demo.producer import Shop
from streams.metrics.interval import wilson

METRICS = ("predictions", "ctr", "recall@10", "error_rate", "latency_p50_ms", "latency_p99_ms")

EVERY = 5.0
"""Seconds between two lines where the output is no terminal."""


class Screen:
    """Shows the loop at work; `say` adds a line to the story above the table."""

    def __init__(self, console: Console, observer: Observer, shop: Shop) -> None:
        self._console = console
        self._observer = observer
        self._shop = shop
        self._began = time.monotonic()
        self._printed = 0.0
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> "Screen":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        elapsed = time.monotonic() - self._began
        self._console.print(f"[dim]{elapsed:6.1f} s[/dim]  {text}", highlight=False)

    def show(self) -> None:
        """Draws the present state; asks ClickHouse for it."""
        now = time.monotonic()
        if self._console.is_terminal:
            self._live.update(self._picture(), refresh=True)
        elif now - self._printed >= EVERY:
            self._printed = now
            self.say(self._line(self._observer.metrics(*METRICS, mature=MATURE)))

    def _picture(self) -> Panel:
        metrics, drift = self._observer.metrics(*METRICS, mature=MATURE), self._observer.drift()
        table = Table(expand=True, pad_edge=False, box=None)
        for name in (
            "version",
            "arm",
            "answers/s",
            "answers",
            "CTR (95 %)",
            "recall@10 (95 %)",
            "errors",
            "p50",
            "p99",
            "drift (PSI)",
        ):
            table.add_column(
                name, justify="left" if name in ("version", "arm", "drift (PSI)") else "right", no_wrap=True
            )
        for version, sums in metrics.items():
            table.add_row(*self._row(version, sums, drift.get(version)))
        return Panel(Group(table, Text(), self._state()), title="Headgate", border_style="cyan")

    def _row(self, version: str, sums: Mapping[str, Sums], drift: tuple[str, float] | None) -> list[str]:
        return [
            version,
            self._arm(version),
            _rate(sums),
            f"{_of(sums, 'predictions').numerator:,.0f}",
            _share(_of(sums, "ctr")),
            _share(_of(sums, "recall@10")),
            f"{_of(sums, 'error_rate').numerator:.0f}",
            _milliseconds(_of(sums, "latency_p50_ms")),
            _milliseconds(_of(sums, "latency_p99_ms")),
            "" if drift is None else f"{drift[0]} {drift[1]:.2f}",
        ]

    def _arm(self, version: str) -> str:
        release = self._observer.current
        if release is None:
            return ""
        if version == release.stable:
            return "stable"
        return f"candidate {release.weight:.0%}" if version == release.candidate else ""

    def _state(self) -> Text:
        release = self._observer.current
        if release is None:
            return Text("no release yet")
        acked, workers = len(self._observer.acks[release.generation]), len(self._observer.workers)
        firing = [alert for alert in self._observer.alerts.values() if alert.status == "firing"]
        text = Text.assemble(
            ("release ", "dim"), f"{release.phase}, generation {release.generation}",
            ("   acknowledged ", "dim"), f"{acked} of {workers} workers",
            ("   requests ", "dim"), f"{self._shop.requests:,}",
            ("   feedback ", "dim"), f"{self._shop.feedback:,}",
        )  # fmt: skip
        for alert in firing:
            text.append(
                f"\nalert: {alert.rule} ({alert.severity}) {alert.annotations.get('summary', '')}", "bold red"
            )
        return text

    def _line(self, metrics: Mapping[str, Mapping[str, Sums]]) -> str:
        release = self._observer.current
        state = "no release" if release is None else f"{release.phase} g{release.generation}"
        versions = "   ".join(
            f"{version} {_rate(sums)}/s CTR {_share(_of(sums, 'ctr'))} "
            f"recall@10 {_share(_of(sums, 'recall@10'))} p99 {_milliseconds(_of(sums, 'latency_p99_ms'))}"
            for version, sums in metrics.items()
        )
        return f"{state}   {versions}"


def _of(sums: Mapping[str, Sums], metric: str) -> Sums:
    return sums.get(metric, Sums(0, 0, 0, 0, 0, None))


def _rate(sums: Mapping[str, Sums]) -> str:
    predictions = _of(sums, "predictions")
    return (
        f"{predictions.recent_numerator / predictions.recent_seconds:.0f}"
        if predictions.recent_seconds
        else "0"
    )


def _share(sums: Sums) -> str:
    interval = wilson(sums.numerator, sums.denominator or 0)
    if interval is None or not sums.denominator:
        return "–"
    return f"{sums.numerator / sums.denominator:.2%} ±{(interval.upper - interval.lower) / 2:.2%}"


def _milliseconds(sums: Sums) -> str:
    return "–" if sums.recent_value is None else f"{sums.recent_value:.0f} ms"
