"""When a worker is healthy and ready, and what it says of itself to Prometheus."""

import threading
import time
from collections.abc import Mapping

import pytest
from confluent_kafka import KafkaError
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from schemas.records import Prediction
from serving.exposition import Exposition
from serving.flight import Flight, Place
from serving.gpu import Gpus
from serving.health import EARLY, SILENT, STUCK, Health
from serving.meter import Meter
from serving.outage import Outage
from serving.releases import Standing
from tests.nvml import Nvml

HANG = 30.0
WARM = Standing(applied=3, loaded=["v1", "v2"], wanted=3)


class Steering:
    """What a worker's control knows, as a test says it."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.failure: Exception | None = None
        self.beat_at = time.monotonic()
        self.models: Mapping[str, Standing] = {"ranker": WARM}

    def standing(self) -> Mapping[str, Standing]:
        return self.models


class Worker:
    """A worker's health, and what it knows it from."""

    def __init__(self) -> None:
        self.flight = Flight()
        self.control = Steering()
        self.outage = Outage("k:1")
        self.health = Health(self.flight, self.control, self.outage, "k:1", HANG)

    def works(self, *partitions: int) -> None:
        """It has got through its start."""
        self.control.ready.set()
        self.health.turns(partitions)

    def loses_kafka(self) -> None:
        self.outage.begin(KafkaError(KafkaError._ALL_BROKERS_DOWN, "down"))


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_a_worker_that_starts_is_healthy_and_not_ready(worker: Worker) -> None:
    now = time.monotonic()
    worker.control.models = {}
    assert worker.health.healthy(now) == (True, "waiting: it is starting")
    assert worker.health.ready(now) == (False, "the releases are being read")


def test_it_is_not_ready_before_what_is_wanted_is_warm(worker: Worker) -> None:
    worker.control.models = {"ranker": Standing(applied=0, loaded=["v1"], wanted=3)}
    assert worker.health.ready(time.monotonic()) == (False, "ranker: generation 3 is being loaded")
    worker.works(0)
    assert not worker.health.ready(time.monotonic()).well


def test_a_start_whose_release_failed_is_not_ready_and_says_why(worker: Worker) -> None:
    worker.works(0)
    worker.control.models = {"ranker": Standing(0, ["v1"], 3, "v2: no such file")}
    assert worker.health.ready(time.monotonic()) == (False, "ranker: generation 3 failed: v2: no such file")
    assert worker.health.healthy(time.monotonic()).well


def test_a_start_whose_candidate_failed_is_ready_for_the_stable_version_answers(worker: Worker) -> None:
    worker.works(0)
    worker.control.models = {"ranker": Standing(0, ["v1"], 3, "v2: no such file", makeshift=True)}
    assert worker.health.ready(time.monotonic()) == (
        True,
        "ranker is served by its stable version alone (ranker: generation 3 failed: v2: no such file); "
        "has partitions 0",
    )


def test_it_is_not_ready_before_the_group_has_dealt_out_partitions(worker: Worker) -> None:
    worker.control.ready.set()
    worker.health.turns(None)
    assert worker.health.ready(time.monotonic()) == (
        False,
        "the group has not dealt out its partitions yet",
    )


def test_warm_and_in_the_group_it_is_ready(worker: Worker) -> None:
    worker.works(2, 0)
    assert worker.health.ready(time.monotonic()) == (
        True,
        "ranker is served by generation 3; has partitions 0, 2",
    )


def test_without_partitions_it_is_ready_for_others_have_them(worker: Worker) -> None:
    worker.works()
    assert worker.health.ready(time.monotonic()).well


def test_a_release_that_comes_later_or_fails_leaves_it_ready(worker: Worker) -> None:
    worker.works(0)
    worker.control.models = {"ranker": Standing(3, ["v1"], 4, "v9: is not there")}
    well, text = worker.health.ready(time.monotonic())
    assert well
    assert "generation 3 (ranker: generation 4 failed: v9: is not there)" in text


def test_a_model_without_a_release_keeps_nobody_from_being_ready(worker: Worker) -> None:
    worker.works(0)
    worker.control.models = {"ranker": WARM, "films": Standing(0, [])}
    assert worker.health.ready(time.monotonic()).well


def test_a_run_that_takes_half_the_time_of_a_hang_makes_it_ill(worker: Worker) -> None:
    worker.works(0)
    worker.flight.begin("ranker/v2", "stable", [Place(0, 7), Place(1, 9)])
    began = time.monotonic()
    assert worker.health.healthy(began + EARLY * HANG - 1).well
    assert worker.health.healthy(began + EARLY * HANG + 1) == (
        False,
        "a run of ranker/v2 with 2 requests has been running for 16 s",
    )
    worker.flight.end()
    worker.control.beat_at = began + EARLY * HANG
    assert worker.health.healthy(began + EARLY * HANG + 1).well


def test_a_run_hangs_whether_or_not_kafka_is_there(worker: Worker) -> None:
    worker.works(0)
    worker.loses_kafka()
    worker.flight.begin("ranker/v2", "stable", [Place(0, 7)])
    assert not worker.health.healthy(time.monotonic() + HANG).well


def test_a_loop_that_does_not_turn_is_stuck(worker: Worker) -> None:
    worker.works(0)
    worker.control.beat_at += 2 * STUCK
    now = time.monotonic() + STUCK + 1
    assert worker.health.healthy(now) == (False, "the loop has been stuck for 31 s")


def test_a_worker_that_does_not_say_that_it_lives_is_ill(worker: Worker) -> None:
    worker.works(0)
    assert worker.health.healthy(time.monotonic() + SILENT - 1).well
    well, text = worker.health.healthy(time.monotonic() + SILENT + 1)
    assert (well, text) == (False, "it has not said that it lives for 16 s")


def test_without_kafka_it_is_healthy_but_not_ready(worker: Worker) -> None:
    worker.works(0)
    worker.loses_kafka()
    late = time.monotonic() + 10 * STUCK
    assert worker.health.healthy(late) == (True, "waiting: Kafka at k:1 does not answer")
    assert worker.health.ready(late) == (False, "Kafka at k:1 does not answer")


def test_what_makes_it_end_is_said(worker: Worker) -> None:
    worker.control.failure = ValueError("topic control.releases: unknown")
    assert worker.health.healthy(time.monotonic()) == (False, "it ends: topic control.releases: unknown")


def shown(worker: Worker, meter: Meter, restarts: int = 0) -> dict[tuple[str, tuple[str, ...]], float]:
    """What Prometheus would read: values by name and values of labels, in the order of the labels' names."""
    registry = CollectorRegistry()
    registry.register(Exposition(meter, worker.health, worker.control, Gpus(Nvml()), restarts))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_are_what_prometheus_reads(worker: Worker) -> None:
    worker.works(0)
    meter = Meter()
    meter.ran("ranker", "v1", 2, 300, 0.004)
    for latency in (1.0, 40.0, 90_000.0):
        meter.answered(
            Prediction(
                request_id="r", ts=1_700_000_000_000, model="ranker", version="v1", arm="stable", status="ok",
                latency_ms=latency, queue_ms=0.5,
            )
        )  # fmt: skip
    meter.left_alone("films")
    meter.cached("ranker", 2, 1)
    found = shown(worker, meter, restarts=2)
    expected = {
        ("headgate_answers_total", ("stable", "ranker", "serve", "ok", "v1")): 3,
        ("headgate_latency_seconds_bucket", ("0.001", "ranker", "serve")): 1,
        ("headgate_latency_seconds_bucket", ("60.0", "ranker", "serve")): 2,
        ("headgate_latency_seconds_bucket", ("+Inf", "ranker", "serve")): 3,
        ("headgate_latency_seconds_count", ("ranker", "serve")): 3,
        ("headgate_queue_seconds_sum", ("ranker", "serve")): 0.0015,
        ("headgate_infer_seconds_count", ("ranker", "serve", "v1")): 1,
        ("headgate_batch_requests_bucket", ("2.0", "ranker", "serve")): 1,
        ("headgate_batch_rows_sum", ("ranker", "serve")): 300,
        ("headgate_unserved_requests_total", ("films", "serve")): 1,
        ("headgate_cache_hits_total", ("ranker", "serve")): 2,
        ("headgate_cache_misses_total", ("ranker", "serve")): 1,
        ("headgate_restarts_total", ("serve",)): 2,
        ("headgate_loaded", ("ranker", "serve", "v2")): 1,
        ("headgate_generation", ("ranker", "serve")): 3,
        ("headgate_wanted_generation", ("ranker", "serve")): 3,
        ("headgate_healthy", ("serve",)): 1,
        ("headgate_ready", ("serve",)): 1,
        ("headgate_gpu_utilization", ("0", "serve")): 0.75,
        ("headgate_gpu_memory_bytes", ("0", "serve")): 3 << 30,
        ("headgate_gpu_memory_total_bytes", ("0", "serve")): 16 << 30,
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    assert 0 <= found["headgate_heartbeat_age_seconds", ("serve",)] < 60
