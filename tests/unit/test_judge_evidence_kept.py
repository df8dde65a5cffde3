"""What is folded is kept and recalled: a successor decides what its predecessor would have, without reading
all panes again, and each decision follows from the log alone.
"""

import random
from typing import Any

import msgspec
import pytest

from schemas.records import ENCODER
from streams.judge.releases.checkpoint import Checkpoint
from streams.judge.verify import Result
from tests.judging import START, pane
from tests.taping import TapedWorld

RELEASE: dict[str, Any] = {
    "steps": [{"weight": 0.2, "for": "20s"}, {"weight": 0.5, "for": "20s"}],
    "min_samples": 500,
    "guardrails": [{"metric": "ctr", "worse_by": 0.0}, {"metric": "error_rate", "above": 0.05}],
    "success": {"metric": "ctr", "better_by": -0.1},
    "timeout": "1000s",
    "no_data": "400s",
    "cooldown": "30s",
    "watch_after": "100s",
    "ack_deadline": "2s",
}
SAME = {"v1": 0.1, "v2": 0.1}
WORSE = {"v1": 0.1, "v2": 0.094}


def canary(seed: int = 0, **changes: object) -> TapedWorld:
    made = TapedWorld({"release": RELEASE | changes}, seed)
    made.command("start", "v1")
    made.seconds(5, {"v1": 0.1})
    made.command("start", "v2")
    return made


def decisions(made: TapedWorld) -> list[dict[str, Any]]:
    """The records as they were written."""
    return [msgspec.json.decode(ENCODER.encode(record)) for record in made.releases]


def play(made: TapedWorld, seconds: int, rates: dict[str, float], restarts: frozenset[int]) -> TapedWorld:
    for second in range(seconds):
        if second in restarts:
            made.restart()
        made.second(rates)
    return made


@pytest.mark.parametrize("rates", [SAME, WORSE, {"v1": 0.1, "v2": 0.02}], ids=["same", "worse", "much worse"])
@pytest.mark.parametrize("seed", range(3))
def test_a_judge_that_is_started_anew_again_and_again_decides_the_same_at_the_same_time(
    rates: dict[str, float], seed: int
) -> None:
    chance = random.Random(seed)
    restarts = frozenset(chance.sample(range(160), 40))
    undisturbed = play(canary(seed), 160, rates, frozenset())
    restarted = play(canary(seed), 160, rates, restarts)
    assert restarted.starts == 40
    assert decisions(restarted) == decisions(undisturbed)


def test_a_successor_reads_the_panes_of_the_last_seconds_only_however_long_the_release_has_run() -> None:
    made = canary(steps=[{"weight": 0.5, "for": "1h"}])
    read = []
    for _ in range(6):
        made.seconds(40, SAME)
        read.append(made.restart())
    assert max(read) < 60
    assert len(made.log["metrics.panes"]) > 600
    assert made.release.phase == "canary"


def test_what_is_folded_counts_once_although_its_panes_are_read_again() -> None:
    made = canary(steps=[{"weight": 0.5, "for": "1h"}])
    made.seconds(60, SAME)
    before = made.written["ranker"]
    made.safe, made.floor = 0, -(1 << 62)  # as if nothing had been committed
    made.restart()
    made.second(SAME)
    made.seconds(6, SAME)
    after = made.written["ranker"]
    assert before.folded is not None
    assert after.folded is not None
    assert before.folded.panes < after.folded.panes <= 68
    assert after.folded.plain["predictions"] < 68 * 2_200


def test_every_decision_is_found_again_from_the_log_alone() -> None:
    made = play(canary(watch_after="30s"), 120, SAME, frozenset({30, 31, 70}))
    assert made.release.phase == "stable"
    made.command("start", "v3")
    made.command("pause")
    made.seconds(5, SAME | {"v3": 0.05})
    made.command("resume")
    made.until("rolled_back", SAME | {"v3": 0.05})
    found = made.verified()
    assert [(one.generation, one.result, one.differences) for one in found] == [
        (record.generation, Result.SAME, ()) for record in made.releases
    ]
    assert {one.phase for one in found} == {"stable", "canary", "watching", "paused", "rolled_back"}


def test_a_decision_that_does_not_follow_from_the_log_is_told_apart_and_what_comes_after_it_is_not() -> None:
    made = play(canary(watch_after="30s"), 100, SAME, frozenset())
    record = next(record for record in made.releases if record.phase == "watching")
    assert record.evidence is not None
    record.evidence = record.evidence | {"statistic": 99.0}
    results = {one.generation: one for one in made.verified()}
    assert results[record.generation].result is Result.DIFFERENT
    (difference,) = results[record.generation].differences
    assert difference.startswith("evidence.statistic: recorded 99.0, found ")
    others = [one.result for generation, one in results.items() if generation != record.generation]
    assert set(others) == {Result.SAME}


def test_late_counts_of_a_pane_that_is_folded_change_nothing() -> None:
    made = canary(steps=[{"weight": 0.5, "for": "1h"}])
    made.seconds(40, SAME)
    before = made.written["ranker"].folded
    assert before is not None
    made.take(pane("v2", START + 10_000, arm="candidate", generation=2, number=9, sums={"late": 3.0}, part=7))
    made.take(pane("v2", START + 9_000, arm="candidate", generation=2, number=9, sums={"late": 3.0}, part=7))
    made.seconds(20, SAME)
    after = made.written["ranker"].folded
    assert after is not None
    assert after.panes - before.panes <= 20
    assert after.plain.get("late", 0.0) == 0.0


def test_a_pause_and_its_end_begin_no_new_stratum_but_another_share_does() -> None:
    made = canary(steps=[{"weight": 0.2, "for": "30s"}, {"weight": 0.5, "for": "1h"}])
    for _ in range(4):
        made.seconds(3, SAME)
        made.command("pause")
        made.seconds(3, SAME)
        made.command("resume")
    made.seconds(60, SAME)
    folded = made.written["ranker"].folded
    assert folded is not None
    assert len({cell.stratum for cell in folded.cells}) == 2


@pytest.mark.parametrize("field", ["folded", "settled", "heard", "closed", "as_of", "history", "outlook"])
def test_a_checkpoint_without_a_field_of_ours_is_one_of_an_older_judge(field: str) -> None:
    made = canary(steps=[{"weight": 0.5, "for": "1h"}])
    made.seconds(40, SAME)
    plain = msgspec.json.decode(ENCODER.encode(made.written["ranker"]))
    del plain[field]
    made.written["ranker"] = msgspec.json.decode(msgspec.json.encode(plain), type=Checkpoint)
    made.safe, made.floor = 0, -(1 << 62)  # an older judge holds the offset back
    made.restart()
    made.seconds(10, SAME)
    assert made.until("rolled_back", {"v1": 0.1, "v2": 0.02}) < 60


def test_where_the_evidence_is_lost_the_judge_says_of_whom_and_since_when() -> None:
    made = canary(steps=[{"weight": 0.5, "for": "1h"}])
    made.seconds(40, SAME)
    assert made.judge.lost() == {}
    made.written.clear()
    made.restart()
    (lost,) = made.judge.lost().values()
    assert lost == made.release.ts
    for record, entry in zip(made.records[: made.safe], made.log["metrics.panes"], strict=False):
        made.judge.reread(record, entry.timestamp, {"ranker"})
    made.seconds(10, SAME)
    folded = made.written["ranker"].folded
    assert folded is not None
    assert folded.panes > 40
