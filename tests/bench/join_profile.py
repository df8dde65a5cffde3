"""Where the join process's time goes, sampled by py-spy while it reads a backlog. Time in compiled loops is
found at the Python line that calls them.
"""

import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from infra.local.stack import LocalStack
from tests.bench import processes, race
from tests.bench.backlog import fill
from tests.bench.contestants import HEADGATE, warm_up
from tests.bench.peers.roster import ENVIRONMENTS, install

PACKAGES = ("py-spy==0.4.3",)
RATE = 250
"""Samples a second."""
LINES = 25


def measure(predictions: int) -> str:
    """The lines that took most, of all threads that were not waiting."""
    install("py-spy", PACKAGES)
    with LocalStack() as stack, tempfile.TemporaryDirectory() as folder:
        warm_up(stack.settings)
        backlog = fill(stack.settings, predictions, "profile.")
        stacks = Path(folder) / "stacks.txt"
        results = HEADGATE.prepare(backlog)
        with race.flowing(HEADGATE, backlog) as running:
            spy = [
                str(ENVIRONMENTS / "py-spy" / "bin" / "py-spy"),
                "record",
                "--nonblocking",
                "--format",
                "raw",
            ]
            spy += ["--rate", str(RATE), "--duration", "600", "--output", str(stacks)]
            spy += ["--pid", str(running.process.pid)]
            with subprocess.Popen(spy, stdout=subprocess.DEVNULL) as sampling:
                while not (results.refresh() and results.complete(backlog)):
                    if (
                        not processes.alive(running.process)
                        or time.monotonic() - running.began > race.PATIENCE
                    ):
                        break
                    time.sleep(race.LOOK)
                processes.end(running.process)
                sampling.wait(30)
        return summary(stacks.read_text())


def summary(stacks: str) -> str:
    """The lines with the largest share of the samples; a stack is `frame;frame;… count`, innermost last."""
    lines: Counter[str] = Counter()
    for stack in stacks.splitlines():
        frames, _, count = stack.rpartition(" ")
        lines[frames.rpartition(";")[2]] += int(count)
    total = sum(lines.values()) or 1
    return "\n".join(
        [
            f"profile: {total} samples at {RATE}/s",
            *(f"{n / total:7.1%}  {line}" for line, n in lines.most_common(LINES)),
        ]
    )
