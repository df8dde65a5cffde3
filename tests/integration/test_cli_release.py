"""`headgate release` against a real judge and a real serving worker, started by the command line itself."""

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest

from infra.topics import create
from schemas.settings import Settings
from tests import serving_models
from tests.integration.headgate_command import Headgate

MODELS = "models"


@pytest.fixture(scope="module")
def headgate(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Headgate:
    create(settings, forever=True)
    return Headgate(settings, tmp_path_factory.mktemp("headgate"))


@pytest.fixture(scope="module")
def judge(headgate: Headgate) -> Iterator[None]:
    with headgate.running("streams", "judge"):
        yield


@pytest.fixture(scope="module")
def worker(headgate: Headgate) -> Iterator[None]:
    """One worker that serves `ranker` in versions v1, v2 and v3."""
    for seed, version in enumerate(("v1", "v2", "v3")):
        serving_models.add_version(headgate.folder / MODELS, version, seed)
    with headgate.running("serve", "--models", MODELS):
        yield


@pytest.fixture
def model() -> str:
    """A model that no other test has, and nobody serves."""
    return f"ranker-{uuid4().hex[:8]}"


def test_a_command_without_waiting_is_only_asked(headgate: Headgate, model: str) -> None:
    done = headgate("release", "start", model, "v1")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"{model}: asked the judge to start; ")
    asked = headgate("release", "pause", model, "--json").json
    assert asked["command_id"]
    assert asked["release"] is None
    empty = headgate("release", "start", model, "")
    assert (empty.status, empty.err) == (1, 'release start: version: found "", expected str of length >= 1\n')
    status = headgate("release", "status", model)
    assert status.status == 1
    assert f"{model} has no release yet: start by " in status.err
    assert "is not answered yet; see whether `headgate streams judge` runs" in status.err


def test_without_a_judge_waiting_ends_with_what_to_do(headgate: Headgate, model: str) -> None:
    done = headgate("release", "promote", model, "--wait", "--timeout", "500ms")
    assert done.status == 1
    (line,) = done.err.splitlines()
    assert "no answer from the judge" in line
    assert "headgate streams judge" in line


def test_a_model_without_a_release_has_no_status(headgate: Headgate, model: str) -> None:
    done = headgate("release", "status", model)
    assert done.status == 1
    assert f"headgate release start {model} VERSION" in done.err


@pytest.mark.usefixtures("judge")
def test_a_refused_command_says_why(headgate: Headgate, model: str) -> None:
    done = headgate("release", "promote", model, "--wait")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"{model}: promote was refused: ")


@pytest.mark.usefixtures("judge")
def test_a_release_that_nobody_serves_is_not_acknowledged(headgate: Headgate, model: str) -> None:
    done = headgate("release", "start", model, "v1", "--wait", "--timeout", "5s")
    assert done.status == 1
    assert "generation 1 is released, but no serving worker is live" in done.err
    assert headgate("release", "status", model, "--json").json["generation"] == 1


@pytest.mark.usefixtures("judge", "worker")
class TestWithAWorker:
    """In order: one release after another of the model that the worker serves."""

    def test_the_first_start_is_stable_and_waited_for(self, headgate: Headgate) -> None:
        done = headgate("release", "start", "ranker", "v1", "--wait", "--json", "--reason", "first")
        assert (done.status, done.err) == (0, "")
        outcome = done.json
        assert (outcome["release"]["stable"], outcome["release"]["phase"]) == ("v1", "stable")
        assert len(outcome["acknowledged"]) == 1
        assert outcome["release"]["evidence"]["command_id"] == outcome["command_id"]

    def test_status_tells_who_has_acknowledged(self, headgate: Headgate) -> None:
        status = headgate("release", "status", "ranker", "--json").json
        assert (status["phase"], status["stable"], status["generation"]) == ("stable", "v1", 1)
        assert status["settled"] is True
        (worker,) = status["workers"]
        assert (worker["state"], worker["generation"], worker["loaded"]) == ("applied", 1, ["v1"])
        shown = headgate("release", "status", "ranker").out
        assert "v1 (100 % of the traffic)" in shown
        assert worker["worker"] in shown

    def test_a_canary_gets_its_share(self, headgate: Headgate) -> None:
        policy = headgate.file("p.yaml", "model: ranker\nrelease:\n  steps: [{weight: 0.2, for: 1h}]\n")
        assert headgate("policy", "apply", policy).status == 0
        done = headgate("release", "start", "ranker", "v2", "--wait")
        assert (done.status, done.err) == (0, "")
        assert "ranker: generation 2, canary: " in done.out
        assert "applied by " in done.out
        status = headgate("release", "status", "ranker", "--json").json
        assert (status["candidate"], status["phase"]) == ("v2", "canary")

    def test_a_watcher_sees_what_comes(self, headgate: Headgate) -> None:
        with headgate.running("release", "status", "ranker", "--watch", "--json") as watching:
            assert watching.stdout is not None
            assert json.loads(watching.stdout.readline())["phase"] == "canary"
            assert headgate("release", "pause", "ranker", "--wait").status == 0
            phases = (json.loads(line)["phase"] for line in watching.stdout)
            assert "paused" in (next(phases) for _ in range(5))

    def test_going_back_is_applied_by_the_worker(self, headgate: Headgate) -> None:
        done = headgate("release", "rollback", "ranker", "--wait", "--json")
        assert (done.status, done.err) == (0, "")
        release = done.json["release"]
        assert (release["stable"], release["candidate"], release["weight"]) == ("v1", None, 0.0)

    def test_a_version_that_no_worker_has_is_refused_and_nothing_changes(self, headgate: Headgate) -> None:
        before = headgate("release", "status", "ranker", "--json").json["generation"]
        done = headgate("release", "start", "ranker", "v9", "--wait")
        assert done.status == 1
        (line,) = done.err.splitlines()
        assert "no live worker has a version v9 of ranker (they have v1, v2, v3)" in line
        assert headgate("release", "status", "ranker", "--json").json["generation"] == before

    def test_a_model_that_nobody_knows_is_refused(self, headgate: Headgate, model: str) -> None:
        done = headgate("release", "start", model, "v1", "--wait")
        assert done.status == 1
        assert f"nothing is known of a model {model}" in done.err

    def test_a_version_that_cannot_be_loaded_fails_and_the_worker_says_why(self, headgate: Headgate) -> None:
        broken = headgate.folder / MODELS / serving_models.MODEL / "v4"
        broken.mkdir()
        done = headgate("release", "start", "ranker", "v4", "--wait")
        assert done.status == 1
        (line,) = done.err.splitlines()
        assert "could not be applied by" in line
        assert "v4" in line
        assert headgate("release", "abort", "ranker", "--wait").status == 0

    def test_a_command_for_another_generation_is_refused(self, headgate: Headgate) -> None:
        done = headgate("release", "start", "ranker", "v2", "--generation", "1", "--wait")
        assert done.status == 1
        assert "it was meant for generation 1, found generation" in done.err

    def test_a_shadow_is_shown_and_ended(self, headgate: Headgate) -> None:
        assert headgate("release", "start", "ranker", "v2", "--shadow", "--wait").status == 0
        assert headgate("release", "status", "ranker", "--json").json["shadow"] == "v2"
        done = headgate("release", "promote", "ranker", "--wait")
        assert "v2 is a shadow; `start v2` makes it a canary" in done.err
        assert headgate("release", "abort", "ranker", "--wait").status == 0
        assert headgate("release", "status", "ranker", "--json").json["shadow"] is None

    def test_what_was_promoted_is_watched_with_the_old_version_in_memory(self, headgate: Headgate) -> None:
        assert headgate("release", "start", "ranker", "v3", "--wait").status == 0
        assert headgate("release", "promote", "ranker", "--wait").status == 0
        status = headgate("release", "status", "ranker", "--json").json
        assert (status["phase"], status["stable"], status["candidate"]) == ("watching", "v3", "v1")
        assert status["workers"][0]["loaded"] == ["v1", "v3"]
        assert headgate("release", "abort", "ranker", "--wait").status == 0
        assert headgate("release", "status", "ranker", "--json").json["stable"] == "v1"

    def test_a_rollback_by_force_needs_no_judge_to_decide(self, headgate: Headgate) -> None:
        assert headgate("release", "start", "ranker", "v3", "--wait").status == 0
        before = headgate("release", "status", "ranker", "--json").json["generation"]
        done = headgate("release", "rollback", "ranker", "--force", "--wait", "--json", "--actor", "ada")
        assert (done.status, done.err) == (0, "")
        release = done.json["release"]
        assert (release["generation"], release["stable"], release["candidate"]) == (before + 1, "v1", None)
        assert "ada" in release["reason"]
        assert done.json["acknowledged"]


def test_by_force_and_to_a_version_is_refused(headgate: Headgate) -> None:
    done = headgate("release", "rollback", "ranker", "v1", "--force")
    assert done.status == 1
    assert "expected none" in done.err


def test_by_force_without_a_release_there_is_nothing_to_go_back_to(headgate: Headgate, model: str) -> None:
    done = headgate("release", "rollback", model, "--force")
    assert done.status == 1
    assert len(done.err.splitlines()) == 1
