"""A serving worker's throughput beside a bare ONNX Runtime loop over the same batches, what it adds to
latency at 60 % load, and how long it takes to start.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import psutil

from schemas.settings import Settings
from tests.bench import processes
from tests.bench.serving_core import bare_session, feed, here
from tests.bench.serving_load import Answer, Traffic, added, percentile, rate
from tests.bench.serving_nets import Net
from tests.bench.serving_world import World, interpreter

BARE = 5.0
"""Seconds that the bare loop runs."""
LOAD = 0.6
"""Of the rate that a worker reaches."""
WARM = 2.0
"""Seconds at the beginning that are not counted."""


class Throughput(NamedTuple):
    """Requests a second from a backlog, of the bare loop over the batches that the worker made, how many
    requests those had on average, the share of its time in which the worker ran the model, and how long a run
    takes (ms, mean) in the worker, which has the broker beside it, and in the bare loop."""

    net: str
    worker: float
    bare: float
    batch: float
    inferring: float
    run_ms: float
    bare_run_ms: float

    @property
    def share(self) -> float:
        return self.worker / self.bare


class Cores(NamedTuple):
    """Processors that each keeps busy, and `host`: that a virtual machine's host took away."""

    worker: float
    broker: float
    generator: float
    host: float


class Latency(NamedTuple):
    """Milliseconds from a request's record to its answer's handing over, at `rate` requests a second. `echo`:
    where a bare loop of Kafka's client answers in the worker's place, at once."""

    net: str
    rate: float
    cores: Cores
    p50: float
    p99: float
    infer_p50: float
    added_p50: float
    added_p99: float
    echo_p50: float
    echo_p99: float
    echo_host: float


class Start(NamedTuple):
    """Seconds, medians: an interpreter with all imports; until the worker has read the releases and begins to
    load (the imports and the supervisor's included); loading and warming up; until the first answer is
    written."""

    net: str
    imports: float
    begins: float
    loads: float
    answers: float
    whole: float


def throughput(world: World, net: Net, requests: int) -> Throughput:
    """Of a worker that starts when `requests` are waiting."""
    traffic = Traffic(world.settings)
    backlog = traffic.requests(net, requests)
    world.release(net.name, net.versions[0])
    traffic.write(backlog)
    with world.worker():
        traffic.await_written(requests)
    answers = traffic.collect(backlog)
    traffic.close()
    _must_be_ok(answers)
    batches: dict[tuple[float, float | None], list[bytes]] = defaultdict(list)
    for answer, (_, value) in zip(answers, backlog, strict=True):
        batches[answer.started, answer.prediction.infer_ms].append(value)
    groups = list(batches.values())
    bare = _bare(world, net, groups)
    runs = {(answer.started, answer.ended) for answer in answers}
    lasted = max(end for _, end in runs) - min(start for start, _ in runs)
    running = sum(end - start for start, end in runs)
    size = len(answers) / len(groups)
    return Throughput(
        net.title, rate(answers), bare, size, running / lasted, running / len(groups), size / bare * 1000
    )


def beside(world: World, net: Net, alone: float, seconds: float) -> float:
    """Requests a second that a worker answers from a backlog while more are being written, at `LOAD` of the
    rate `alone` that it reaches from a backlog with nobody writing: what it can do where the generator of
    that load has its share of the processors, and the broker more work."""
    pace = LOAD * alone
    traffic = Traffic(world.settings)
    backlog, coming = (traffic.requests(net, int(rate * seconds)) for rate in (alone, pace))
    world.release(net.name, net.versions[0])
    traffic.write(backlog)
    with world.worker():
        traffic.await_written(len(backlog) // 10)
        began = time.time() * 1000
        for _ in traffic.pace(coming, pace):
            pass
        ended = time.time() * 1000
        answers = traffic.collect([*backlog, *coming])
    traffic.close()
    _must_be_ok(answers)
    return sum(began <= answer.written < ended for answer in answers) / (ended - began) * 1000


def latency(world: World, net: Net, reached: float, seconds: float) -> Latency:
    """At `LOAD` of the rate `reached`, and of the bare loop at the same."""
    pace = LOAD * reached
    generation, _ = world.release(net.name, net.versions[0])
    with world.worker() as worker:
        world.await_ack(net.name, generation)
        answers, cores = _paced(world.settings, net, pace, seconds, worker)
    with world.echo(f"echo-{net.name}-") as (settings, echo):
        echoes, beside = _paced(settings, net, pace, seconds, echo)
    beyond = added(answers, world.repository.open(net.name, net.versions[0]).manifest.batch.wait_ms)
    whole, echoed = ([one.prediction.latency_ms for one in of] for of in (answers, echoes))
    return Latency(
        net.title,
        pace,
        cores,
        percentile(whole, 50),
        percentile(whole, 99),
        percentile([answer.prediction.infer_ms or 0.0 for answer in answers], 50),
        percentile(beyond, 50),
        percentile(beyond, 99),
        percentile(echoed, 50),
        percentile(echoed, 99),
        beside.host,
    )


def _paced(
    settings: Settings, net: Net, pace: float, seconds: float, worker: psutil.Process
) -> tuple[list[Answer], Cores]:
    """The answers to `pace` requests a second, once `worker` has had `WARM` seconds of them."""
    traffic = Traffic(settings)
    warm, counted = traffic.requests(net, int(WARM * pace)), traffic.requests(net, int(seconds * pace))
    for _ in traffic.pace(warm, pace):
        pass
    before, began = _spent(worker), time.monotonic()
    for _ in traffic.pace(counted, pace):
        pass
    lasted = time.monotonic() - began
    cores = Cores(*((late - early) / lasted for late, early in zip(_spent(worker), before, strict=True)))
    traffic.collect(warm)
    answers = traffic.collect(counted)
    traffic.close()
    _must_be_ok(answers)
    return answers, cores


def start(world: World, net: Net, rounds: int) -> Start:
    """Of `rounds` workers, one after another, each with a request that waits for it."""
    times: list[tuple[float, float, float]] = []
    traffic = Traffic(world.settings)
    for _ in range(rounds):
        generation, _ = world.release(net.name, net.versions[0])
        request = traffic.requests(net, 1)
        traffic.write(request)
        began = time.time() * 1000
        with world.worker():
            answer = traffic.collect(request)[0]
            applied = world.await_ack(net.name, generation)
            loading = world.acked(net.name, generation, "loading")
        assert loading is not None
        times.append((loading - began, applied - loading, answer.written - applied))
    traffic.close()
    begins, loads, answers = (median(column) / 1000 for column in zip(*times, strict=True))
    imports = median(interpreter("import serving.worker") for _ in range(rounds))
    return Start(net.title, imports, begins, loads, answers, median(sum(row) for row in times) / 1000)


def _spent(worker: psutil.Process) -> Cores:
    """Seconds of processor time so far."""
    own, host = time.process_time(), getattr(psutil.cpu_times(), "steal", 0.0)
    return Cores(processes.usage(worker).cpu, processes.usage(processes.broker()).cpu, own, host)


def _bare(world: World, net: Net, groups: Sequence[Sequence[bytes]]) -> float:
    """Requests a second of the loop."""
    package = world.repository.open(net.name, net.versions[0])
    session = bare_session(package, here())
    feeds = [feed(package, group) for group in groups]
    for one in feeds[:20]:
        session.run(None, one)
    done, turn, began = 0, 0, time.perf_counter()
    while (lasted := time.perf_counter() - began) < BARE:
        session.run(None, feeds[turn % len(feeds)])
        done += len(groups[turn % len(groups)])
        turn += 1
    return done / lasted


def _must_be_ok(answers: Sequence[Answer]) -> None:
    bad = next((a.prediction for a in answers if a.prediction.status != "ok"), None)
    if bad is not None:
        raise RuntimeError(f"{bad.request_id}: {bad.status}: {bad.error}")
