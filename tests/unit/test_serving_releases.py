"""Releases made so: what serves, what is in memory and what is acknowledged, after which release and which
load."""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import HeadgateError
from schemas.records import Release
from serving import runtime
from serving.engine import Serving, Unready
from serving.releases import Releases, Standing, Word
from serving.repository import Fingerprint, Repository, size_of
from serving.runtime import Runtime
from tests import serving_models as models

SERVED = [models.MODEL]


class Worker:
    """Releases of a real repository, what was said of them, and a gate that loads wait at while it is
    closed."""

    def __init__(self, root: Path, budget: int = 0) -> None:
        self.root = root
        self.said: list[Word] = []
        self.loads: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        repository = Repository(root)

        def load(model: str, version: str) -> Runtime:
            self.loads.append(version)
            assert self.gate.wait(10)
            return runtime.load(repository.open(model, version))

        self.releases = Releases(repository, load, self.said.append, budget)

    def settle(self) -> None:
        """Steps until nothing is being loaded."""
        deadline = time.monotonic() + 10
        while self.releases.step(SERVED):
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def release(self, generation: int, stable: str, **fields: object) -> bool:
        fields = {"decision_id": "d", "reason": "test", "ts": 1_700_000_000_000, **fields}
        return self.releases.take(Release(model=models.MODEL, generation=generation, stable=stable, **fields))  # type: ignore[arg-type]

    @property
    def statuses(self) -> list[tuple[int, str]]:
        return [(word.generation, word.status) for word in self.said]

    @property
    def serving(self) -> tuple[int, list[str]]:
        """The generation that batches see, and the versions that they are answered by."""
        state = self.releases.state(models.MODEL)
        assert isinstance(state, Serving)
        parts = (state.stable, state.candidate, state.shadow)
        return state.release.generation, [part.version for part in parts if part is not None]

    @property
    def loaded(self) -> list[str]:
        return self.releases.standing(SERVED)[models.MODEL].loaded


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    for seed, version in enumerate(["v1", "v2", "v3"]):
        models.add_version(tmp_path, version, seed)
    made = Worker(tmp_path)
    yield made
    made.gate.set()
    made.releases.close()


def test_a_release_is_loaded_then_serves_then_is_acknowledged(worker: Worker) -> None:
    worker.release(1, "v1")
    worker.settle()
    assert worker.serving == (1, ["v1"])
    assert worker.said == [
        Word(models.MODEL, 1, "loading", []),
        Word(models.MODEL, 1, "applied", ["v1"]),
    ]


def test_candidate_and_shadow_are_loaded_too(worker: Worker) -> None:
    worker.release(1, "v1", candidate="v2", shadow="v3", weight=0.5)
    worker.settle()
    assert worker.serving == (1, ["v1", "v2", "v3"])


def test_the_old_state_serves_while_a_new_version_loads(worker: Worker) -> None:
    worker.release(1, "v1")
    worker.settle()
    worker.gate.clear()
    worker.release(2, "v1", candidate="v2")
    assert worker.releases.step(SERVED)
    assert worker.serving == (1, ["v1"])
    assert worker.statuses[-1] == (2, "loading")
    worker.gate.set()
    worker.settle()
    assert worker.serving == (2, ["v1", "v2"])


def test_going_back_does_not_wait_for_a_load(worker: Worker) -> None:
    worker.release(1, "v1")
    worker.settle()
    worker.gate.clear()
    worker.release(2, "v1", candidate="v2")
    worker.releases.step(SERVED)
    worker.release(3, "v1", phase="rolled_back")
    worker.releases.step(SERVED)
    assert worker.serving == (3, ["v1"])
    assert worker.statuses[-1] == (3, "applied")


def test_a_load_that_nobody_wants_any_more_is_dropped(worker: Worker) -> None:
    worker.release(1, "v1")
    worker.settle()
    worker.gate.clear()
    worker.release(2, "v1", candidate="v2")
    worker.releases.step(SERVED)
    worker.release(3, "v1")
    worker.gate.set()
    worker.settle()
    assert worker.loaded == ["v1"]
    assert (2, "applied") not in worker.statuses


def test_only_weights_change_at_once_and_load_nothing(worker: Worker) -> None:
    worker.release(1, "v1", candidate="v2", weight=0.1)
    worker.settle()
    worker.release(2, "v1", candidate="v2", weight=0.5)
    worker.releases.step(SERVED)
    assert worker.serving[0] == 2
    assert worker.loads == ["v1", "v2"]


@pytest.mark.parametrize("generation", [1, 4, 5])
def test_an_older_generation_is_ignored(worker: Worker, generation: int) -> None:
    worker.release(5, "v1")
    worker.settle()
    assert not worker.release(generation, "v2")
    worker.settle()
    assert worker.serving == (5, ["v1"])
    assert worker.statuses[-1] == (5, "applied")


def test_the_previous_version_stays_in_memory(worker: Worker) -> None:
    for generation, stable in enumerate(["v1", "v2"], start=1):
        worker.release(generation, stable)
        worker.settle()
    assert worker.loaded == ["v1", "v2"]
    worker.release(3, "v1")
    worker.releases.step(SERVED)
    assert worker.serving == (3, ["v1"])


def test_what_nobody_needs_is_evicted(worker: Worker) -> None:
    for generation, stable in enumerate(["v1", "v2", "v3"], start=1):
        worker.release(generation, stable)
        worker.settle()
    assert worker.loaded == ["v2", "v3"]


def test_a_failed_load_is_told_once_with_its_reason_while_the_old_state_serves(worker: Worker) -> None:
    worker.release(1, "v1")
    worker.settle()
    (worker.root / models.MODEL / "v2" / "model.onnx").write_bytes(b"broken")
    worker.release(2, "v2")
    for _ in range(5):
        worker.settle()
    assert worker.serving == (1, ["v1"])
    assert worker.statuses[2:] == [(2, "loading"), (2, "failed")]
    assert "expected an ONNX model" in (worker.said[-1].error or "")
    assert worker.loads == ["v1", "v2"]


def test_a_failed_load_is_tried_again_when_its_files_change(worker: Worker) -> None:
    worker.release(1, "v1")
    worker.settle()
    worker.release(2, "v9")
    worker.settle()
    assert worker.statuses[-1] == (2, "failed")
    models.add_version(worker.root, "v9")
    worker.settle()
    assert worker.serving == (2, ["v9"])


def test_a_failed_load_is_tried_again_for_the_next_generation(worker: Worker) -> None:
    worker.release(1, "v9")
    worker.settle()
    worker.release(2, "v9")
    worker.settle()
    assert worker.statuses == [(1, "loading"), (1, "failed"), (2, "loading"), (2, "failed")]


def test_a_load_that_raises_anything_is_a_failed_one(tmp_path: Path) -> None:
    said: list[Word] = []

    def load(model: str, version: str) -> Runtime:
        raise MemoryError(f"{model} {version} is too large")

    releases = Releases(Repository(tmp_path), load, said.append)
    releases.take(
        Release(model="m", generation=1, ts=1_700_000_000_000, stable="v", decision_id="", reason="")
    )
    while releases.step(["m"]):
        time.sleep(0.001)
    assert (said[-1].status, said[-1].error) == ("failed", "version v: MemoryError: m v is too large")


def test_a_fresh_worker_serves_stable_alone_where_the_candidate_is_broken(worker: Worker) -> None:
    worker.release(4, "v1", candidate="v9", weight=0.5)
    worker.settle()
    assert worker.serving == (4, ["v1"])
    assert worker.statuses[-1] == (4, "failed")
    standing = worker.releases.standing(SERVED)[models.MODEL]
    assert (standing.applied, standing.makeshift) == (0, True)


def test_what_nobody_thought_of_is_one_models_failure_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(Repository):
        def fingerprint(self, model: str, version: str) -> Fingerprint:
            if model == "odd":
                raise ValueError("nobody thought of it")
            return super().fingerprint(model, version)

    said: list[Word] = []
    models.add_version(tmp_path, "v1")
    repository = Odd(tmp_path)
    releases = Releases(repository, lambda *one: runtime.load(repository.open(*one)), said.append)
    for model in ("odd", models.MODEL):
        releases.take(
            Release(model=model, generation=1, ts=1_700_000_000_000, stable="v1", decision_id="", reason="")
        )
    while releases.step(["odd", models.MODEL]):
        time.sleep(0.001)
    assert {(word.model, word.status, word.error) for word in said} == {
        ("odd", "failed", "ValueError: nobody thought of it"),
        (models.MODEL, "loading", None),
        (models.MODEL, "applied", None),
    }
    assert caplog.text.count("generation 1 of model odd\nTraceback") == 1


def test_a_fresh_worker_with_a_broken_stable_version_says_why(worker: Worker) -> None:
    worker.release(4, "v9")
    worker.settle()
    state = worker.releases.state(models.MODEL)
    assert isinstance(state, Unready)
    assert "expected version v9 of ranker" in state.reason


def test_a_model_without_a_release_says_what_to_do(worker: Worker) -> None:
    assert worker.releases.state(models.MODEL) == Unready(
        "no release of model ranker yet: headgate release start ranker VERSION"
    )


def test_a_model_that_is_being_loaded_for_the_first_time_says_so(worker: Worker) -> None:
    worker.gate.clear()
    worker.release(3, "v1")
    worker.releases.step(SERVED)
    state = worker.releases.state(models.MODEL)
    assert isinstance(state, Unready)
    assert state.reason == "generation 3 of model ranker is being loaded"


def test_releases_of_models_of_other_workers_are_neither_loaded_nor_acknowledged(worker: Worker) -> None:
    worker.release(1, "v1")
    worker.releases.step(["another"])
    assert (worker.loads, worker.said) == ([], [])


def test_a_model_without_a_release_stands_at_generation_0(worker: Worker) -> None:
    assert worker.releases.standing(SERVED) == {models.MODEL: Standing(0, [])}


def test_batches_are_limited_by_the_manifests_in_force(tmp_path: Path) -> None:
    models.add_version(tmp_path, "v1", batch={"max": 4, "wait_ms": 1.5})
    worker = Worker(tmp_path)
    assert worker.releases.limits() == (1, 0.0)
    worker.release(1, "v1")
    worker.settle()
    assert worker.releases.limits() == (4, 1.5)


def test_a_repository_mistake_is_told_as_it_is(worker: Worker) -> None:
    worker.release(1, "v9")
    worker.settle()
    with pytest.raises(HeadgateError) as caught:
        Repository(worker.root).open(models.MODEL, "v9")
    assert worker.said[-1].error == str(caught.value)


def sized(tmp_path: Path, budget_of: float) -> Worker:
    """A worker whose budget is so many times what v1's files have."""
    for seed, version in enumerate(["v1", "v2", "v3", "v4", "v5"]):
        models.add_version(tmp_path, version, seed)
    size = size_of(Repository(tmp_path).fingerprint(models.MODEL, "v1"))
    return Worker(tmp_path, budget=int(budget_of * size))


def test_within_the_budget_what_nobody_needs_stays_in_memory_and_comes_back_without_a_load(
    tmp_path: Path,
) -> None:
    worker = sized(tmp_path, budget_of=3.5)
    for generation, stable in enumerate(["v1", "v2", "v3", "v1"], start=1):
        worker.release(generation, stable)
        worker.settle()
    assert worker.loads == ["v1", "v2", "v3"]
    assert worker.serving == (4, ["v1"])


def test_beyond_the_budget_the_version_goes_that_has_been_unneeded_for_longest(tmp_path: Path) -> None:
    worker = sized(tmp_path, budget_of=4.5)
    for generation, stable in enumerate(["v1", "v2", "v3", "v4", "v5"], start=1):
        worker.release(generation, stable)
        worker.settle()
    assert worker.loaded == ["v2", "v3", "v4", "v5"]


def test_room_is_made_before_a_load(tmp_path: Path) -> None:
    worker = sized(tmp_path, budget_of=3.5)
    for generation, stable in enumerate(["v1", "v2", "v3"], start=1):
        worker.release(generation, stable)
        worker.settle()
    worker.gate.clear()
    worker.release(4, "v4")
    worker.releases.step(SERVED)
    assert worker.loaded == ["v2", "v3"]
    worker.gate.set()


def test_stable_candidate_shadow_and_previous_are_never_evicted(tmp_path: Path) -> None:
    worker = sized(tmp_path, budget_of=4.5)
    for generation, stable in enumerate(["v5", "v1", "v2"], start=1):
        worker.release(generation, stable)
        worker.settle()
    worker.release(4, "v2", candidate="v3", shadow="v4", weight=0.5)
    worker.settle()
    assert worker.loaded == ["v1", "v2", "v3", "v4"]


def test_a_version_that_does_not_fit_beside_what_is_needed_is_refused_while_the_old_one_serves(
    tmp_path: Path,
) -> None:
    worker = sized(tmp_path, budget_of=2.5)
    for generation, stable in enumerate(["v1", "v2", "v3"], start=1):
        worker.release(generation, stable)
        worker.settle()
    assert worker.serving == (2, ["v2"])
    assert worker.statuses[-1] == (3, "failed")
    assert "raise memory_mib under [serving]" in (worker.said[-1].error or "")
    assert worker.loads == ["v1", "v2"]


def test_a_spare_version_whose_files_have_changed_is_loaded_anew(tmp_path: Path) -> None:
    worker = sized(tmp_path, budget_of=10)
    for generation, stable in enumerate(["v1", "v2", "v3"], start=1):
        worker.release(generation, stable)
        worker.settle()
    (tmp_path / models.MODEL / "v1" / "notes.txt").write_text("another")
    worker.release(4, "v1")
    worker.settle()
    assert worker.loads == ["v1", "v2", "v3", "v1"]


def test_a_version_that_goes_from_the_repository_serves_on_from_memory(worker: Worker) -> None:
    worker.release(1, "v1")
    worker.settle()
    shutil.rmtree(worker.root / models.MODEL / "v1")
    worker.release(2, "v1", candidate="v2", weight=0.5)
    worker.settle()
    assert worker.serving == (2, ["v1", "v2"])
