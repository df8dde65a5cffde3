"""A release's tests as people see them in a terminal: each an interval beside its limit, or how far its
samples have come.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.text import Text

NARROW = 24
"""Columns that a picture takes at least."""
WIDE = 60
"""Columns that a picture takes at most."""

STATES = {
    "proven": "proven",
    "open": "nothing proven",
    "too few samples": "too few samples yet",
    "broken": "the sums contradict each other",
}


def tests(findings: Sequence[Mapping[str, Any]]) -> RenderableType:
    """All tests of a release, as `report.tests` has them."""
    return Group(*(part for finding in findings for part in _test(finding)))


def _test(finding: Mapping[str, Any]) -> Iterator[RenderableType]:
    state = finding["state"]
    colour = _colour(finding)
    yield Text.assemble((finding["test"], "bold"), "  ", (STATES.get(state, state), colour))
    few = state == "too few samples"
    yield Progress(finding) if few else Interval(finding, colour)
    yield Text("  " + _numbers(finding), style="dim")


def _colour(finding: Mapping[str, Any]) -> str:
    if finding["state"] == "proven":
        return "green" if "passes" in finding else "red"
    return {"broken": "red", "open": "cyan"}.get(finding["state"], "yellow")


def _numbers(finding: Mapping[str, Any]) -> str:
    """Both versions' values and samples, and the difference with its bounds."""
    samples = finding.get("samples") or {}
    parts = [
        f"{version} {_value(value)} ({samples.get(version) or 0:,.0f})"
        for version, value in (finding.get("values") or {}).items()
        if version and (value is not None or samples.get(version))
    ]
    lower, upper, effect = (finding.get(name) for name in ("lower", "upper", "effect"))
    if None not in (lower, upper, effect):
        show = _share if finding.get("relative") else _value
        parts.append(f"{show(effect)} [{show(lower)}, {show(upper)}]")
    return "   ".join(parts)


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.2f} %"


class Interval:
    """The interval of an effect on a line, with the limit as a bar across it; the side where the test is
    decided is shaded.
    """

    def __init__(self, finding: Mapping[str, Any], colour: str) -> None:
        self._finding = finding
        self._colour = colour

    def __rich_measure__(self, _console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(NARROW, min(WIDE, options.max_width))

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        found = self._finding
        numbers = [found.get(name) for name in ("lower", "effect", "upper", "limit")]
        if any(number is None or not math.isfinite(number) for number in numbers):
            return
        lower, effect, upper, limit = (float(number) for number in numbers)  # type: ignore[arg-type]
        width = max(NARROW, min(WIDE, options.max_width) - 4)
        low, high = min(lower, limit), max(upper, limit)
        margin = (high - low) * 0.08 or 1.0
        low, high = low - margin, high + margin

        def place(value: float) -> int:
            return min(width - 1, max(0, round((value - low) / (high - low) * (width - 1))))

        decided = found.get("fails") or found.get("passes")
        sides = {"above": range(place(limit) + 1, width), "below": range(place(limit))}
        cells = ["░" if at in sides.get(decided or "", ()) else " " for at in range(width)]
        for at in range(place(lower), place(upper) + 1):
            cells[at] = "─"
        cells[place(lower)], cells[place(upper)] = "├", "┤"
        cells[place(limit)] = "┃"
        cells[place(effect)] = "●"
        line = Text("  ")
        for cell in cells:
            line.append(cell, "dim" if cell == "░" else "bold" if cell == "┃" else self._colour)
        show = _share if found.get("relative") else _value
        outcome = "proven" if "passes" in found else "rolled back"
        says = f"{outcome} once all of ├──┤ is in ░" if decided else "paused once all of ├──┤ is beside it"
        yield line
        yield Text(f"  ┃ {show(limit)}: {says}", style="dim")


class Progress:
    """How far the arm with fewer samples is from being tested."""

    def __init__(self, finding: Mapping[str, Any]) -> None:
        samples = [
            value or 0.0 for value in (finding.get("samples") or {}).values()
        ]  # the judged one's first
        self._have = min(samples if finding.get("relative", True) else samples[:1], default=0.0)
        self._needed = finding.get("needed") or 0

    def __rich_measure__(self, _console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(NARROW, min(WIDE, options.max_width))

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(NARROW, min(WIDE, options.max_width) - 34)
        share = min(1.0, self._have / self._needed) if self._needed else 0.0
        full = round(share * width)
        words = f" {self._have:,.0f} of {self._needed:,} samples" if self._needed else ""
        yield Text.assemble("  ", ("█" * full, "yellow"), ("░" * (width - full), "dim"), words)
