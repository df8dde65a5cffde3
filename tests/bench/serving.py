"""`make bench-serving`: the figures of the serving workers, one table of one run. ARGS names some of its
parts: `make bench-serving ARGS=swaps`.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import onnxruntime as ort

from tests.bench import serving_core, serving_figure, serving_rates, serving_swaps
from tests.bench.serving_demo import SMALL
from tests.bench.serving_nets import LARGE, Net
from tests.bench.serving_world import World, world

RESULTS = Path(sys.prefix) / "bench"
"""Where the results of a run are written: `serving.json` and `serving.svg`."""

LARGE_BACKLOG, SMALL_BACKLOG = 4_000, 40_000
"""Requests that wait when the worker starts."""

SPREAD = 1.5
"""How much slower the p99 of a swap may be."""


class Row(NamedTuple):
    """A figure: what it is, what was measured, the goal, and whether that is met (None: there is none)."""

    what: str
    measured: str
    goal: str = ""
    met: bool | None = None


class Reached(NamedTuple):
    """Requests a second that a worker answers from a backlog: alone, and while more are being written."""

    net: str
    alone: float
    beside: float


class Run:
    """One run. The rates that the worker reaches are measured once, by whoever needs them first."""

    def __init__(self, ground: World) -> None:
        self.ground = ground
        self.details: dict[str, list[Any]] = {}
        self._rates: dict[str, serving_rates.Throughput] = {}
        self._reached: dict[str, float] = {}

    def core(self) -> Iterator[Row]:
        """The worker's core without Kafka."""
        how = serving_core.here()
        points = [
            point
            for net in (LARGE, SMALL)
            for point in serving_core.curve(self.ground.repository, net, how, 0.25)
        ]
        self._keep("core", *points)
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "serving.svg").write_text(serving_figure.draw(points, serving_core.hardware()))
        print(serving_core.table(points), flush=True)
        for net in (LARGE, SMALL):
            mine = [point for point in points if point.net == net.title]
            best = max(mine, key=lambda point: point.core)
            yield Row(
                f"batching, {net.title}",
                f"{best.core / mine[0].core:.1f}× at {best.batch} requests a batch ({mine[0].core:,.0f} → "
                f"{best.core:,.0f}/s), bare {max(p.bare for p in mine) / mine[0].bare:.1f}×",
                "shown",
            )
        if how.devices[0].name == "cpu":
            yield Row("the core on a GPU", "not measured: no GPU here", "shown")

    def throughput(self) -> Iterator[Row]:
        """From a backlog, beside the bare loop."""
        for name, goal in ((LARGE.name, 0.9), (SMALL.name, None)):
            found = self._rate(name)
            yield Row(
                f"throughput, {found.net}",
                f"{found.worker:,.0f} requests/s, {found.share:.0%} of the bare loop's {found.bare:,.0f} "
                f"(batches of {found.batch:.1f}; the model runs {found.inferring:.0%} of the time; "
                f"a run takes {found.run_ms:.2f} ms, in the bare loop {found.bare_run_ms:.2f})",
                "90 %" if goal else "stated",
                found.share >= goal if goal else None,
            )

    def latency(self) -> Iterator[Row]:
        """At 60 % load."""
        for name in (LARGE.name, SMALL.name):
            net = LARGE if name == LARGE.name else SMALL
            found = serving_rates.latency(self.ground, net, self._beside(net), seconds=10.0)
            self._keep("latency", found)
            yield Row(
                f"added latency, {found.net}, {found.rate:,.0f} requests/s",
                f"p50 {found.added_p50:.1f} ms, p99 {found.added_p99:.1f} ms "
                f"(whole: p50 {found.p50:.1f}, p99 {found.p99:.1f}; inference p50 {found.infer_p50:.1f}; "
                f"cores busy: worker {found.cores.worker:.2f}, broker {found.cores.broker:.2f}, generator "
                f"{found.cores.generator:.2f}, taken away by the host {found.cores.host:.2f}; Kafka alone "
                f"p50 {found.echo_p50:.1f}, p99 {found.echo_p99:.1f}, host {found.echo_host:.2f})",
                "p99 < 5 ms",
                found.added_p99 < 5,
            )

    def swaps(self) -> Iterator[Row]:
        """Hot swaps under load, with memory at hand for what is loaded, and without."""
        reached = self._beside(LARGE)
        for at_hand in (True, False):
            found = serving_swaps.swaps(self.ground, LARGE, reached, count=40, at_hand=at_hand)
            memory = "memory at hand" if at_hand else "memory from the host"
            self._keep(f"swaps, {memory}", found)
            yield Row(
                f"{found.swaps} hot swaps, {found.net}, {found.rate:,.0f} requests/s, {memory}",
                f"{found.failed} of {found.requests:,} failed, none missing; "
                f"a swap takes {found.lasts:,.0f} ms",
                "none failed or missing",
                found.failed == 0,
            )
            yield Row(
                f"p99 during a swap, {memory}",
                f"{found.swap_p99:.1f} ms, {found.ratio:.2f}× the steady {found.steady_p99:.1f} ms",
                f"{SPREAD}×",
                found.ratio <= SPREAD,
            )

    def rollbacks(self) -> Iterator[Row]:
        """Rollbacks under load."""
        found = serving_swaps.rollbacks(self.ground, LARGE, self._beside(LARGE), count=30)
        self._keep("rollbacks", found)
        yield Row(
            f"rollback record → old version answers all new batches, {found.rollbacks} times, {found.net}",
            f"p50 {found.p50:.0f} ms, p99 {found.p99:.0f} ms, longest {found.longest:.0f} ms",
            "p99 < 100 ms",
            found.p99 < 100,
        )

    def memory(self) -> Iterator[Row]:
        """After many swaps."""
        found = serving_swaps.memory(self.ground, LARGE, count=200)
        self._keep("memory", found)
        yield Row(
            f"memory after {found.swaps} swaps, {found.net}",
            f"{found.late:,.0f} MiB, at first {found.early:,.0f} ({found.growth:+.1%})",
            "within 5 %",
            found.growth <= 0.05,
        )

    def start(self) -> Iterator[Row]:
        """Cold start."""
        found = serving_rates.start(self.ground, LARGE, rounds=5)
        self._keep("start", found)
        yield Row(
            f"cold start to the first answer, {found.net}",
            f"{found.whole:.2f} s: until releases are read {found.begins:.2f} (imports {found.imports:.2f}), "
            f"load and warm-up {found.loads:.2f}, group and first request {found.answers:.2f}",
            "stated",
        )

    def _beside(self, net: Net) -> float:
        """What a worker reaches while the load is being generated beside it."""
        if net.name not in self._reached:
            alone = self._rate(net.name).worker
            self._reached[net.name] = serving_rates.beside(self.ground, net, alone, seconds=5.0)
            self._keep("reached", Reached(net.title, alone, self._reached[net.name]))
        return self._reached[net.name]

    def _rate(self, name: str) -> serving_rates.Throughput:
        if name not in self._rates:
            net, backlog = (LARGE, LARGE_BACKLOG) if name == LARGE.name else (SMALL, SMALL_BACKLOG)
            self._rates[name] = serving_rates.throughput(self.ground, net, backlog)
            self._keep("throughput", self._rates[name])
        return self._rates[name]

    def _keep(self, part: str, *found: Any) -> None:
        self.details.setdefault(part, []).extend(one._asdict() for one in found)


PARTS: Mapping[str, Callable[[Run], Iterator[Row]]] = {
    "core": Run.core,
    "throughput": Run.throughput,
    "latency": Run.latency,
    "swaps": Run.swaps,
    "rollbacks": Run.rollbacks,
    "start": Run.start,
    "memory": Run.memory,
}


def measure(parts: Sequence[str]) -> str:
    """Measures `parts`; prints each figure as it comes, writes JSON, where other parts' stay, and answers the
    table."""
    rows: dict[str, list[Row]] = {}
    with world() as ground:
        run = Run(ground)
        for part in parts:
            rows[part] = []
            for row in PARTS[part](run):
                rows[part].append(row)
                print(line(row), flush=True)
    RESULTS.mkdir(exist_ok=True)
    written = RESULTS / "serving.json"
    before = json.loads(written.read_text()) if written.exists() else {}
    figures = {part: [row._asdict() for row in of] for part, of in rows.items()}
    found = {
        "hardware": serving_core.hardware(),
        "onnxruntime": ort.__version__,
        "figures": before.get("figures", {}) | figures,
        "details": before.get("details", {}) | run.details,
    }
    written.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    table = [line(row) for of in rows.values() for row in of]
    return "\n".join([serving_core.hardware(), *table, f"written: {written}"])


def line(row: Row) -> str:
    """One figure."""
    verdict = {True: "met", False: "MISSED", None: ""}[row.met]
    return f"{row.what:70} {row.measured}  [{row.goal}{': ' if verdict else ''}{verdict}]"


def main(arguments: list[str]) -> int:
    """Measures all parts, or those that are named."""
    if not set(arguments) <= PARTS.keys():
        print(f"found {' '.join(arguments)!r}, expected some of {', '.join(PARTS)}", file=sys.stderr)
        return 2
    print(measure(arguments or list(PARTS)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
