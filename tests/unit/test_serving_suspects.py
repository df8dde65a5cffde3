"""Which requests and versions end workers: what is suspected, what is guilty, what is forgiven."""

import pytest

from schemas.records import Arm
from serving import suspects
from serving.fitness import REST, TRIES, Fitness
from serving.flight import Aboard, Place
from serving.loads import Loads
from serving.suspects import Suspects

ONE, OTHER = Place(3, 41), Place(0, 7)
FILES = (("model.onnx", 1, 2),)


def aboard(*places: Place, arm: Arm = "stable") -> Aboard:
    return Aboard(since=1, label="ranker/v1", arm=arm, places=[*places])


def test_what_ran_together_when_a_worker_ended_runs_alone_next_time() -> None:
    known = Suspects()
    assert known.add(aboard(ONE, OTHER), "SIGSEGV") is None
    assert known.alone(ONE, "stable")
    assert known.alone(OTHER, "stable")
    assert not known.alone(Place(3, 42), "stable")


def test_what_ran_alone_the_second_time_is_guilty_and_the_others_are_not() -> None:
    known = Suspects()
    known.add(aboard(ONE, OTHER), "SIGSEGV")
    guilty = known.add(aboard(ONE), "no result within 30 s")
    assert guilty is not None
    assert (guilty.partition, guilty.offset) == ONE
    assert known.reason(ONE, "stable") == (
        "running this request has ended the worker 2 times: SIGSEGV and then no result within 30 s"
    )
    assert known.reason(OTHER, "stable") is None


def test_one_end_is_not_enough_even_of_what_ran_alone() -> None:
    known = Suspects()
    assert known.add(aboard(ONE), "SIGKILL") is None
    assert known.reason(ONE, "stable") is None


def test_what_ran_with_others_twice_is_not_guilty_yet() -> None:
    known = Suspects()
    for _ in range(2):
        known.add(aboard(ONE, OTHER), "SIGKILL")
    assert known.reason(ONE, "stable") is None
    assert known.add(aboard(ONE), "SIGKILL") is not None


def test_the_arm_of_an_answer_does_not_matter_for_it_may_change_between_tries() -> None:
    known = Suspects()
    known.add(aboard(ONE, OTHER, arm="candidate"), "SIGSEGV")
    assert known.alone(ONE, "stable")


def test_a_shadow_is_suspected_apart_from_its_answer() -> None:
    known = Suspects()
    for _ in range(2):
        known.add(aboard(ONE, arm="shadow"), "SIGSEGV")
    assert known.reason(ONE, "shadow") is not None
    assert known.reason(ONE, "stable") is None
    assert not known.alone(ONE, "stable")


def test_a_successor_knows_what_its_predecessors_knew() -> None:
    known = Suspects()
    known.add(aboard(ONE, OTHER), "SIGSEGV")
    known.add(aboard(ONE), "SIGSEGV")
    successor = Suspects(known.list())
    assert successor.reason(ONE, "stable") == known.reason(ONE, "stable")
    assert successor.alone(OTHER, "stable")


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "MOST", 3)
    known = Suspects()
    for offset in range(5):
        known.add(aboard(Place(0, offset)), "SIGSEGV")
    assert [one.offset for one in known.list()] == [2, 3, 4]


def test_a_version_that_ends_two_workers_in_a_row_is_not_loaded_again() -> None:
    loads = Loads()
    loads.add("ranker/v2", FILES, "SIGSEGV")
    assert Loads(loads.list()).reason("ranker/v2", FILES) is None
    loads.add("ranker/v2", FILES, "SIGKILL")
    assert Loads(loads.list()).reason("ranker/v2", FILES) == (
        "ranker/v2: loading it has ended the worker 2 times: SIGSEGV and then SIGKILL; mend its files"
    )


def test_a_version_whose_files_changed_may_be_loaded() -> None:
    loads = Loads()
    for _ in range(2):
        loads.add("ranker/v2", FILES, "SIGSEGV")
    assert loads.reason("ranker/v2", (("model.onnx", 9, 2),)) is None


def test_a_version_is_forgiven_one_end_once_a_worker_got_past_its_loads() -> None:
    loads = Loads()
    loads.add("ranker/v1", FILES, "SIGKILL")
    loads.forget_first_tries()
    loads.add("ranker/v1", FILES, "SIGKILL")
    assert loads.reason("ranker/v1", FILES) is None


def test_a_version_whose_load_does_not_end_is_not_loaded_a_second_time() -> None:
    loads = Loads()
    loads.condemn("ranker/v2", FILES, "not loaded within 300 s")
    loads.forget_first_tries()
    assert Loads(loads.list()).reason("ranker/v2", FILES) == (
        "ranker/v2: loading it has ended the worker once: not loaded within 300 s; mend its files"
    )
    assert loads.reason("ranker/v2", (("model.onnx", 9, 2),)) is None


def ended(fitness: Fitness, times: int, label: str = "ranker/v2", now: float = 100.0) -> None:
    for _ in range(times):
        fitness.add(label, False, "SIGSEGV", now)


def test_a_version_whose_runs_end_worker_after_worker_rests() -> None:
    fitness = Fitness()
    ended(fitness, TRIES - 1)
    assert fitness.reason("ranker/v2", 100.0) is None
    ended(fitness, 1)
    assert Fitness(fitness.list()).reason("ranker/v2", 101.0) == (
        "ranker/v2: its last 4 runs have each ended the worker (SIGSEGV, SIGSEGV, SIGSEGV, SIGSEGV); "
        "it is tried again 60 s after the last"
    )
    assert fitness.reason("ranker/v1", 101.0) is None


def test_a_version_that_completes_runs_between_is_fit() -> None:
    fitness = Fitness()
    ended(fitness, TRIES - 1)
    fitness.add("ranker/v2", True, "SIGSEGV", 100.0)
    ended(fitness, TRIES - 1)
    assert fitness.reason("ranker/v2", 100.0) is None


def test_a_version_that_rested_is_tried_again_and_rests_again_at_the_next_end() -> None:
    fitness = Fitness()
    ended(fitness, TRIES)
    assert fitness.reason("ranker/v2", 100.0 + REST) is None
    ended(fitness, 1, now=300.0)
    assert fitness.reason("ranker/v2", 300.0 + REST - 1) is not None
