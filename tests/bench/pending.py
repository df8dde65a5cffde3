"""What a pending prediction costs in memory: a join process reads a backlog of which nothing becomes
final, and its resident memory is compared with that of one that has read next to nothing.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

from infra.local.stack import LocalStack
from schemas import topics
from schemas.settings import Settings
from schemas.topics import Topic
from tests.bench import processes, race, workload
from tests.bench.backlog import Backlog, fill
from tests.bench.contestants import HEADGATE, LITTLE, warm_up
from tests.bench.results import Snapshots

FOREVER = workload.policy(attribution={"window": "2h", "lateness": "1m"})
SETTLING = 3.0
"""Seconds until what was fetched and sent is let go."""
PATIENCE = 600.0


class Weight(NamedTuple):
    """Resident memory in MiB: with everything pending, and its peak on the way; `seconds` it took to read."""

    memory: float
    peak: float
    seconds: float


def measure(predictions: int) -> str:
    """At this size and at four times as many, with their requests and without."""
    with LocalStack() as stack:
        warm_up(stack.settings)
        lines = []
        for name, sources in (
            ("with requests", topics.EVENTS),
            ("without requests", (topics.PREDICTIONS, topics.FEEDBACK)),
        ):
            alone = _weigh(stack.settings, LITTLE, sources, f"{name[:7]}.little.").memory
            for count in (predictions, 4 * predictions):
                found = _weigh(stack.settings, count, sources, f"{name[:7]}.{count}.")
                lines.append(
                    f"pending: {count:,} predictions of {workload.ITEMS} items {name}: "
                    f"{(found.memory - alone) * processes.MIB / count:,.0f} bytes each "
                    f"({found.memory:,.0f} MiB, {alone:,.0f} of them without any; peak {found.peak:,.0f})"
                )
    return "\n".join(lines)


def _weigh(settings: Settings, predictions: int, sources: Sequence[Topic], prefix: str) -> Weight:
    backlog = fill(settings, predictions, prefix.replace(" ", "-"), FOREVER, sources, leaps=())
    results = Snapshots(backlog.settings)
    with race.flowing(HEADGATE, backlog) as running:
        peak = running.used.memory
        while not counted(results, backlog):
            peak = max(peak, processes.usage(running.process).memory)
            if time.monotonic() - running.began > PATIENCE or not processes.alive(running.process):
                raise TimeoutError(f"not all of {predictions} predictions were counted in {PATIENCE:.0f} s")
            time.sleep(race.LOOK)
        seconds = time.monotonic() - running.began
        time.sleep(SETTLING)
        return Weight(processes.usage(running.process).memory, peak, seconds)


def counted(results: Snapshots, backlog: Backlog) -> bool:
    """Whether everything is in the panes, final or not."""
    if not results.refresh():
        return False
    found, truth = results.counts().values(), backlog.truth.values()
    return all(sum(counts[i] for counts in found) == sum(counts[i] for counts in truth) for i in range(3))
