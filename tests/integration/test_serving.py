"""Serving workers on a real broker, as processes: never a request without an answer, come what may."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas import topics
from schemas.records import ENCODER, Distribution, Prediction, Profile
from serving.router import is_candidate
from streams.log import Follower
from tests import serving_models as models
from tests.conftest import SharedStack, isolated
from tests.integration.serving_world import Process, World, at_least, now, until


@pytest.fixture
def world(stack: SharedStack, tmp_path: Path) -> Iterator[World]:
    made = World(isolated(stack.settings), tmp_path)
    yield made
    made.close()


def counted(predictions: list[Prediction]) -> Counter[str]:
    return Counter(one.request_id for one in predictions if not one.request_id.startswith("probe"))


def names(requests: int) -> list[str]:
    return [f"r{n}" for n in range(requests)]


def test_every_request_is_answered_once_in_its_own_partition(world: World) -> None:
    world.release(1, "v1")
    world.start()
    for _ in world.flow(500, rate=1000):
        pass
    predictions = world.await_answers(names(500))
    assert counted(predictions) == Counter(names(500))
    asked = {entry.key: entry.partition for entry in Follower(world.settings, topics.REQUESTS).refresh()}
    assert {entry.key: entry.partition for entry in world.entries(topics.PREDICTIONS)} == asked
    assert len(set(asked.values())) == world.settings.topics.partitions


def test_answers_are_ranked_by_the_model(world: World) -> None:
    world.release(1, "v2")
    world.start()
    world.request("r0", [5, 6, 7, 8], k=2)
    world.flush()
    (found,) = world.await_answers(["r0"])
    expected = np.log(models.scores(seed=1)[5:9])
    assert found.items == [int(5 + place) for place in np.argsort(-expected)]
    assert found.scores == pytest.approx(sorted(expected.tolist(), reverse=True))
    assert (found.status, found.version, found.arm, found.generation, found.shown) == (
        "ok",
        "v2",
        "stable",
        1,
        2,
    )


def test_what_was_asked_before_the_first_worker_is_answered_by_the_newest_release(world: World) -> None:
    for generation, version in enumerate(["v1", "v3", "v2"], start=1):
        world.release(generation, version)
    for _ in world.flow(100, rate=10_000):
        pass
    world.start()
    predictions = world.await_answers(names(100))
    assert {(one.version, one.generation, one.status) for one in predictions} == {("v2", 3, "ok")}


def test_a_killed_worker_loses_no_request(world: World) -> None:
    world.release(1, "v1")
    worker = world.start()
    world.await_ack(1)
    for n in world.flow(2000, rate=500):
        if n in (600, 1200):
            until(lambda: len(world.predictions()) > 100)
            worker.kill()
            worker = world.start()
    predictions = world.await_answers(names(2000))
    assert counted(predictions).keys() == set(names(2000))
    assert len(predictions) < 3000


def test_a_worker_that_is_told_to_stop_leaves_nothing_open_and_hands_over_at_once(world: World) -> None:
    world.release(1, "v1")
    first, second = world.start(), world.start()
    world.await_members(2)
    for n in world.flow(1500, rate=500):
        if n == 700:
            status, seconds = first.terminate()
    assert status == 0
    assert seconds < 5
    predictions = world.await_answers(names(1500))
    assert counted(predictions) == Counter(names(1500))
    assert max(one.latency_ms for one in predictions) < 5000  # the group did not wait for a time-out
    assert second.terminate()[0] == 0


def test_a_release_under_load_is_applied_without_a_gap(world: World) -> None:
    world.release(1, "v1")
    workers = [world.start(), world.start()]
    world.await_members(2)
    for n in world.flow(1500, rate=400):
        if n == 400:
            world.release(2, "v1", candidate="v2", weight=0.4, salt="salt", phase="canary")
        if n == 1000:
            rolled_back = world.release(3, "v1", phase="rolled_back")
    acks = world.await_ack(3, workers=2)
    predictions = world.await_answers(names(1500))
    assert counted(predictions) == Counter(names(1500))
    assert {one.status for one in predictions} == {"ok"}
    assert {one.generation for one in predictions} == {1, 2, 3}
    for one in predictions:
        user = f"u{int(one.request_id[1:]) % 50}" if one.request_id[0] == "r" else one.request_id
        drawn = one.generation == 2 and is_candidate("salt", user, 0.4)
        assert (one.arm, one.version) == (("candidate", "v2") if drawn else ("stable", "v1"))
    assert max(ack.ts for ack in acks) - rolled_back < 5000
    assert {int(ack.worker.rpartition("-")[2]) for ack in acks} == {worker.pid for worker in workers}


def test_a_version_is_in_memory_before_its_generation_is_acknowledged(world: World) -> None:
    world.release(1, "v1", candidate="v2", shadow="v3")
    world.start()
    (ack,) = world.await_ack(1)
    assert ack.loaded == ["v1", "v2", "v3"]


def test_a_shadow_answers_beside_the_stable_version(world: World) -> None:
    world.release(1, "v1", shadow="v3")
    world.start()
    world.request("r0")
    world.flush()
    predictions = at_least(2, world.predictions)
    assert {(one.arm, one.version) for one in predictions} == {("stable", "v1"), ("shadow", "v3")}


def test_a_broken_version_is_acknowledged_as_failed_while_the_old_one_serves(world: World) -> None:
    (world.repository / models.MODEL / "v2" / "model.onnx").write_bytes(b"not a model")
    world.release(1, "v1")
    world.start()
    world.await_ack(1)
    world.release(2, "v2")
    (ack,) = world.await_ack(2, status="failed")
    assert "model.onnx" in (ack.error or "")
    assert ack.loaded == ["v1"]
    world.request("r0")
    world.flush()
    (found,) = world.await_answers(["r0"])
    assert (found.status, found.version, found.generation) == ("ok", "v1", 1)


def test_a_version_that_comes_after_its_release_is_loaded_then(world: World) -> None:
    world.release(1, "v9")
    world.start()
    world.await_ack(1, status="failed")
    models.add_version(world.repository, "v9")
    assert world.await_ack(1)[0].loaded == ["v9"]


def test_bad_requests_are_errors_and_their_neighbours_are_not(world: World) -> None:
    world.release(1, "v1")
    bad: dict[str, dict[str, Any]] = {
        "empty": {"items": []},
        "missing": {"inputs": {}},
        "shape": {"inputs": models.inputs([1, 2])},
        "type": {"inputs": {"item": ["a", "b", "c"], "context": [0, 0, 0, 0]}},
        "range": {"inputs": models.inputs([1, 2, models.ITEMS])},
        "nan": {"inputs": models.inputs([1, 2, models.ITEMS - 1])},
    }
    for n, (name, fields) in enumerate(bad.items()):
        world.request(f"good-{n}")
        world.request(name, **fields)
    world.flush()
    world.start()
    good = [f"good-{n}" for n in range(len(bad))]
    predictions = world.await_answers([*good, *bad])
    assert {one.request_id for one in predictions if one.status == "ok"} == set(good)
    assert all(one.error for one in predictions if one.status == "error")
    assert counted(predictions) == Counter([*good, *bad])


def test_an_answer_that_is_too_large_for_a_record_is_an_error(world: World) -> None:
    world.release(1, "v1")
    everyone = {"item": 7, "context": [0, 0, 0, 0]}
    world.request("huge", range(350_000), inputs=everyone)
    world.request("r0")
    world.flush()
    world.start()
    found = {one.request_id: one for one in world.await_answers(["huge", "r0"])}
    assert (found["huge"].status, found["huge"].items) == ("error", None)
    assert "ask for fewer items" in (found["huge"].error or "")
    assert found["r0"].status == "ok"


def test_an_answer_that_the_broker_refuses_as_too_large_is_an_error(world: World) -> None:
    world.limit(topics.PREDICTIONS, 20_000)
    world.release(1, "v1")
    world.request("large", np.random.default_rng(1).integers(0, 999, 4000).tolist())
    small = [f"r{n}" for n in range(300)]
    for name in small:
        world.request(name)
    world.flush()
    world.start()
    predictions = world.await_answers(["large", *small])
    assert {(one.status, one.items) for one in predictions if one.request_id == "large"} == {("error", None)}
    assert {one.status for one in predictions if one.request_id != "large"} == {"ok"}
    assert counted(predictions) == Counter(["large", *small])  # nothing was answered again and again


def test_what_is_no_request_is_a_dead_letter_and_serving_goes_on(world: World) -> None:
    world.release(1, "v1")
    world.write(topics.REQUESTS, "bad", b"\xff\x00 not JSON")
    world.write(topics.REQUESTS, "bad", ENCODER.encode({"request_id": "bad", "model": models.MODEL}))
    world.request("r0")
    world.flush()
    world.start()
    world.await_answers(["r0"])
    letters = at_least(2, world.dead_letters)
    assert {(letter.stage, letter.topic, letter.key) for letter in letters} == {
        ("serve", "inference.requests", "bad")
    }


def test_what_the_join_published_again_is_not_answered_twice(world: World) -> None:
    world.release(1, "v1")
    world.request("r0")
    world.flush()
    (entry,) = Follower(world.settings, topics.REQUESTS).refresh()
    world.write(topics.REQUESTS, "r0", entry.value or b"", [("headgate-origin", b"inference.requests/0/0")])
    world.request("r0-after")
    world.flush()
    world.start()
    for n in range(8):  # one to each partition, so that all have been read
        world.request(f"r{n + 1}")
    world.flush()
    predictions = world.await_answers(["r0-after", *(f"r{n + 1}" for n in range(8))])
    assert counted(predictions)["r0"] == 1


def test_a_request_past_its_deadline_is_answered_as_a_timeout(world: World) -> None:
    world.release(1, "v1")
    world.request("r0", deadline_ms=1)
    world.request("r1", deadline_ms=600_000)
    world.flush()
    world.start()
    predictions = {one.request_id: one for one in world.await_answers(["r0", "r1"])}
    assert (predictions["r0"].status, predictions["r0"].items) == ("timeout", None)
    assert predictions["r1"].status == "ok"


def test_a_model_without_a_release_is_answered_with_what_to_do(world: World) -> None:
    world.start()
    world.request("r0")
    world.flush()
    (found,) = world.await_answers(["r0"])
    assert found.status == "error"
    assert "headgate release start ranker VERSION" in (found.error or "")


def test_the_unit_follows_the_policy(world: World) -> None:
    policy = {"model": models.MODEL, "unit": "request"}
    record = {"model": models.MODEL, "ts": now(), "policy": policy, "actor": "test"}
    world.write(topics.POLICIES, models.MODEL, ENCODER.encode(record))
    world.release(1, "v1", candidate="v2", weight=0.5, salt="salt")
    world.start()
    for n in range(100):
        world.request(f"r{n}", user="always the same")
    world.flush()
    for one in world.await_answers(names(100)):
        assert (one.arm == "candidate") == is_candidate("salt", one.request_id, 0.5)


def test_a_worker_says_that_it_lives_before_and_after_its_first_release(world: World) -> None:
    worker = world.start()
    first = until(lambda: world.acks("heartbeat"))[0]
    assert (first.model, first.generation, first.loaded) == (models.MODEL, 0, [])
    assert first.worker.endswith(f"-{worker.pid}")
    world.release(1, "v1")
    beats = until(lambda: [beat for beat in world.acks("heartbeat") if beat.generation == 1])
    assert beats[0].loaded == ["v1"]
    times = [beat.ts for beat in at_least(3, lambda: world.acks("heartbeat"))]
    assert all(4500 < later - earlier < 6500 for earlier, later in pairwise(times))


def test_a_reference_profile_is_published_before_its_version_is_acknowledged(world: World) -> None:
    profile = Profile(
        model=models.MODEL,
        version="v1",
        ts=now(),
        features={"age": Distribution(counts=[3, 4], edges=[30.0])},
    )
    (world.repository / models.MODEL / "v1" / "profile.json").write_bytes(ENCODER.encode(profile))
    world.release(1, "v1")
    world.start()
    world.await_ack(1)
    assert until(world.profiles) == [profile]
    assert [entry.key for entry in world.entries(topics.PROFILES)] == [b"ranker/v1"]


def test_workers_of_some_models_leave_the_others_alone(world: World) -> None:
    models.add_version(world.repository, "w1", seed=5, model="films")
    world.release(1, "v1")
    world.release(1, "w1", model="films")
    worker = world.start("films")
    world.request("r0")
    world.request("r1", model="films")
    world.request("r2", model="nobody's")
    world.flush()
    world.await_answers(["r1"])
    assert "headgate-serving-films" in worker.said
    world.start()
    predictions = world.await_answers(["r0", "r1"])
    assert {(one.request_id, one.model, one.version) for one in predictions} == {
        ("r0", models.MODEL, "v1"),
        ("r1", "films", "w1"),
    }
    assert {ack.model for ack in world.acks() if ack.worker.endswith(f"-{worker.pid}")} == {"films"}


def test_a_request_for_a_model_of_any_name_costs_the_others_nothing(world: World) -> None:
    world.release(1, "v1")
    worker = world.start()
    for i, name in enumerate(("x" * 300, "..", "a/b", "\0", "\U0001f600" * 100)):
        world.request(f"odd{i}", model=name)
    for name in names(20):
        world.request(name)
    world.flush()
    world.await_answers(names(20))
    assert "died" not in worker.said


def test_while_the_files_of_a_model_are_away_it_is_served_on(world: World) -> None:
    world.release(1, "v1")
    world.start()
    world.await_ack(1)
    (world.repository / models.MODEL).rename(world.repository.parent / "away")
    at_least(2, lambda: [beat for beat in world.acks("heartbeat") if beat.available == []])
    for name in names(20):
        world.request(name)
    world.flush()
    assert {one.status for one in world.await_answers(names(20))} == {"ok"}


def test_topics_that_do_not_exist_are_a_mistake_in_one_line(stack: SharedStack, tmp_path: Path) -> None:
    models.add_version(tmp_path, "v1")
    worker = Process(isolated(stack.settings), tmp_path, [], tmp_path / "log")
    assert worker.wait() == 1
    assert re.search(r"topic .*control\.policies: .*headgate up", worker.said)
    assert "Traceback" not in worker.said
