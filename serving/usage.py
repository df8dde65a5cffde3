"""What a worker takes of its machine, told every few seconds as samples in `metrics.samples`: it shows among
a model's metrics, and rules can watch it.

Each model that the worker serves has them, for rules belong to a model; they are the whole process's.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from schemas.records import Sample
from serving.gpu import Gpus
from serving.jobs import Clock

EVERY = 5.0
"""Seconds between samples."""

CPU, MEMORY = "cpu_utilization", "memory_bytes"
GPU, GPU_MEMORY = "gpu_utilization", "gpu_memory_bytes"
"""Names of the samples: CPU seconds a second (1 is a whole core), resident bytes; of each GPU the share of
time in which it computes (0 to 1), and bytes taken of its memory, by whomever."""

STATM = Path("/proc/self/statm")


class Used(NamedTuple):
    """One value, and what it is of beside the worker."""

    name: str
    value: float
    labels: dict[str, str]


class Usage:
    """What this process takes; CPU since the last reading."""

    def __init__(self, gpus: Gpus) -> None:
        self._gpus = gpus
        self._cpu, self._at = time.process_time(), time.monotonic()

    def read(self) -> list[Used]:
        """All values as they are now."""
        cpu, at = time.process_time(), time.monotonic()
        share = (cpu - self._cpu) / max(at - self._at, 1e-9)
        self._cpu, self._at = cpu, at
        found = [Used(CPU, share, {}), Used(MEMORY, _resident(), {})]
        for gpu in self._gpus.read():
            labels = {"gpu": str(gpu.number)}
            found += [Used(GPU, gpu.utilization, labels), Used(GPU_MEMORY, gpu.memory, labels)]
        return found


class Desk(Protocol):
    """Where samples go, and for which models."""

    @property
    def models(self) -> Sequence[str]:
        """Those that are served now."""
        ...

    def tell(self, sample: Sample) -> None:
        """Writes it."""
        ...


class Sampler(threading.Thread):
    """Tells `desk` what `worker` takes, each value for each of its models, until `stop`."""

    def __init__(self, worker: str, gpus: Gpus, desk: Desk, clock: Clock, stop: threading.Event) -> None:
        super().__init__(name="usage", daemon=True)
        self._worker = worker
        self._usage = Usage(gpus)
        self._desk = desk
        self._clock = clock
        self._stop_event = stop

    def run(self) -> None:
        """The thread's work. A thread of its own, for a driver may take its time to answer."""
        while not self._stop_event.wait(EVERY):
            now = int(self._clock())
            for sample in samples(self._worker, self._usage.read(), self._desk.models, now):
                self._desk.tell(sample)


def samples(worker: str, usage: Sequence[Used], models: Sequence[str], now: int) -> Iterator[Sample]:
    """The records: each value for each model, at wall time `now` (ms)."""
    for model in models:
        for name, value, labels in usage:
            yield Sample(
                model=model,
                ts=now,
                name=name,
                value=value,
                phase="serving",
                labels={"worker": worker, **labels},
            )


def _resident() -> int:
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
