"""What a stage's process says of itself to Prometheus; `probes.py` serves it."""

import time
from collections.abc import Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from streams.health import VITALS, Health
from streams.stage import TopicPartition

Labels = tuple[tuple[str, str], ...]


class Exposition(Collector):
    """The last report of a process as Prometheus metrics, each with the label `stage`; nothing before the
    first."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        """What a registry asks for."""
        report, health = self._health.report, self._health
        if report is None:
            return
        stage = {"stage": health.stage}
        yield _counter("headgate_records", "Records that were processed.", {
            (("topic", topic),): count for topic, count in report.records.items()
        }, stage)  # fmt: skip
        lag = {_place(partition): standing.lag for partition, standing in report.partitions.items()}
        yield _gauge("headgate_lag_records", "Offsets that are still to be read.", lag, stage)
        again = {_place(partition): standing.uncommitted for partition, standing in report.partitions.items()}
        yield _gauge(
            "headgate_uncommitted_records", "Offsets that a successor would read again.", again, stage
        )
        yield _gauge("headgate_partitions", "Partitions that this process has.", {(): len(lag)}, stage)
        yield _counter("headgate_commits", "Commits that the broker took.", {(): report.commits}, stage)
        yield _gauge(
            "headgate_commit_age_seconds",
            "For how long something is to be committed that the broker has not taken.",
            {(): report.commit_age},
            stage,
        )
        now = time.monotonic()
        for name, help_, well in (
            ("headgate_healthy", "1 where /healthz answers 200.", health.healthy(now).well),
            ("headgate_ready", "1 where /readyz answers 200.", health.ready(now).well),
        ):
            yield _gauge(name, help_, {(): float(well)}, stage)
        for name, value in report.vitals.items():
            make = _counter if name.endswith("_total") else _gauge
            yield make(f"headgate_{name.removesuffix('_total')}", VITALS.get(name, name), {(): value}, stage)


def _place(partition: TopicPartition) -> Labels:
    return (("topic", partition.topic), ("partition", str(partition.partition)))


def _gauge(name: str, help_: str, values: Mapping[Labels, float], stage: Mapping[str, str]) -> Metric:
    return _filled(GaugeMetricFamily(name, help_), name, values, stage)


def _counter(name: str, help_: str, values: Mapping[Labels, float], stage: Mapping[str, str]) -> Metric:
    return _filled(CounterMetricFamily(name, help_), f"{name}_total", values, stage)


def _filled(family: Metric, name: str, values: Mapping[Labels, float], stage: Mapping[str, str]) -> Metric:
    for labels, value in values.items():
        family.add_sample(name, {**stage, **dict(labels)}, value)
    return family
