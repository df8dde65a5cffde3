"""The course of a release through the judge's core: commands, steps, verdicts, pauses, and what a successor
makes of it.
"""

import pytest

from schemas.records import Command
from tests.judging import World

RELEASE = {
    "steps": [{"weight": 0.2, "for": "5s"}, {"weight": 0.5, "for": "5s"}],
    "min_samples": 500,
    "guardrails": [{"metric": "ctr", "worse_by": 0.0}, {"metric": "error_rate", "above": 0.05}],
    "success": {"metric": "ctr", "better_by": -0.1},
    "timeout": "100s",
    "no_data": "4s",
    "cooldown": "30s",
    "watch_after": "20s",
    "ack_deadline": "2s",
}
SAME = {"v1": 0.1, "v2": 0.1}
WORSE = {"v1": 0.1, "v2": 0.05}


def world(**changes: object) -> World:
    made = World({"release": RELEASE | changes})
    made.command("start", "v1")
    made.seconds(5, {"v1": 0.1})
    return made


def canary(**changes: object) -> World:
    made = world(**changes)
    made.command("start", "v2")
    return made


def test_the_first_start_of_a_model_makes_that_version_stable_at_once() -> None:
    made = World()
    made.command("start", "v1")
    assert (made.release.generation, made.release.phase, made.release.stable) == (1, "stable", "v1")
    assert made.release.candidate is None
    assert made.release.weight == 0


def test_a_start_gives_the_candidate_the_first_steps_share_and_a_new_salt() -> None:
    made = world()
    salt = made.release.salt
    made.command("start", "v2")
    assert (made.release.phase, made.release.candidate, made.release.weight) == ("canary", "v2", 0.2)
    assert made.release.generation == 2
    assert made.release.salt not in ("", salt)


def test_a_healthy_candidate_goes_through_the_steps_is_promoted_watched_and_left_alone() -> None:
    made = canary()
    made.until("watching", SAME)
    assert [record.weight for record in made.releases[1:]] == [0.2, 0.5, 0.02]
    assert (made.release.stable, made.release.candidate) == ("v2", "v1")
    assert made.until("stable", SAME) <= 21
    assert (made.release.stable, made.release.candidate, made.release.weight) == ("v2", None, 0)
    assert [record.generation for record in made.releases] == [1, 2, 3, 4, 5]


def test_a_worse_candidate_is_rolled_back_with_the_numbers_in_the_evidence() -> None:
    made = canary()
    assert made.until("rolled_back", WORSE) < 20
    assert (made.release.stable, made.release.candidate, made.release.weight) == ("v1", None, 0)
    evidence = made.release.evidence
    assert evidence is not None
    assert evidence["test"] == "ctr worse_by 0"
    assert evidence["statistic"] > evidence["boundary"] > 0
    assert evidence["lower"] < evidence["effect"] < evidence["upper"] < 0
    assert evidence["alpha"] == 0.025
    assert set(evidence["samples"]) == {"v1", "v2"}
    assert evidence["panes"]["number"] > 0
    assert evidence["as_of"]["metrics.panes"]["0"] > 0
    assert "v2" in made.release.reason


def test_a_rollback_raises_an_alert_after_the_release_record() -> None:
    made = canary()
    made.until("rolled_back", WORSE)
    (alert,) = [alert for alert in made.alerts if alert.rule == "release_rolled_back"]
    assert (alert.status, alert.severity, alert.labels["version"]) == ("firing", "page", "v2")


def test_a_new_version_that_turns_out_worse_while_it_is_watched_is_rolled_back_to_the_old_one() -> None:
    made = canary(watch_weight=0.3, watch_after="200s")
    made.until("watching", SAME)
    made.until("rolled_back", {"v1": 0.1, "v2": 0.02})
    assert made.release.stable == "v1"


def test_an_absolute_guardrail_rolls_back_without_regard_to_the_stable_version() -> None:
    made = canary(guardrails=[{"metric": "ctr", "below": 0.08}])
    made.until("rolled_back", {"v1": 0.05, "v2": 0.05})
    assert made.release.evidence is not None
    assert made.release.evidence["test"] == "ctr below 0.08"


def test_without_proof_in_time_the_release_is_paused_and_keeps_its_weight() -> None:
    made = canary(timeout="12s", min_samples=1_000_000)
    made.until("paused", SAME)
    assert made.release.weight == 0.5
    assert made.release.evidence is not None
    assert made.release.evidence["outcome"] == "Inconclusive"
    made.seconds(30, SAME)
    assert made.release.phase == "paused"


def test_a_paused_release_is_still_rolled_back() -> None:
    made = canary()
    made.command("pause")
    made.until("rolled_back", WORSE)


def test_a_paused_release_takes_no_step_and_goes_on_where_it_was_when_it_is_resumed() -> None:
    made = canary()
    made.seconds(2, SAME)
    made.command("pause")
    made.seconds(10, SAME)
    assert (made.release.phase, made.release.weight) == ("paused", 0.2)
    made.command("resume")
    made.seconds(2, SAME)
    assert [record.phase for record in made.releases[-2:]] == ["paused", "canary"]
    assert made.release.weight == 0.2
    made.seconds(2, SAME)
    assert made.release.weight == 0.5


def test_silence_of_an_arm_pauses_and_its_data_resume_by_themselves() -> None:
    made = canary()
    made.seconds(2, SAME)
    made.now += 6_000
    made.progress()
    made.decide()
    assert "no data" in made.release.reason
    paused = len(made.releases)
    made.seconds(2, SAME)
    assert made.releases[paused].phase == "canary"
    assert "data of both arms" in made.releases[paused].reason


def test_nothing_is_decided_by_itself_without_a_release_policy() -> None:
    made = World()
    made.command("start", "v1")
    made.seconds(2, {"v1": 0.1})
    made.command("start", "v2")
    made.seconds(60, {"v1": 0.1, "v2": 0.01})
    assert (made.release.phase, made.release.weight) == ("canary", 0.1)
    made.command("promote")
    assert (made.release.phase, made.release.stable) == ("watching", "v2")


@pytest.mark.parametrize(
    ("word", "version", "reason"),
    [
        ("start", "v3", "v2 is canary"),
        ("start", None, "needs a version"),
        ("start", "v1", "stable version already"),
        ("promote", "v9", "found version v9"),
        ("resume", None, "not paused"),
    ],
)
def test_a_command_that_cannot_be_carried_out_is_refused_with_a_reason(
    word: Command, version: str | None, reason: str
) -> None:
    made = canary()
    before = made.release
    made.command(word, version)
    assert made.release == before
    assert reason in made.checkpoints[-1].refusals[-1].reason


def test_a_version_that_was_rolled_back_cannot_start_again_before_its_cooldown() -> None:
    made = canary()
    made.command("rollback")
    made.command("start", "v2")
    assert "cooldown" in made.checkpoints[-1].refusals[-1].reason
    made.now += 31_000
    made.command("start", "v2")
    assert [record.phase for record in made.releases[-2:]] == ["rolled_back", "canary"]


def test_an_aborted_version_may_start_again_at_once() -> None:
    made = canary()
    made.command("abort")
    assert (made.release.phase, made.release.candidate) == ("stable", None)
    made.command("start", "v2")
    assert made.release.phase == "canary"


def test_a_shadow_gets_no_traffic() -> None:
    made = world()
    made.command("start", "v2", mode="shadow")
    assert (made.release.shadow, made.release.candidate, made.release.weight, made.release.phase) == (
        "v2",
        None,
        0,
        "stable",
    )
    made.command("abort")
    assert made.release.shadow is None


def test_rolling_back_wins_over_a_promotion_that_is_asked_for_in_the_same_breath() -> None:
    made = canary()
    for _ in range(30):
        made.traffic(WORSE)
    made.command("promote")
    assert made.release.phase == "rolled_back"
    assert "no release is running" in made.checkpoints[-1].refusals[-1].reason


def test_a_rollback_outside_a_release_goes_back_to_the_version_before() -> None:
    made = canary(watch_after="1s")
    made.until("watching", SAME)
    made.until("stable", SAME)
    made.command("rollback")
    assert (made.release.phase, made.release.stable) == ("rolled_back", "v1")


def test_a_successor_applies_no_command_twice() -> None:
    made = canary()
    made.command("promote")
    count = len(made.releases)
    made.successor()
    made.decide()
    made.now += 1_000
    made.decide()
    assert len(made.releases) == count


def test_a_successor_carries_on_the_release_it_finds() -> None:
    made = canary()
    made.seconds(3, SAME)
    made.successor()
    made.until("watching", SAME)


def test_a_release_record_forced_by_somebody_else_is_what_stands() -> None:
    made = canary()
    forced = made.release.__class__(
        model="ranker", generation=made.release.generation + 1, ts=made.now, stable="v1", phase="rolled_back",
        decision_id="x", reason="by hand",
    )  # fmt: skip
    made.judge.adopt(forced)
    made.releases.append(forced)
    made.seconds(10, WORSE)
    assert made.release is forced


def test_a_judge_that_reads_its_own_record_back_ends_no_alert_twice() -> None:
    made = canary(timeout="12s", min_samples=1_000_000)
    made.until("paused", SAME)
    made.command("resume")
    made.judge.adopt(made.release)
    made.decide()
    assert [alert.status for alert in made.alerts if alert.rule == "release_paused"] == ["firing", "resolved"]


def test_a_decision_made_again_from_the_same_ground_has_the_same_id() -> None:
    one, other = canary(), canary()
    assert one.release.decision_id == other.release.decision_id
    assert one.release.salt == other.release.salt
