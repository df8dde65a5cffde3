"""One contestant's run over a backlog, measured from outside and by one rule for all.

The clock starts when the broker begins to hand out the backlog (start of the interpreter, imports and
compilation are over by then), and stops with the last record on the output that changes the result.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil

from tests.bench import processes
from tests.bench.backlog import Backlog
from tests.bench.contestants import Contestant, log_of
from tests.bench.processes import Usage
from tests.bench.results import Results, exact
from tests.bench.workload import Counts, Key

FLOWING = 1 << 18
"""Bytes that the broker has sent when the backlog flows."""
LOOK = 0.05
QUIET, STUCK, STARTING = 1.0, 20.0, 120.0
"""Seconds after which a complete result is the last; an incomplete one, if its processes rest, too; and
to the first record.
"""
RESTING = 0.2
"""CPU seconds a second below which processes rest."""
PATIENCE = 180.0
"""Seconds after which a contestant is cut off; its rate is then of what it has counted."""


class NothingReadError(Exception):
    """A contestant ended, or waited too long, before it read anything; says what its last word was."""


class Outcome(msgspec.Struct, frozen=True):
    """What was measured of one contestant. `cpu` in seconds of its processes while the clock ran,
    `memory` their peak in MiB; `predictions` and `clicks` the shares of the truth that were counted, in
    the panes before the workload's last; `problem` says why there is nothing else.
    """

    name: str
    workload: int
    records: int
    seconds: float = 0.0
    cpu: float = 0.0
    memory: float = 0.0
    correct: bool = False
    predictions: float = 0.0
    clicks: float = 0.0
    problem: str = ""

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / self.seconds if self.seconds else 0.0

    @property
    def cost(self) -> float:
        """CPU seconds for a million records."""
        return 1e6 * self.cpu / self.records


class Running(NamedTuple):
    """A contestant to which records flow since monotonic time `began`."""

    process: psutil.Process
    began: float
    used: Usage


def run(contestant: Contestant, backlog: Backlog) -> Outcome:
    """Runs it, and ends it."""
    base = Outcome(contestant.name, backlog.predictions, contestant.records(backlog))
    try:
        results = contestant.prepare(backlog)
        with flowing(contestant, backlog) as running:
            return _watch(base, running, results, backlog)
    except subprocess.CalledProcessError as error:
        return msgspec.structs.replace(base, problem=f"cannot be installed: {_last(str(error.output))}")
    except NothingReadError as error:
        return msgspec.structs.replace(base, problem=str(error))


@contextmanager
def flowing(contestant: Contestant, backlog: Backlog) -> Iterator[Running]:
    """Starts it and waits until the broker hands out records; ends it in the end. Raises
    `NothingReadError`.
    """
    broker = processes.broker()
    before = processes.sent(broker)
    log = log_of(contestant.name)
    with log.open("wb") as out, contestant.start(backlog, out) as child:
        process = psutil.Process(child.pid)
        try:
            began = time.monotonic()
            while processes.sent(broker) - before < FLOWING:
                if child.poll() is not None or time.monotonic() - began > STARTING:
                    raise NothingReadError(f"read nothing: {_said(log)}")
                time.sleep(LOOK)
            yield Running(process, time.monotonic(), processes.usage(process))
        finally:
            processes.end(process)


def _watch(base: Outcome, running: Running, results: Results, backlog: Backlog) -> Outcome:
    last = busy = running.began
    at_last = at_busy = now = running.used
    peak, complete, cut = now.memory, False, False
    while not cut:
        now = processes.usage(running.process)
        peak = max(peak, now.memory)
        if now.cpu - at_busy.cpu > RESTING * (time.monotonic() - busy):
            busy, at_busy = time.monotonic(), now
        if results.refresh():
            last, at_last = time.monotonic(), now
            complete = results.complete(backlog)
        rest = time.monotonic() - (last if complete else max(last, busy))
        if rest > (QUIET if complete else STUCK):
            break
        cut = not processes.alive(running.process) or time.monotonic() - running.began > PATIENCE
        time.sleep(LOOK)
    measured = msgspec.structs.replace(
        base,
        seconds=last - running.began,
        cpu=at_last.cpu - running.used.cpu,
        memory=peak,
        correct=complete,
    )
    if complete:
        return msgspec.structs.replace(measured, predictions=1.0, clicks=1.0)
    if last == running.began:
        return msgspec.structs.replace(measured, problem=f"said nothing: {_said(log_of(base.name))}")
    compared = _compare(measured, results.counts(), backlog)
    return _of_what_it_counted(compared, results.counts(), backlog) if cut else compared


def _compare(measured: Outcome, found: dict[Key, Counts], backlog: Backlog) -> Outcome:
    """What was lost, in the panes before the last."""
    judged = {key: truth for key, truth in backlog.truth.items() if key.start < backlog.last} or backlog.truth
    nothing = Counts(0, 0, 0, 0.0)
    mine = [found.get(key, nothing) for key in judged]
    return msgspec.structs.replace(
        measured,
        correct=bool(found) and all(exact(found.get(key), truth) for key, truth in judged.items()),
        predictions=sum(c.predictions for c in mine) / sum(c.predictions for c in judged.values()),
        clicks=sum(c.clicks for c in mine) / sum(c.clicks for c in judged.values()),
    )


def _of_what_it_counted(cut: Outcome, found: dict[Key, Counts], backlog: Backlog) -> Outcome:
    """One that was cut off has read more than nothing, and less than all."""
    counted = sum(found[key].predictions for key in backlog.truth if key in found)
    return msgspec.structs.replace(
        cut,
        records=max(1, cut.records * counted // backlog.predictions),
        problem=f"cut off at {counted / backlog.predictions:.0%} of the workload",
    )


def _said(log: Path) -> str:
    """The last line of a log."""
    return f"{_last(log.read_text(errors='replace'))} (all of it in {log})"


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no word"
