"""What a real worker answers to probes and Prometheus, and what it tells of itself in `metrics.samples`."""

import time
from collections.abc import Callable, Iterator

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.local import ports
from schemas import topics
from schemas.records import Sample, problem
from schemas.settings import Serving
from tests import serving_models as models
from tests.conftest import SharedStack, isolated
from tests.integration.serving_world import PATIENCE, Process, World, now, until
from tests.probing import Answer, ask

HANG = 4.0
"""Seconds after which a run counts as hung here; after half of them `/healthz` says so."""


class Probed:
    """A worker, and what it answers at its port."""

    def __init__(self, world: World) -> None:
        self.port = ports.free()
        self.process: Process = world.start(health=f"127.0.0.1:{self.port}")

    def ask(self, path: str) -> Answer:
        return ask(self.port, path)

    def until(self, path: str, holds: Callable[[Answer], bool]) -> list[Answer]:
        """All answers to the first for which `holds` does."""
        deadline = time.monotonic() + PATIENCE
        answers = [self.ask(path)]
        while not holds(answers[-1]):
            assert time.monotonic() < deadline, f"{path}: {answers[-1]}; the log:\n{self.process.said}"
            time.sleep(0.02)
            answers.append(self.ask(path))
        return answers

    def until_ready(self) -> list[Answer]:
        return self.until("/readyz", lambda answer: answer.status == 200)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all samples of that name that have these labels."""
        families = text_string_to_metric_families(self.ask("/metrics").text)
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@pytest.fixture(scope="module")
def world(stack: SharedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    settings = msgspec.structs.replace(isolated(stack.settings), serving=Serving(hang_s=HANG))
    made = World(settings, tmp_path_factory.mktemp("health"))
    models.add_touchy_version(made.repository, "touchy", "films")
    made.release(1, "touchy", model="films")
    yield made
    made.close()


@pytest.fixture(scope="module")
def probed(world: World) -> Probed:
    return Probed(world)


def test_a_worker_is_ready_once_what_is_wanted_is_warm_and_it_is_in_the_group(
    world: World, probed: Probed
) -> None:
    world.release(1, "v1", candidate="v2", weight=0.5)
    *before, ready = probed.until_ready()
    assert {answer.status for answer in before} <= {0, 503}
    (ack,) = [ack for ack in world.await_ack(1) if ack.model == "ranker"]
    assert ack.loaded == ["v1", "v2"]
    assert "ranker is served by generation 1" in ready.text
    assert "has partitions 0, 1" in ready.text
    assert probed.ask("/healthz") == (200, "at work")


def test_answers_batches_and_times_are_counted(world: World, probed: Probed) -> None:
    for _ in world.flow(200, rate=1_000):
        pass
    world.request("late", deadline_ms=0.001)
    world.request("nobody's", model="nobody's")
    world.flush()
    world.await_answers([*(f"r{n}" for n in range(200)), "late"])
    until(lambda: probed.metric("headgate_unserved_requests_total", model="nobody's") == 1)
    until(lambda: probed.metric("headgate_answers_total") == 201)
    by_version = [
        probed.metric("headgate_answers_total", status="ok", model="ranker", version=version)
        for version in ("v1", "v2")
    ]
    assert sum(by_version) == 200
    assert all(by_version)
    assert probed.metric("headgate_answers_total", status="timeout") == 1
    assert probed.metric("headgate_latency_seconds_count", model="ranker") == 201
    assert probed.metric("headgate_queue_seconds_count", model="ranker") == 200
    assert probed.metric("headgate_batch_requests_sum", model="ranker") == 200
    assert probed.metric("headgate_batch_rows_sum", model="ranker") == 200 * 20
    runs = probed.metric("headgate_batch_requests_count", model="ranker")
    assert probed.metric("headgate_infer_seconds_count", model="ranker") == runs
    until(lambda: probed.metric("headgate_in_flight_requests") == 0)


def test_versions_generation_and_signs_of_life_are_shown(probed: Probed) -> None:
    assert probed.metric("headgate_loaded", model="ranker") == 2
    assert probed.metric("headgate_loaded", model="films", version="touchy") == 1
    assert probed.metric("headgate_generation", model="ranker") == 1
    assert probed.metric("headgate_heartbeat_age_seconds") < 7
    assert (probed.metric("headgate_healthy"), probed.metric("headgate_ready")) == (1, 1)
    assert probed.metric("process_resident_memory_bytes") > 10 << 20


def test_what_a_worker_takes_of_its_machine_is_told_of_each_model(world: World, probed: Probed) -> None:
    def told() -> list[Sample]:
        return world.samples()

    expected = {
        (model, name) for model in ("ranker", "films") for name in ("cpu_utilization", "memory_bytes")
    }
    until(lambda: {(one.model, one.name) for one in told()} >= expected)
    for one in told():
        assert problem(one, now()) is None
        assert (one.phase, one.labels) == ("serving", {"worker": world.acks()[0].worker})
    assert min(one.value for one in told() if one.name == "memory_bytes") > 10 << 20
    assert all(0 <= one.value < 64 for one in told() if one.name == "cpu_utilization")
    keys = {entry.key for entry in world.entries(topics.SAMPLES)}
    assert keys == {b"ranker", b"films"}


def test_a_release_that_fails_leaves_it_ready_for_the_old_one_serves_on(world: World, probed: Probed) -> None:
    world.release(2, "v9")
    world.await_ack(2, status="failed")
    (answer,) = probed.until_ready()
    assert "ranker is served by generation 1 (ranker: generation 2 failed: " in answer.text
    assert probed.metric("headgate_wanted_generation", model="ranker") == 2
    assert probed.metric("headgate_generation", model="ranker") == 1
    world.release(3, "v1")
    world.await_ack(3)


def test_a_worker_that_hangs_says_so_before_it_is_started_again(world: World, probed: Probed) -> None:
    world.request("hang", model="films", inputs=models.hang())
    world.flush()
    ill = probed.until("/healthz", lambda answer: answer.status == 503)[-1]
    assert ill.text.startswith("a run of films/touchy with 1 requests has been running for ")
    probed.until("/healthz", lambda answer: answer.status == 0)
    probed.until("/healthz", lambda answer: answer.status == 200)
    assert probed.metric("headgate_restarts_total") == 1
