"""How fast a join process reads again what its predecessor had read: `kill -9` with everything pending, and a
new process, against the rate of the first.
"""

import signal
import time

from infra.local.stack import LocalStack
from tests.bench import processes, race
from tests.bench.backlog import Backlog, fill
from tests.bench.contestants import HEADGATE, warm_up
from tests.bench.pending import FOREVER, counted
from tests.bench.results import Snapshots

PATIENCE = 600.0
COMMITTED = 3.0
"""Seconds after which the first process has committed what it may."""


def measure(predictions: int) -> str:
    """One crash."""
    with LocalStack() as stack:
        warm_up(stack.settings)
        backlog = fill(stack.settings, predictions, "crash.", FOREVER, leaps=())
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
    return (
        f"recovery: {backlog.records:,} records read at {backlog.records / first:,.0f}/s, and after kill -9 "
        f"again at {backlog.records / second:,.0f}/s ({first / second:.0%}); whole again {whole:.1f} s after "
        f"the kill, {backlog.settings.streams.session:.0f} s of it the group's session"
    )


def _read(running: race.Running, results: Snapshots, backlog: Backlog) -> float:
    """Seconds until everything is counted."""
    while not counted(results, backlog):
        if time.monotonic() - running.began > PATIENCE or not processes.alive(running.process):
            raise TimeoutError(f"not all of {backlog.records} records were counted in {PATIENCE:.0f} s")
        time.sleep(race.LOOK)
    return time.monotonic() - running.began
