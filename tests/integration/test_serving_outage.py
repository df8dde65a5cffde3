"""Serving workers while Kafka is away: they say so once, wait, and lose nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.stack import LocalStack
from tests.integration.serving_world import World, until


@pytest.fixture
def world(own_stack: LocalStack, tmp_path: Path) -> Iterator[World]:
    made = World(own_stack.settings, tmp_path)
    yield made
    made.close()


def test_a_worker_waits_for_kafka_at_its_start(own_stack: LocalStack, world: World) -> None:
    world.release(1, "v1")
    world.request("r0")
    world.flush()
    own_stack.kafka.stop()
    worker = world.start()
    until(lambda: "cannot be reached" in worker.said)
    own_stack.kafka.start()
    world.await_answers(["r0"])
    until(lambda: "answers again" in worker.said)
    assert worker.said.count("cannot be reached") == 1
    assert worker.terminate()[0] == 0


def test_a_worker_that_waits_for_kafka_can_be_stopped(own_stack: LocalStack, world: World) -> None:
    own_stack.kafka.stop()
    worker = world.start()
    until(lambda: "cannot be reached" in worker.said)
    status, seconds = worker.terminate()
    assert status == 0
    assert seconds < 10


def test_a_broker_that_restarts_in_mid_stream_costs_no_answer(own_stack: LocalStack, world: World) -> None:
    world.release(1, "v1")
    worker = world.start()
    world.await_ack(1)
    for n in world.flow(1000, rate=300):
        if n == 500:
            own_stack.kafka.kill()
            until(lambda: "cannot be reached" in worker.said)
            own_stack.kafka.restart()
    predictions = world.await_answers([f"r{n}" for n in range(1000)])
    assert {one.status for one in predictions} == {"ok"}
    until(lambda: "answers again" in worker.said)
    assert worker.said.count("cannot be reached") == 1
    assert "Traceback" not in worker.said
    assert worker.terminate()[0] == 0


def test_a_worker_can_be_stopped_while_kafka_is_away(own_stack: LocalStack, world: World) -> None:
    world.release(1, "v1")
    worker = world.start()
    world.await_ack(1)
    own_stack.kafka.kill()
    until(lambda: "cannot be reached" in worker.said)
    status, seconds = worker.terminate()
    assert status == 0
    assert seconds < 20
