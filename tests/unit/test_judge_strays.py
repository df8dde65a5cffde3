"""Acks of generations that there never were, and of those that are only on their way. Through the core."""

from schemas.records import Ack, Release
from streams.judge.facts.workers import LIVE
from streams.judge.releases.strays import PATIENCE
from tests.judging import World


def released(workers: int = 8) -> World:
    """`workers` have applied generation 1."""
    made = World({"release": {"steps": [{"weight": 0.5, "for": "1h"}], "ack_deadline": "2s"}})
    for number in range(workers):
        made.heartbeat(f"w{number}")
    made.command("start", "v1")
    for number in range(workers):
        made.ack(f"w{number}")
    made.decide()
    return made


def told(made: World) -> list[str]:
    return [reason for _, reason in made.judge.strays(made.now)]


def missing(made: World) -> list[tuple[str, str]]:
    return [(a.labels["worker"], a.status) for a in made.alerts if a.rule == "ack_missing"]


def test_an_ack_of_a_generation_that_never_was_is_told_once_and_changes_nothing() -> None:
    made = released()
    for _ in range(4):
        made.ack("w3", generation=99)
        made.heartbeat("w3", generation=99)
    assert told(made) == []
    made.now += PATIENCE + 1
    (reason,) = told(made)
    assert "generation: found 99 of worker w3, expected at most 1, the newest release of ranker" in reason
    made.heartbeat("w3", generation=99)
    made.now += PATIENCE + 1
    assert told(made) == []
    assert made.release.generation == 1


def test_it_does_not_count_as_having_applied_what_stands() -> None:
    made = released()
    made.command("start", "v2")
    for number in range(8):
        made.ack(f"w{number}", generation=2 if number else 99)
    made.now += 2_000
    made.decide()
    assert missing(made) == [("w0", "firing")]


def test_a_worker_that_says_so_is_alive_all_the_same() -> None:
    made = released()
    made.command("start", "v2")
    made.now += LIVE
    made.heartbeat("w0", generation=99)
    made.decide()
    assert ("w0", "firing") in missing(made)


def test_an_ack_that_is_faster_than_its_release_counts_once_that_is_known() -> None:
    made = released()
    forced = Release(
        model="ranker", generation=2, ts=made.now, stable="v0", phase="rolled_back", decision_id="x",
        reason="by force",
    )  # fmt: skip
    for number in range(8):
        made.ack(f"w{number}", generation=2)
    made.decide()
    made.judge.adopt(forced)
    made.now += 2_000
    made.decide()
    assert missing(made) == []
    made.now += PATIENCE
    assert told(made) == []


def test_what_its_worker_says_is_told_with_it() -> None:
    made = released()
    made.judge.ack(
        Ack(model="ranker", worker="w1", ts=made.now, kind="ack", generation=2, status="failed",
            error="generation 2 is refused: it is not signed")
    )  # fmt: skip
    made.now += PATIENCE + 1
    (reason,) = told(made)
    assert reason.endswith("its worker says: generation 2 is refused: it is not signed")


def test_an_ack_of_a_model_without_any_release_is_one_too() -> None:
    made = World()
    made.judge.ack(Ack(model="nobody", worker="w1", ts=made.now, kind="heartbeat", generation=4))
    made.judge.ack(Ack(model="idle", worker="w1", ts=made.now, kind="heartbeat", generation=0))
    made.now += PATIENCE + 1
    (reason,) = told(made)
    assert "expected at most 0, the newest release of nobody" in reason


def test_eight_workers_that_follow_raise_nothing_and_each_that_does_not_is_one_alert() -> None:
    made = released()
    made.command("start", "v2")
    for number in (0, 1, 2, 3, 4, 5):
        made.ack(f"w{number}", generation=2)
    made.fail("w6", "no such version")
    made.decide()
    assert missing(made) == [("w6", "firing")]
    made.now += 2_000
    made.decide()
    assert missing(made) == [("w6", "firing"), ("w7", "firing")]
    made.ack("w6", generation=2)
    made.ack("w7", generation=2)
    made.decide()
    assert sorted(missing(made)[2:]) == [("w6", "resolved"), ("w7", "resolved")]
    made.now += 60_000
    made.decide()
    assert len(missing(made)) == 4
