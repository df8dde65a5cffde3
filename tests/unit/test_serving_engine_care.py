"""The engine under suspicion and load: what runs alone, what does not run at all, what need not run again."""

import time

import msgspec
import pytest

from schemas import policies
from schemas.records import ENCODER, Arm, Prediction, Release, Request
from schemas.settings import Serving as Limits
from serving import runtime
from serving.engine import Engine, Serving
from serving.fitness import TRIES, Fitness
from serving.flight import Aboard, Flight, Place
from serving.jobs import Job
from serving.meter import Meter
from serving.repository import Repository
from serving.runtime import Runtime
from serving.suspects import Suspects
from tests import serving_models as models

NOW = 1_700_000_000_000
BAD = [1, 2, models.ITEMS + 5]
"""Item ids that the model's run fails for."""


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Runtime]:
    root = tmp_path_factory.mktemp("models")
    for seed, version in enumerate(["v1", "v2"]):
        models.add_version(root, version, seed)
    return {version: runtime.load(Repository(root).open(models.MODEL, version)) for version in ("v1", "v2")}


@pytest.fixture
def stable(versions: dict[str, Runtime]) -> Serving:
    return Serving(release(), versions["v1"])


@pytest.fixture
def shadowed(versions: dict[str, Runtime]) -> Serving:
    return Serving(release(), versions["v1"], shadow=versions["v2"])


def release() -> Release:
    return Release(model=models.MODEL, generation=7, ts=NOW, stable="v1", decision_id="d", reason="test")


def job(offset: int, items: list[int] | None = None, age: float = 10, **fields: object) -> Job:
    """Request r<offset>, at that offset of partition 2."""
    ids = items or [1, 2, 3]
    record = {"request_id": f"r{offset}", "ts": NOW, "model": models.MODEL, "items": ids, **fields}
    request = ENCODER.encode(record | {"inputs": models.inputs(ids)})
    return Job(msgspec.json.decode(request, type=Request), int(NOW - age), Place(2, offset))


def suspected(*offsets: int, ends: int = 1, arm: Arm = "stable") -> Suspects:
    """After so many ends of workers, in the last of which these ran alone."""
    known = Suspects()
    for offset in offsets:
        for _ in range(ends):
            known.add(Aboard(1, "ranker/v1", arm, [Place(2, offset)]), "SIGSEGV")
    return known


def answer(engine: Engine, state: Serving, *jobs: Job) -> list[Prediction]:
    policy = policies.default(models.MODEL)
    return list(engine.answer(jobs, {models.MODEL: state}, {models.MODEL: policy}))


def engine(suspects: Suspects | None = None, limits: Limits | None = None, **parts: object) -> Engine:
    return Engine("worker-1", lambda: NOW, limits or Limits(), suspects=suspects, **parts)  # type: ignore[arg-type]


def test_suspects_run_alone_after_the_others(stable: Serving) -> None:
    found = answer(engine(suspected(1, 3)), stable, *[job(offset) for offset in range(6)])
    assert [(one.request_id, one.batch, one.status) for one in found] == [
        ("r0", 4, "ok"),
        ("r2", 4, "ok"),
        ("r4", 4, "ok"),
        ("r5", 4, "ok"),
        ("r1", 1, "ok"),
        ("r3", 1, "ok"),
    ]


def test_a_guilty_request_is_an_error_without_a_run(stable: Serving) -> None:
    guilty, other = answer(engine(suspected(1, ends=2)), stable, job(0), job(1))
    assert (guilty.request_id, guilty.status, guilty.infer_ms, guilty.version) == ("r1", "error", None, "v1")
    assert guilty.error == "v1: running this request has ended the worker 2 times: SIGSEGV and then SIGSEGV"
    assert (other.status, other.batch) == ("ok", 1)


def test_a_request_that_is_guilty_as_a_shadow_is_answered_without_one(shadowed: Serving) -> None:
    found = answer(engine(suspected(1, ends=2, arm="shadow")), shadowed, job(0), job(1))
    assert [(one.request_id, one.arm, one.batch) for one in found] == [
        ("r0", "stable", 2),
        ("r1", "stable", 2),
        ("r0", "shadow", 1),
    ]


def test_a_request_that_is_suspected_as_a_shadow_is_answered_with_the_others(shadowed: Serving) -> None:
    found = answer(engine(suspected(1, arm="shadow")), shadowed, job(0), job(1), job(2))
    assert [(one.request_id, one.arm, one.batch) for one in found][-3:] == [
        ("r0", "shadow", 2),
        ("r2", "shadow", 2),
        ("r1", "shadow", 1),
    ]


def test_the_same_offset_of_another_partition_is_another_request(stable: Serving) -> None:
    other = job(1)._replace(place=Place(3, 1))
    (found,) = answer(engine(suspected(1, ends=2)), stable, other)
    assert found.status == "ok"


def rests(label: str) -> Fitness:
    fitness = Fitness()
    for _ in range(TRIES):
        fitness.add(label, False, "SIGSEGV", time.monotonic())
    return fitness


def test_a_version_that_rests_answers_with_errors_and_the_others_serve_on(shadowed: Serving) -> None:
    found = answer(engine(fitness=rests("ranker/v1")), shadowed, job(0))
    assert [(one.arm, one.version, one.status) for one in found] == [("stable", "v1", "error")]
    assert "its last 4 runs have each ended the worker" in (found[0].error or "")
    found = answer(engine(fitness=rests("ranker/v2")), shadowed, job(0))
    assert [(one.arm, one.version, one.status) for one in found] == [("stable", "v1", "ok")]


class Watched(Flight):
    """Notes what is written on the board."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[tuple[str, Arm, list[int]]] = []

    def begin(self, label: str, arm: Arm, places: list[Place]) -> None:  # type: ignore[override]
        super().begin(label, arm, places)
        self.runs.append((label, arm, [place.offset for place in places]))


def test_what_runs_stands_on_the_board_and_nothing_once_it_is_answered(shadowed: Serving) -> None:
    board = Watched()
    for _ in engine(board=board).answer(
        [job(0), job(1)], {models.MODEL: shadowed}, {models.MODEL: policies.default(models.MODEL)}
    ):
        assert board.aboard() is None  # whatever is done with an answer is not the model's doing
    assert board.runs == [("ranker/v1", "stable", [0, 1]), ("ranker/v2", "shadow", [0, 1])]


def test_what_is_tried_again_request_by_request_stands_on_the_board_alone(stable: Serving) -> None:
    board = Watched()
    answer(engine(board=board), stable, job(0), job(1, BAD), job(2))
    assert [offsets for _, _, offsets in board.runs] == [[0, 1, 2], [0], [1], [2]]
    assert board.aboard() is None


def test_what_waited_too_long_is_shed_and_its_surface_decides_how_long_that_is(stable: Serving) -> None:
    limits = Limits(shed_ms=1_000, shed_surface_ms={"email": 100})
    jobs = [job(0, age=500, surface="email"), job(1, age=500, surface="search"), job(2, age=1_500)]
    found = {one.request_id: one for one in answer(engine(limits=limits), stable, *jobs)}
    assert {name: one.status for name, one in found.items()} == {"r0": "shed", "r1": "ok", "r2": "shed"}
    assert found["r0"].error == "waited 500 ms, longer than the bound of 100"
    assert (found["r0"].items, found["r0"].infer_ms, found["r0"].version) == (None, None, "v1")


def test_what_waits_too_long_behind_another_run_is_not_run(shadowed: Serving) -> None:
    now = float(NOW)
    slow = Engine("worker-1", lambda: now)
    jobs = [job(0, age=40, deadline_ms=50), job(1, age=10, deadline_ms=50)]
    default = policies.default(models.MODEL)
    plan = slow.plan(jobs, {models.MODEL: shadowed}, {models.MODEL: default})
    now += 20
    found = [one for leg in plan.legs for one in slow.answers(slow.run(leg))]
    assert [(one.request_id, one.arm, one.status, one.batch) for one in found] == [
        ("r0", "stable", "timeout", None),
        ("r1", "stable", "ok", 1),
        ("r0", "shadow", "ok", 2),  # nobody waits for it
        ("r1", "shadow", "ok", 2),
    ]
    assert found[0].error == "older than its deadline_ms of 50"


def test_a_request_that_came_before_is_answered_from_memory(stable: Serving) -> None:
    meter = Meter()
    remembers = engine(limits=Limits(cache_mib=1), meter=meter)
    (first,) = answer(remembers, stable, job(0))
    again, other = sorted(answer(remembers, stable, job(1), job(2, [7, 8])), key=lambda one: one.request_id)
    assert (again.items, again.scores, again.status) == (first.items, first.scores, "ok")
    assert (again.infer_ms, again.batch) == (0, None)
    assert other.batch == 1
    assert (meter.cache_hits, meter.cache_misses) == ({models.MODEL: 1}, {models.MODEL: 2})


def test_an_error_is_not_remembered(stable: Serving) -> None:
    meter = Meter()
    remembers = engine(limits=Limits(cache_mib=1), meter=meter)
    statuses = [answer(remembers, stable, job(offset, BAD))[0].status for offset in range(2)]
    assert statuses == ["error", "error"]
    assert meter.cache_hits == {models.MODEL: 0}


def test_a_new_version_does_not_answer_with_what_the_old_one_said(
    stable: Serving, versions: dict[str, Runtime]
) -> None:
    remembers = engine(limits=Limits(cache_mib=1))
    (old,) = answer(remembers, stable, job(0))
    (new,) = answer(remembers, Serving(release(), versions["v2"]), job(1))
    assert (new.version, new.batch) == ("v2", 1)
    assert new.scores != old.scores


def test_by_default_nothing_is_remembered(stable: Serving) -> None:
    meter = Meter()
    forgetful = engine(meter=meter)
    batches = [answer(forgetful, stable, job(offset))[0].batch for offset in range(2)]
    assert batches == [1, 1]
    assert meter.cache_misses == {}


def test_a_policy_that_explores_has_its_propensities_logged(stable: Serving) -> None:
    policy = policies.Policy(model=models.MODEL, explore=policies.Explore(share=0.5, depth=2))
    jobs = [job(offset, [4, 5, 6, 7]) for offset in range(40)]
    found = list(engine().answer(jobs, {models.MODEL: stable}, {models.MODEL: policy}))
    orders = {tuple(one.items or ()) for one in found}
    assert len(orders) == 2
    assert {tuple(one.propensities or ()) for one in found} == {(0.75, 0.75, 1, 1), (0.25, 0.25, 1, 1)}
    for one in found:
        by_item = dict(zip(one.items or (), one.scores or (), strict=True))
        assert by_item == dict(zip(found[0].items or (), found[0].scores or (), strict=True))


def test_a_shadow_explores_nothing(shadowed: Serving) -> None:
    policy = policies.Policy(model=models.MODEL, explore=policies.Explore(share=1.0))
    found = list(engine().answer([job(0)], {models.MODEL: shadowed}, {models.MODEL: policy}))
    assert [(one.arm, one.propensities is None) for one in found] == [("stable", False), ("shadow", True)]


def test_by_default_nothing_is_explored(stable: Serving) -> None:
    (found,) = answer(engine(), stable, job(0))
    assert found.propensities is None
