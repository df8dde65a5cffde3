"""How fast a join process reads again what its predecessor had read: `kill -9` with everything pending, and a
new process, against the rate of the first.
"""

import signal
import time
from statistics import median
from typing import NamedTuple

from infra.local.stack import LocalStack
from tests.bench import processes, race
from tests.bench.backlog import Backlog, fill
from tests.bench.contestants import HEADGATE, warm_up
from tests.bench.pending import FOREVER, counted
from tests.bench.results import Snapshots

ROUNDS = 3
PATIENCE = 600.0
COMMITTED = 3.0
"""Seconds after which the first process has committed what it may."""


class Recovery(NamedTuple):
    """Records read a second, before and after a crash, and the seconds from the crash until all is whole
    again.
    """

    first: float
    again: float
    whole: float


def measure(predictions: int) -> str:
    """Some crashes, one after the other."""
    with LocalStack() as stack:
        warm_up(stack.settings)
        found = [
            _crash(fill(stack.settings, predictions, f"crash{n}.", FOREVER, leaps=())) for n in range(ROUNDS)
        ]
        session = stack.settings.streams.session
    lines = [
        f"recovery: {each.first:,.0f} records a second, after kill -9 again {each.again:,.0f} "
        f"({each.again / each.first:.0%}); whole again {each.whole:.1f} s after the kill, {session:.0f} s "
        "of it the group's session"
        for each in found
    ]
    lines.append(
        f"recovery: median {median(each.again / each.first for each in found):.0%} of the first rate"
    )
    return "\n".join(lines)


def _crash(backlog: Backlog) -> Recovery:
    results = Snapshots(backlog.settings)
    with race.flowing(HEADGATE, backlog) as running:
        first = _read(running, results, backlog)
        time.sleep(COMMITTED)
        running.process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
    again = Snapshots(backlog.settings, since=int(time.time() * 1000))
    with race.flowing(HEADGATE, backlog) as running:
        second = _read(running, again, backlog)
        whole = time.monotonic() - killed
    return Recovery(backlog.records / first, backlog.records / second, whole)


def _read(running: race.Running, results: Snapshots, backlog: Backlog) -> float:
    """Seconds until everything is counted."""
    while not counted(results, backlog):
        if time.monotonic() - running.began > PATIENCE or not processes.alive(running.process):
            raise TimeoutError(f"not all of {backlog.records} records were counted in {PATIENCE:.0f} s")
        time.sleep(race.LOOK)
    return time.monotonic() - running.began
