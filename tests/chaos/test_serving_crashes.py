"""Serving workers whose models crash and hang, and that are killed: exactly the request that does it is
answered with an error, its neighbours are answered as ever, and nothing is lost.
"""

import platform
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from schemas.records import Prediction
from schemas.settings import Serving
from serving.worker import FAREWELL
from tests import serving_models as models
from tests.conftest import SharedStack, isolated
from tests.integration.serving_world import Process, World, until

HANG = 0.7
LOAD = 3.0
"""Seconds after which a run, and a load, count as hung here."""

crashes = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="only x86 traps where a division overflows"
)


@pytest.fixture
def world(stack: SharedStack, tmp_path: Path) -> Iterator[World]:
    serving = Serving(health="off", hang_s=HANG, load_s=LOAD)
    settings = msgspec.structs.replace(isolated(stack.settings), serving=serving)
    made = World(settings, tmp_path)
    models.add_touchy_version(made.repository, "touchy")
    yield made
    made.close()


def ask(world: World, number: int, **bad: dict[str, object]) -> list[str]:
    """Requests r0… that wait for the first worker; those named in `bad` have inputs of their own. Answers all
    names."""
    names = [f"r{n}" for n in range(number)]
    for name in names:
        world.request(name, inputs=bad.get(name) or models.touchy([1, 2, 3]))
    world.flush()
    return names


def outcomes(predictions: list[Prediction]) -> dict[str, set[str]]:
    """By request, how it was answered."""
    found: dict[str, set[str]] = {}
    for one in predictions:
        found.setdefault(one.request_id, set()).add(one.status)
    return found


def shadowed(predictions: list[Prediction]) -> set[str]:
    """The requests that a shadow has answered."""
    return {one.request_id for one in predictions if one.arm == "shadow"}


def moments(worker: Process, word: str) -> list[datetime]:
    """When the worker said so."""
    lines = [line for line in worker.said.splitlines() if word in line]
    return [datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f") for line in lines]


@crashes
def test_a_request_that_crashes_the_runtime_is_an_error_and_its_neighbours_are_not(world: World) -> None:
    names = ask(world, 40, r7=models.crash())
    world.release(1, "touchy")
    worker = world.start()
    predictions = world.await_answers(names)
    assert outcomes(predictions) == {name: {"error" if name == "r7" else "ok"} for name in names}
    assert {one.error for one in predictions if one.status == "error"} == {
        "touchy: running this request has ended the worker 2 times: SIGFPE and then SIGFPE"
    }
    assert "the worker died (SIGFPE) while ranker/touchy ran" in worker.said
    assert worker.terminate()[0] == 0


def test_a_request_that_hangs_is_an_error_and_its_neighbours_are_not(world: World) -> None:
    names = ask(world, 40, r7=models.hang())
    world.release(1, "touchy")
    world.start()
    predictions = world.await_answers(names)
    assert outcomes(predictions) == {name: {"error" if name == "r7" else "ok"} for name in names}
    (reason,) = {one.error for one in predictions if one.status == "error"}
    assert reason == (
        "touchy: running this request has ended the worker 2 times: "
        "no result within 0.7 s and then no result within 0.7 s"
    )


@pytest.mark.soak
def test_a_shadow_that_hangs_costs_no_answer(world: World) -> None:
    world.release(1, "v1", shadow="touchy")
    context = [0, 0, 0, 0]
    names = [f"r{n}" for n in range(20)]
    for name in names:
        inputs = models.hang() if name == "r7" else models.touchy([1, 2, 3])
        world.request(name, inputs=inputs | {"context": context})
    world.flush()
    world.start()
    until(lambda: len(shadowed(world.predictions())) == 19)
    assert shadowed(world.predictions()) == set(names) - {"r7"}
    answers = [one for one in world.await_answers(names) if one.arm == "stable"]
    assert outcomes(answers) == {name: {"ok"} for name in names}


@crashes
@pytest.mark.soak
def test_a_version_that_crashes_with_every_request_leaves_the_other_models_alone(world: World) -> None:
    models.add_touchy_version(world.repository, "bad", model="films")
    world.release(1, "v1")
    world.release(1, "bad", model="films")
    sound, bad = [f"r{n}" for n in range(40)], [f"f{n}" for n in range(10)]
    for name in sound:
        world.request(name)
    for name in bad:
        world.request(name, model="films", inputs=models.crash())
    world.flush()
    worker = world.start()
    predictions = world.await_answers([*sound, *bad])
    assert outcomes(predictions) == {name: {"ok"} for name in sound} | {name: {"error"} for name in bad}
    assert worker.said.count("the worker died (SIGFPE)") == 4
    assert any("its last 4 runs have each ended the worker" in (one.error or "") for one in predictions)


def test_a_worker_that_is_killed_again_and_again_answers_every_request(world: World) -> None:
    world.release(1, "v1")
    worker = world.start()
    world.await_ack(1)
    for n in world.flow(700, rate=300):
        if n % 300 == 200:
            world.await_answers([f"r{n - 100}"])
            worker.crash()
    names = [f"r{n}" for n in range(700)]
    predictions = world.await_answers(names)
    assert outcomes(predictions) == {name: {"ok"} for name in names}
    assert {one.worker for one in predictions} == {predictions[0].worker}
    assert worker.said.count("the worker died (SIGKILL)") == 2
    for ready, joined in zip(moments(worker, "applied"), moments(worker, "ready:"), strict=True):
        assert joined - ready < timedelta(seconds=3)  # the group did not wait for a session of 6 s to end


@crashes
def test_a_version_that_crashes_as_it_is_loaded_is_a_failed_release(world: World) -> None:
    models.add_touchy_version(world.repository, "bomb", less=1, constant=models.LOWEST)
    world.release(1, "v1", candidate="bomb")
    worker = world.start()
    (ack,) = world.await_ack(1, status="failed")
    assert "ranker/bomb: loading it has ended the worker 2 times: SIGFPE and then SIGFPE" in (ack.error or "")
    world.request("r0")
    world.flush()
    (found,) = world.await_answers(["r0"])
    assert (found.status, found.version) == ("ok", "v1")
    assert worker.said.count("the worker died") == 2


def test_a_worker_that_is_told_to_end_does_not_wait_for_a_load(world: World) -> None:
    models.add_touchy_version(world.repository, "endless", more=models.HOURS)
    world.release(1, "v1")
    worker = world.start()
    world.await_ack(1)
    world.release(2, "v1", candidate="endless")
    world.await_ack(2, status="loading")
    status, seconds = worker.terminate()
    assert status == 0, worker.said
    assert seconds < FAREWELL


def test_a_version_that_hangs_as_it_is_loaded_is_a_failed_release(world: World) -> None:
    models.add_touchy_version(world.repository, "endless", more=models.HOURS)
    world.release(1, "v1")
    worker = world.start()
    world.await_ack(1)
    world.release(2, "v1", candidate="endless")
    (ack,) = world.await_ack(2, status="failed")
    assert ack.error == (
        f"ranker/endless: loading it has ended the worker once: not loaded within {LOAD:g} s; mend its files"
    )
    world.request("r0")
    world.flush()
    (found,) = world.await_answers(["r0"])
    assert (found.status, found.version) == ("ok", "v1")
    assert worker.said.count("the worker was ended") == 1
