"""The worker's core without Kafka, from a request's JSON to its answer's, beside a bare ONNX Runtime loop
over the same batches; as a curve over the size of a batch, and against one request at a time.

`python -m tests.bench.serving_core` is this alone, for the large model, on whatever the machine has: a GPU
where there is one.
"""

import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec
import onnxruntime as ort

from schemas import policies
from schemas.records import ENCODER, Codec, Release, Request
from schemas.settings import Serving as Limits
from serving import batcher, devices, runtime
from serving.devices import Execution
from serving.engine import Engine, Serving
from serving.inputs import Rows, rows
from serving.jobs import Job
from serving.repository import Batch, Package, Repository
from streams.garbage import Garbage
from tests.bench import serving_nets
from tests.bench.serving_nets import Net

SIZES = (1, 2, 4, 8, 16, 32, 64)
"""Requests in a batch."""
POOL = 256
"""Requests that are answered again and again."""
ROUNDS = 3
"""Turns that the two take, for each size; the best of each counts."""
TS = 1_700_000_000_000


class Point(NamedTuple):
    """Requests a second with so many of them in a batch: of the bare loop, and of the worker's core."""

    net: str
    batch: int
    bare: float
    core: float


def hardware() -> str:
    """What models run on here, by name."""
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        fields = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line)
        return fields["Model"].strip()
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{names[0].split(':')[1].strip()} ({platform.machine()}, {len(names)} cores), one thread a run"


def here(settings: Limits = Limits()) -> Execution:  # noqa: B008 (frozen)
    """How a worker with these settings would run models on this machine."""
    return devices.execution(settings, 1, runtime.available(), devices.gpus())


def curve(repository: Repository, net: Net, how: Execution, seconds: float) -> list[Point]:
    """A point for each of `SIZES`, each turn of each side `seconds` long."""
    package = repository.open(net.name, net.versions[0])
    manifest = msgspec.structs.replace(package.manifest, batch=Batch(max=SIZES[-1], wait_ms=0))
    package = package._replace(manifest=manifest)
    values = [value for _, value in serving_nets.requests(net, POOL, seed=1, ts=TS)]
    engine, session = _Core(package, how), bare_session(package, how)
    Garbage()  # as a worker does
    points = []
    for size in SIZES:
        groups = [values[first : first + size] for first in range(0, POOL, size)]
        feeds = [feed(package, group) for group in groups]
        turns = [
            (_rate(lambda n: session.run(None, feeds[n]), groups, seconds),  # noqa: B023 (called at once)
             _rate(lambda n: engine.answer(groups[n]), groups, seconds))  # noqa: B023
            for _ in range(ROUNDS)
        ]  # fmt: skip
        points.append(Point(net.title, size, *(max(rates) for rates in zip(*turns, strict=True))))
    return points


def bare_session(package: Package, how: Execution) -> Any:
    """An ONNX Runtime session as anyone would make it, with the threads and the device that a worker has."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = how.threads
    chain = devices.providers(how.devices[0], how, Path())
    return ort.InferenceSession(package.onnx, options, providers=chain)


def feed(package: Package, values: Sequence[bytes]) -> Rows:
    """A batch of requests as arrays."""
    codec: Codec[Request] = Codec(Request)
    return batcher.join([rows(codec.decode(value), package.manifest.inputs) for value in values])


class _Core:
    """What a worker does with a batch between Kafka and Kafka."""

    def __init__(self, package: Package, how: Execution) -> None:
        loaded = runtime.load(package, how)
        release = Release(package.model, 1, TS, package.version, "", "")
        self._states = {package.model: Serving(release, loaded)}
        self._policies = {package.model: policies.default(package.model)}
        self._codec: Codec[Request] = Codec(Request)
        self._engine = Engine("bench", lambda: time.time() * 1000)

    def answer(self, values: Sequence[bytes]) -> list[bytes]:
        """The answers to a batch, as they go to Kafka."""
        jobs = [Job(self._codec.decode(value), TS) for value in values]
        predictions = list(self._engine.answer(jobs, self._states, self._policies))
        assert all(prediction.status == "ok" for prediction in predictions)
        return [ENCODER.encode(prediction) for prediction in predictions]


def _rate(work: Callable[[int], object], groups: Sequence[Sequence[bytes]], seconds: float) -> float:
    """Requests a second of `work`, which is done over and over with each group's number."""
    work(0)
    done = turn = 0
    started = time.perf_counter()
    while (lasted := time.perf_counter() - started) < seconds:
        work(turn % len(groups))
        done += len(groups[turn % len(groups)])
        turn += 1
    return done / lasted


def table(points: Sequence[Point]) -> str:
    """The curve in words."""
    lines = [f"{'model':24}{'batch':>6}{'bare loop/s':>13}{'core/s':>10}{'core is':>9}{'gain':>8}"]
    first = {point.net: point.core for point in reversed(points)}
    lines += [
        f"{p.net:24}{p.batch:6}{p.bare:13,.0f}{p.core:10,.0f}{p.core / p.bare:9.0%}"
        f"{p.core / first[p.net]:7.1f}×"
        for p in points
    ]
    return "\n".join(lines)


def main() -> int:
    """The large model alone."""
    how = here()
    print(f"{hardware()}; {how.devices[0].provider}, ONNX Runtime {ort.__version__}", flush=True)
    with TemporaryDirectory() as folder:
        repository = Repository(Path(folder))
        serving_nets.add(repository)
        print(table(curve(repository, serving_nets.LARGE, how, seconds=0.5)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
