"""What a worker says of itself to Prometheus. All with the label `stage`, which the stages' metrics have too:
what is called alike is alike."""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from serving.gpu import Gpus
from serving.health import Health, Steering
from serving.meter import Histogram, Meter

STAGE = "serve"

Labels = TypeVar("Labels", bound=tuple[str, ...])
"""The values of labels."""


class Exposition(Collector):
    """A worker's metrics, as they are when somebody asks. `restarts`: how often its process was started
    again."""

    def __init__(self, meter: Meter, health: Health, control: Steering, gpus: Gpus, restarts: int) -> None:
        self._meter = meter
        self._health = health
        self._control = control
        self._gpus = gpus
        self._restarts = restarts

    def collect(self) -> Iterator[Metric]:
        """What a registry asks for."""
        yield from self._counts()
        yield from self._times()
        yield from self._state()
        yield from self._devices()

    def _counts(self) -> Iterator[Metric]:
        meter = self._meter
        yield _counter(
            "headgate_answers",
            "Predictions handed over.",
            ["model", "version", "arm", "status"],
            dict(meter.answers),
        )
        yield _counter(
            "headgate_cache_hits", "Requests answered from kept results.", ["model"], _by(meter.cache_hits)
        )
        yield _counter(
            "headgate_cache_misses",
            "Requests looked up in vain among kept results.",
            ["model"],
            _by(meter.cache_misses),
        )
        yield _counter(
            "headgate_unserved_requests",
            "Requests left alone: their model is not served here.",
            ["model"],
            _by(meter.unknown),
        )
        yield _counter("headgate_dead_letters", "Records that are no requests.", [], {(): meter.dead_letters})
        yield _counter(
            "headgate_restarts", "Times that the worker died and was started again.", [], {(): self._restarts}
        )
        yield _gauge(
            "headgate_in_flight_requests", "Requests read and not answered yet.", [], {(): meter.in_flight}
        )

    def _times(self) -> Iterator[Metric]:
        meter = self._meter
        yield _histogram(
            "headgate_latency_seconds",
            "From the request's Kafka timestamp to its answer.",
            ["model"],
            _single(meter.latency.items()),
        )
        yield _histogram(
            "headgate_queue_seconds",
            "From the request's Kafka timestamp to its run.",
            ["model"],
            _single(meter.queue.items()),
        )
        yield _histogram("headgate_infer_seconds", "One run.", ["model", "version"], meter.infer.items())
        yield _histogram(
            "headgate_batch_requests", "Requests of one run.", ["model"], _single(meter.requests.items())
        )
        yield _histogram("headgate_batch_rows", "Rows of one run.", ["model"], _single(meter.rows.items()))

    def _state(self) -> Iterator[Metric]:
        standing = self._control.standing()
        now = time.monotonic()
        yield _gauge(
            "headgate_loaded",
            "1 for each version in memory.",
            ["model", "version"],
            {(model, version): 1.0 for model, found in standing.items() for version in found.loaded},
        )
        yield _gauge(
            "headgate_generation",
            "The generation in force; 0: none.",
            ["model"],
            {(model,): found.applied for model, found in standing.items()},
        )
        yield _gauge(
            "headgate_wanted_generation",
            "The newest generation that was read; 0: none.",
            ["model"],
            {(model,): found.wanted for model, found in standing.items()},
        )
        yield _gauge(
            "headgate_heartbeat_age_seconds",
            "How long ago the worker said that it lives.",
            [],
            {(): now - self._control.beat_at},
        )
        for name, help_, well in (
            ("headgate_healthy", "1 where /healthz answers 200.", self._health.healthy(now).well),
            ("headgate_ready", "1 where /readyz answers 200.", self._health.ready(now).well),
        ):
            yield _gauge(name, help_, [], {(): float(well)})

    def _devices(self) -> Iterator[Metric]:
        gpus = {(str(gpu.number),): gpu for gpu in self._gpus.read()}
        use: dict[tuple[str], float] = {key: gpu.utilization for key, gpu in gpus.items()}
        taken: dict[tuple[str], float] = {key: gpu.memory for key, gpu in gpus.items()}
        total: dict[tuple[str], float] = {key: gpu.memory_total for key, gpu in gpus.items()}
        yield _gauge("headgate_gpu_utilization", "Share of time in which it computes.", ["gpu"], use)
        yield _gauge("headgate_gpu_memory_bytes", "Memory that is taken, by whomever.", ["gpu"], taken)
        yield _gauge("headgate_gpu_memory_total_bytes", "Memory that it has.", ["gpu"], total)


def _by(counts: Mapping[str, int]) -> Mapping[tuple[str], float]:
    return {(key,): count for key, count in dict(counts).items()}


def _single(histograms: Mapping[str, Histogram]) -> Mapping[tuple[str], Histogram]:
    return {(key,): histogram for key, histogram in histograms.items()}


def _gauge(name: str, help_: str, labels: Sequence[str], values: Mapping[Labels, float]) -> Metric:
    family = GaugeMetricFamily(name, help_, labels=["stage", *labels])
    for key, value in values.items():
        family.add_metric([STAGE, *key], value)
    return family


def _counter(name: str, help_: str, labels: Sequence[str], values: Mapping[Labels, float]) -> Metric:
    family = CounterMetricFamily(name, help_, labels=["stage", *labels])
    for key, value in values.items():
        family.add_metric([STAGE, *key], value)
    return family


def _histogram(
    name: str, help_: str, labels: Sequence[str], histograms: Mapping[Labels, Histogram]
) -> Metric:
    family = HistogramMetricFamily(name, help_, labels=["stage", *labels])
    for key, histogram in histograms.items():
        bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
        family.add_metric(
            [STAGE, *key], list(zip(bounds, accumulate(list(histogram.counts)), strict=True)), histogram.sum
        )
    return family
