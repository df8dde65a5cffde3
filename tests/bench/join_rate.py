"""How many events a second the join stage takes from a real broker, its output on: `python -m tests.bench
join [predictions]`.

The topics are filled first; then one join process starts from nothing, and the clock runs from its first
record on `metrics.panes` until its snapshots hold every prediction and every click.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from infra import topics as broker
from infra.local.stack import LocalStack
from schemas import topics
from schemas.records import Codec, Pane, PaneRecord
from schemas.settings import Settings
from streams.log import Follower
from tests.bench import workload

START = 1_700_000_000_000
RATE = 20_000.0
"""Predictions a second of event time."""
PATIENCE = 300.0
"""Seconds until the join must be through."""


class Result(NamedTuple):
    """What was measured. `cpu` in seconds of the join process, `memory` its peak in MiB."""

    events: int
    seconds: float
    cpu: float
    memory: float
    correct: bool

    def __str__(self) -> str:
        return (
            f"join: {self.events:,} events in {self.seconds:.1f} s: "
            f"{self.events / self.seconds:,.0f} events/s, "
            f"{self.cpu / self.events * 1e6:.1f} CPU s per million events, peak {self.memory:,.0f} MiB, "
            f"totals {'correct' if self.correct else 'WRONG'}"
        )


def measure(predictions: int) -> Result:
    """One run."""
    with LocalStack() as stack:
        broker.create(stack.settings, forever=True)
        workload.apply(stack.settings, workload.policy(), START)
        found = list(workload.events(predictions, RATE, START))
        clicks = sum(event.topic is topics.FEEDBACK for event in found)
        count = workload.produce(stack.settings, iter(found))
        with _join(stack.settings) as process:
            return _watch(stack.settings, process, count, predictions, clicks)


def _join(settings: Settings) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-m", "streams.worker", "join", str(os.getpid())],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(settings))
    process.stdin.close()
    return process


def _watch(
    settings: Settings, process: "subprocess.Popen[bytes]", count: int, predictions: int, clicks: int
) -> Result:
    codec: Codec[PaneRecord] = Codec(PaneRecord)
    follower, first = Follower(settings, topics.PANES), 0
    snapshots: dict[tuple[object, ...], Pane] = {}
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for entry in follower.refresh():
            first = first or entry.timestamp
            record = codec.decode(entry.value)
            if isinstance(record, Pane) and not record.segment:
                snapshots[record.version, record.arm, record.start, record.partition, record.part] = record
        counted = sum(pane.sums.get("predictions", 0) for pane in snapshots.values())
        if counted >= predictions and _heard(snapshots.values()) >= clicks:
            break
        time.sleep(0.1)
    last = time.time() * 1000
    cpu, memory = _usage(process.pid)
    process.terminate()
    process.wait()
    correct = counted == predictions and _heard(snapshots.values()) == clicks
    return Result(count, (last - first) / 1000, cpu, memory, correct)


def _heard(panes: Iterable[Pane]) -> float:
    """Feedback that is in the panes, by whatever verdict."""
    return sum(pane.sums.get(name, 0) for pane in panes for name in ("relevant", "expired", "duplicates"))


def _usage(pid: int) -> tuple[float, float]:
    """CPU seconds and peak memory (MiB) of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    return cpu, int(status["VmHWM"].split()[0]) / 1024
