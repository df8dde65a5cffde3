"""A dry run: all is judged and reported, and the judge moves nothing by itself. Through the core."""

import pytest

from schemas.records import Command
from streams.judge.releases.checkpoint import Checkpoint
from tests.judging import World

RELEASE = {
    "dry_run": True,
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


def canary(**changes: object) -> World:
    made = World({"release": RELEASE | changes})
    made.command("start", "v1")
    made.seconds(5, {"v1": 0.1})
    made.command("start", "v2")
    return made


def acts(made: World) -> list[str]:
    last: Checkpoint = made.checkpoints[-1]
    return [] if last.course is None else [would.act for would in last.course.past]


def told(made: World) -> list[tuple[str, str]]:
    return [(a.labels["would"], a.status) for a in made.alerts if a.rule == "release_dry_run"]


def test_a_worse_candidate_is_not_rolled_back_and_it_is_said_that_it_would_be() -> None:
    made = canary()
    before = made.release
    made.seconds(40, WORSE)
    assert made.release == before
    assert acts(made)[-1] == "roll back"
    assert told(made) == [("roll back", "firing")]
    (alert,) = [alert for alert in made.alerts if alert.rule == "release_dry_run"]
    assert alert.severity == "info"
    assert "nothing was done" in alert.annotations["summary"]
    assert "ctr worse_by 0" in alert.annotations["summary"]


def test_a_healthy_candidate_goes_its_imagined_course_and_no_traffic_moves() -> None:
    made = canary()
    before = made.release
    made.seconds(90, SAME)
    assert made.release == before
    assert acts(made) == ["step", "promote", "finish"]
    assert made.checkpoints[-1].course is not None
    step, promote, finish = made.checkpoints[-1].course.past
    assert (step.weight, promote.stable, finish.stable) == (0.5, "v2", "v2")
    assert step.ts < promote.ts < finish.ts
    assert before.ts + 5_000 <= step.ts <= before.ts + 7_000


def test_no_other_alert_is_raised_of_what_did_not_happen() -> None:
    made = canary()
    made.seconds(40, WORSE)
    assert {alert.rule for alert in made.alerts} == {"release_dry_run"}


def test_a_promotion_that_turns_out_worse_later_would_be_rolled_back() -> None:
    made = canary(watch_after="200s")
    made.seconds(30, SAME)
    assert acts(made) == ["step", "promote"]
    made.seconds(100, {"v1": 0.1, "v2": 0.02})
    assert acts(made) == ["step", "promote", "roll back"]
    assert told(made) == [("promote", "firing"), ("promote", "resolved"), ("roll back", "firing")]


def test_want_of_data_would_pause_and_their_return_would_resume() -> None:
    made = canary(steps=[{"weight": 0.2, "for": "1h"}])
    made.seconds(2, SAME)
    for _ in range(6):
        made.now += 1_000
        made.progress()
        made.decide()
    assert acts(made) == ["pause"]
    made.seconds(3, SAME)
    assert acts(made) == ["pause", "resume"]
    assert told(made) == [("pause", "firing"), ("pause", "resolved")]


@pytest.mark.parametrize(
    ("word", "phase", "stable"),
    [("rollback", "rolled_back", "v1"), ("promote", "watching", "v2"), ("abort", "stable", "v1"),
     ("pause", "paused", "v1")],
)  # fmt: skip
def test_operators_commands_are_carried_out(word: Command, phase: str, stable: str) -> None:
    made = canary()
    made.seconds(2, SAME)
    made.command(word)
    assert (made.release.phase, made.release.stable) == (phase, stable)


def test_an_operators_command_begins_the_course_anew_and_keeps_its_past() -> None:
    made = canary()
    made.seconds(8, SAME)
    assert acts(made) == ["step"]
    made.command("pause")
    made.command("resume")
    made.seconds(8, SAME)
    assert acts(made)[:2] == ["step", "step"]


def test_the_alert_ends_when_somebody_acts() -> None:
    made = canary()
    made.seconds(40, WORSE)
    made.command("rollback")
    assert told(made) == [("roll back", "firing"), ("roll back", "resolved")]


def test_a_successor_says_nothing_again_and_goes_on_where_it_was() -> None:
    made = canary()
    made.seconds(40, WORSE)
    before = len(made.alerts)
    made.successor()
    made.seconds(10, WORSE)
    assert len(made.alerts) == before
    assert acts(made).count("roll back") == 1


def test_a_new_release_begins_without_a_past() -> None:
    made = canary()
    made.seconds(8, SAME)
    made.command("abort")
    made.command("start", "v3")
    made.seconds(1, {"v1": 0.1, "v3": 0.1})
    assert acts(made) == []


def test_the_course_is_bounded() -> None:
    made = canary(steps=[{"weight": 0.01 * n, "for": "1s"} for n in range(1, 41)])
    made.seconds(60, SAME)
    assert len(acts(made)) <= 20
