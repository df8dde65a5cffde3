"""Versions that change under load: what requests notice of it, how soon a rollback is in force, and whether
memory stays flat.
"""

from collections.abc import Callable, Iterator
from statistics import mean, median
from typing import NamedTuple

from tests.bench import processes
from tests.bench.serving_load import Answer, Traffic, percentile
from tests.bench.serving_nets import Net
from tests.bench.serving_rates import LOAD
from tests.bench.serving_world import World

REST = 1.0
"""Seconds from one swap to the next, twice: between them memory is made ready, if it is."""
SPARE = 300
"""MiB of it: a version, and what is read and made with it."""
APART = 500
"""Milliseconds that a request must be away from swaps to count as undisturbed."""
SERVED, RETURNED = 0.4, 0.3
"""Seconds that a candidate answers before it is rolled back, and that the old version does alone."""
PORTION = 120.0
"""Seconds of requests that are made at a time, before they are needed."""
SETTLED = 10
"""Swaps after which memory is taken."""
AMONG = 50
"""Swaps of which it is the mean: that of ten goes up and down by 3 %."""


class Window(NamedTuple):
    """A change: when its record was written, and when it was applied (epoch ms); its generation."""

    written: float
    applied: float
    generation: int


class Swaps(NamedTuple):
    """Versions loaded and swapped at `rate` requests a second: whether memory was made ready for them;
    requests, those whose answer is not `ok`, the p99 latency (ms) away from swaps and during them, and how
    long a swap takes (ms, median)."""

    net: str
    at_hand: bool
    rate: float
    swaps: int
    requests: int
    failed: int
    steady_p99: float
    swap_p99: float
    lasts: float

    @property
    def ratio(self) -> float:
        return self.swap_p99 / self.steady_p99


class Rollbacks(NamedTuple):
    """Milliseconds from a rollback's record to the start of the last batch that the candidate answered."""

    net: str
    rate: float
    rollbacks: int
    p50: float
    p99: float
    longest: float


class Memory(NamedTuple):
    """MiB of a worker and its supervisor (resident): mean of the first `AMONG` swaps from `SETTLED` on, and
    of the last."""

    net: str
    swaps: int
    early: float
    late: float

    @property
    def growth(self) -> float:
        return self.late / self.early - 1


def swaps(world: World, net: Net, reached: float, count: int, at_hand: bool) -> Swaps:
    """`count` swaps, each to a version that has to be loaded; `at_hand`: where the machine has memory for
    it, and need not get it from a host (`spare_memory.py`)."""
    windows: list[Window] = []

    def script() -> Iterator[float]:
        for number in range(1, count + 1):
            yield REST
            ready = processes.python("tests.bench.spare_memory", str(SPARE)) if at_hand else None
            yield REST
            if ready is not None:
                ready.wait()
            yield from _change(world, net, windows, net.versions[number % len(net.versions)])

    answers = _under_load(world, net, LOAD * reached, script)
    inside = [a for a in answers if any(_meets(a, window, 0) for window in windows)]
    begun = windows[0].written  # before, the worker may still be joining its group
    outside = [a for a in answers if a.asked > begun and not any(_meets(a, w, APART) for w in windows)]
    steady, during = ([a.prediction.latency_ms for a in part] for part in (outside, inside))
    return Swaps(
        net.title,
        at_hand,
        LOAD * reached,
        count,
        len(answers),
        sum(a.prediction.status != "ok" for a in answers),
        percentile(steady, 99),
        percentile(during, 99),
        median(window.applied - window.written for window in windows),
    )


def rollbacks(world: World, net: Net, reached: float, count: int) -> Rollbacks:
    """`count` candidates with half of the traffic, each rolled back."""
    stable, candidate = net.versions[:2]
    canaries: list[Window] = []
    returns: list[Window] = []

    def script() -> Iterator[float]:
        for _ in range(count):
            yield from _change(world, net, canaries, stable, candidate)
            yield SERVED
            yield from _change(world, net, returns, stable)
            yield RETURNED

    answers = _under_load(world, net, LOAD * reached, script)
    delays = []
    for canary, back in zip(canaries, returns, strict=True):
        starts = [
            a.started
            for a in answers
            if a.prediction.arm == "candidate" and a.prediction.generation == canary.generation
        ]
        delays.append(max(0.0, max(starts) - back.written))
    return Rollbacks(
        net.title, LOAD * reached, count, percentile(delays, 50), percentile(delays, 99), max(delays)
    )


def memory(world: World, net: Net, count: int) -> Memory:
    """After `count` swaps, one right after the other, with a few requests between."""
    traffic = Traffic(world.settings)
    sizes: list[float] = []
    generation, _ = world.release(net.name, net.versions[0])
    with world.worker() as process:
        world.await_ack(net.name, generation)
        for number in range(1, count + 1):
            generation, _ = world.release(net.name, net.versions[number % len(net.versions)])
            requests = traffic.requests(net, 20)
            traffic.write(requests)
            world.await_ack(net.name, generation)
            traffic.collect(requests)
            world.forget()
            sizes.append(processes.usage(process).memory)
    traffic.close()
    return Memory(net.title, count, mean(sizes[SETTLED:][:AMONG]), mean(sizes[-AMONG:]))


def _under_load(world: World, net: Net, pace: float, script: Callable[[], Iterator[float]]) -> list[Answer]:
    """All answers to requests that come at `pace` until `script` is through. It yields how many seconds it
    wants to wait; 0: until the next request."""
    traffic = Traffic(world.settings)
    generation, _ = world.release(net.name, net.versions[0])
    sent: list[tuple[str, bytes]] = []
    with world.worker():
        world.await_ack(net.name, generation)
        steps, due, running = script(), 0.0, True
        while running:
            portion = traffic.requests(net, int(PORTION * pace))
            for number in traffic.pace(portion, pace):
                now = (len(sent) + number) / pace
                if now < due:
                    continue
                wish = next(steps, None)
                if wish is None:
                    running = False
                    portion = portion[: number + 1]
                    break
                due = now + wish
            sent += portion
        answers = traffic.collect(sent)
    traffic.close()
    return answers


def _change(
    world: World, net: Net, windows: list[Window], stable: str, candidate: str | None = None
) -> Iterator[float]:
    """Writes a release and waits until it is applied."""
    generation, written = world.release(net.name, stable, candidate, "canary" if candidate else "stable")
    while (applied := world.acked(net.name, generation)) is None:
        yield 0.0
    world.forget()
    windows.append(Window(written, applied, generation))


def _meets(answer: Answer, window: Window, margin: float) -> bool:
    """Whether a request was under way within a change, or so many ms before or after."""
    return answer.asked <= window.applied + margin and answer.handed_over >= window.written - margin
