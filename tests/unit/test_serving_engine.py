"""The engine: a batch of requests in, one prediction for each out, whatever is wrong with some of them."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from schemas import policies
from schemas.records import ENCODER, Item, Prediction, Release, Request, problem
from serving import inputs, runtime
from serving.engine import Engine, Serving, State, Unready
from serving.jobs import Job
from serving.repository import Input, Repository
from serving.router import is_candidate
from serving.runtime import Runtime
from tests import serving_models as models

NOW = 1_700_000_000_000
OUT_OF_RANGE = models.ITEMS + 5
NOT_A_NUMBER = models.ITEMS - 1


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Runtime]:
    root = tmp_path_factory.mktemp("models")
    for seed, version in enumerate(["v1", "v2", "v3"]):
        models.add_version(root, version, seed)
    return {version: load(root, version) for version in ("v1", "v2", "v3")}


def load(root: Path, version: str) -> Runtime:
    return runtime.load(Repository(root).open(models.MODEL, version))


def release(weight: float = 0.0, candidate: str | None = None, shadow: str | None = None) -> Release:
    return Release(
        model=models.MODEL,
        generation=7,
        ts=NOW,
        stable="v1",
        decision_id="d",
        reason="test",
        candidate=candidate,
        shadow=shadow,
        weight=weight,
        salt="salt",
    )


def job(
    request_id: str = "r1", items: Sequence[Item] = (1, 2, 3), age: float = 10.0, **fields: object
) -> Job:
    ids = [item if isinstance(item, int) else 0 for item in items]
    record = {
        "request_id": request_id,
        "ts": NOW,
        "model": models.MODEL,
        "items": [*items],
        "inputs": models.inputs(ids),
        **fields,
    }
    return Job(msgspec.json.decode(ENCODER.encode(record), type=Request), int(NOW - age))


def answer(
    state: State, *jobs: Job, policy: policies.Policy | None = None, clock: Callable[[], float] = lambda: NOW
) -> list[Prediction]:
    engine = Engine("worker-1", clock)
    chosen = policy or policies.default(models.MODEL)
    return list(engine.answer(jobs, {models.MODEL: state}, {models.MODEL: chosen}))


def test_items_are_ranked_by_score_best_first(versions: dict[str, Runtime]) -> None:
    (found,) = answer(Serving(release(), versions["v1"]), job(items=[10, 11, 12, 13]))
    expected = np.log(models.scores()[10:14])
    assert found.items == [int(10 + place) for place in np.argsort(-expected)]
    assert found.scores == pytest.approx(sorted(expected.tolist(), reverse=True))


def test_equal_scores_keep_the_order_of_the_request(versions: dict[str, Runtime]) -> None:
    same = models.inputs([4, 4, 4, 4])
    (found,) = answer(Serving(release(), versions["v1"]), job(items=["d", "a", "c", "b"], inputs=same))
    assert found.items == ["d", "a", "c", "b"]


def test_a_prediction_says_all_that_the_contract_lists(versions: dict[str, Runtime]) -> None:
    times = iter([NOW, NOW + 4.0, NOW + 5.5, NOW + 6.0])
    (found,) = answer(Serving(release(), versions["v1"]), job(k=2, age=30), clock=lambda: next(times))
    assert msgspec.structs.replace(found, items=None, scores=None) == Prediction(
        request_id="r1",
        ts=NOW + 5,
        model=models.MODEL,
        version="v1",
        arm="stable",
        status="ok",
        latency_ms=35.5,
        generation=7,
        shown=2,
        infer_ms=4.0,
        queue_ms=30.0,
        batch=1,
        worker="worker-1",
    )


@pytest.mark.parametrize(("k", "shown"), [(None, 3), (0, 0), (2, 2), (3, 3), (50, 3)])
def test_shown_is_k_capped_at_the_list(versions: dict[str, Runtime], k: int | None, shown: int) -> None:
    (found,) = answer(Serving(release(), versions["v1"]), job(k=k))
    assert found.shown == shown


def test_each_request_is_answered_once(versions: dict[str, Runtime]) -> None:
    jobs = [job(f"r{n}", range(n % 7 + 1)) for n in range(100)]
    state = Serving(release(0.5, "v2"), versions["v1"], versions["v2"])
    assert sorted(found.request_id for found in answer(state, *jobs)) == sorted(f"r{n}" for n in range(100))


def test_a_batch_answers_what_each_request_alone_would_get(versions: dict[str, Runtime]) -> None:
    state = Serving(release(), versions["v1"])
    jobs = [
        job(f"r{n}", range(n, 2 * n + 1), inputs=models.inputs(range(n, 2 * n + 1), [n, 0, 0, 1]))
        for n in range(40)
    ]
    alone = {one.request.request_id: answer(state, one)[0] for one in jobs}
    for together in answer(state, *jobs):
        expected = alone[together.request_id]
        assert together.items == expected.items
        assert together.scores == pytest.approx(expected.scores, rel=1e-6)  # vectors round as they are cut


def test_no_run_has_more_requests_than_the_manifest_allows(tmp_path: Path) -> None:
    models.add_version(tmp_path, "v1", batch={"max": 8})
    found = answer(Serving(release(), load(tmp_path, "v1")), *(job(f"r{n}") for n in range(20)))
    assert [prediction.batch for prediction in found] == [8] * 16 + [4] * 4


def test_users_are_split_between_the_arms_by_the_hash(versions: dict[str, Runtime]) -> None:
    jobs = [job(f"r{n}", user=f"u{n % 50}") for n in range(200)]
    state = Serving(release(0.4, "v2"), versions["v1"], versions["v2"])
    for found in answer(state, *jobs):
        user = f"u{int(found.request_id[1:]) % 50}"
        expected = ("candidate", "v2") if is_candidate("salt", user, 0.4) else ("stable", "v1")
        assert (found.arm, found.version) == expected


def test_the_policy_can_randomize_requests_instead(versions: dict[str, Runtime]) -> None:
    policy = policies.Policy(model=models.MODEL, unit="request")
    jobs = [job(f"r{n}", user="always the same") for n in range(200)]
    state = Serving(release(0.4, "v2"), versions["v1"], versions["v2"])
    for found in answer(state, *jobs, policy=policy):
        assert (found.arm == "candidate") == is_candidate("salt", found.request_id, 0.4)


def test_a_shadow_answers_every_request_once_more_after_the_others(versions: dict[str, Runtime]) -> None:
    state = Serving(release(shadow="v3"), versions["v1"], shadow=versions["v3"])
    found = answer(state, job("r1"), job("r2"))
    assert [(one.request_id, one.arm, one.version) for one in found] == [
        ("r1", "stable", "v1"),
        ("r2", "stable", "v1"),
        ("r1", "shadow", "v3"),
        ("r2", "shadow", "v3"),
    ]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"items": []}, "items: found none"),
        ({"inputs": {"item": [1, 2, 3]}}, r"inputs\.context: missing"),
        ({"inputs": None}, r"inputs\.item: missing"),
        ({"inputs": models.inputs([1, 2])}, r"inputs\.item: found shape \[2, 1\], expected \[3, 1\]"),
        ({"inputs": models.inputs([1, 2, OUT_OF_RANGE])}, "v1: .*out of data bounds"),
        ({"inputs": models.inputs([1, 2, NOT_A_NUMBER])}, "v1: .*not a finite number"),
    ],
)
def test_a_bad_request_is_an_error_and_its_neighbours_are_not(
    versions: dict[str, Runtime], bad: dict[str, Any], reason: str
) -> None:
    state = Serving(release(), versions["v1"])
    good = [job("r1"), job("r3")]
    found = {one.request_id: one for one in answer(state, good[0], job("r2", **bad), good[1])}
    assert {name: one.status for name, one in found.items()} == {"r1": "ok", "r2": "error", "r3": "ok"}
    assert found["r1"].scores == answer(state, good[0])[0].scores
    assert re.search(reason, found["r2"].error or "")
    assert (found["r2"].items, found["r2"].version, found["r2"].arm) == (None, "v1", "stable")


def test_a_request_for_whose_rows_there_is_no_memory_is_an_error_and_its_neighbours_are_not(
    versions: dict[str, Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    def scarce(request: Request, declared: Mapping[str, Input]) -> inputs.Rows:
        if request.request_id == "r1":
            raise MemoryError
        return inputs.rows(request, declared)

    monkeypatch.setattr("serving.engine.rows", scarce)
    found = answer(Serving(release(), versions["v1"]), job("r0"), job("r1"), job("r2"))
    assert {one.request_id: (one.status, one.error) for one in found} == {
        "r0": ("ok", None),
        "r1": ("error", "inputs: larger than the memory that is left"),
        "r2": ("ok", None),
    }


def test_what_waits_for_its_run_while_the_release_changes_is_answered_by_the_new_one(
    versions: dict[str, Runtime],
) -> None:
    engine = Engine("worker-1", lambda: NOW)
    policy = policies.default(models.MODEL)
    before = Serving(release(1.0, "v2", "v3"), versions["v1"], versions["v2"], versions["v3"])
    after = Serving(release(shadow="v3"), versions["v1"], shadow=versions["v3"])
    plan = engine.plan([job("r1"), job("r2")], {models.MODEL: before}, {models.MODEL: policy})
    assert [engine.renew(leg, before, policy).legs for leg in plan.legs] == [[leg] for leg in plan.legs]
    found = [
        (one.request_id, one.arm, one.version)
        for leg in plan.legs
        for renewed in engine.renew(leg, after, policy).legs
        for one in engine.answers(engine.run(renewed))
    ]
    assert found == [
        ("r1", "stable", "v1"),
        ("r2", "stable", "v1"),
        ("r1", "shadow", "v3"),
        ("r2", "shadow", "v3"),
    ]


def test_ten_thousand_candidates_are_ranked(versions: dict[str, Runtime]) -> None:
    (found,) = answer(Serving(release(), versions["v1"]), job(items=[n % 900 for n in range(10_000)]))
    assert found.status == "ok"
    assert len(found.items or ()) == 10_000


def test_a_request_past_its_deadline_is_a_timeout_without_inference(versions: dict[str, Runtime]) -> None:
    state = Serving(release(), versions["v1"])
    late, early = answer(state, job("r1", age=51, deadline_ms=50), job("r2", age=49, deadline_ms=50))
    assert (late.status, late.latency_ms, late.infer_ms, late.items) == ("timeout", 51, None, None)
    assert early.status == "ok"


def test_a_model_without_a_release_is_answered_with_an_error() -> None:
    (found,) = answer(Unready("no release of model ranker yet"), job())
    assert (found.status, found.version, found.error) == ("error", "none", "no release of model ranker yet")


def test_a_release_that_could_not_be_made_so_is_named_in_the_error() -> None:
    (found,) = answer(Unready("no such folder", release()), job())
    assert (found.status, found.version, found.generation) == ("error", "v1", 7)


def test_a_clock_that_is_behind_kafkas_gives_no_negative_latency(versions: dict[str, Runtime]) -> None:
    (found,) = answer(Serving(release(), versions["v1"]), job(age=-500))
    assert (found.latency_ms, found.queue_ms) == (0, 0)


def test_what_is_answered_is_a_sound_record(versions: dict[str, Runtime]) -> None:
    state = Serving(release(0.5, "v2", "v3"), versions["v1"], versions["v2"], versions["v3"])
    jobs = [job(f"r{n}", deadline_ms=n % 3 * 8, items=range(n % 4)) for n in range(30)]
    for found in answer(state, *jobs):
        read = msgspec.json.decode(ENCODER.encode(found), type=Prediction)
        assert problem(read, NOW) is None
