"""Pauses of a release: what pauses it, what ends which pause, and that it does not flap. Through the core."""

import numpy as np
import pytest

from schemas.records import BUCKETS
from tests.judging import PANE, World, pane

RELEASE = {
    "steps": [{"weight": 0.2, "for": "1h"}],
    "min_samples": 100_000,
    "guardrails": [{"metric": "ctr", "worse_by": 0.0}],
    "no_data": "4s",
    "timeout": "48h",
    "ack_deadline": "2s",
}
SAME = {"v1": 0.1, "v2": 0.1}


def canary(**changes: object) -> World:
    made = World({"release": RELEASE | changes})
    made.command("start", "v1")
    made.seconds(2, {"v1": 0.1})
    made.command("start", "v2")
    made.seconds(2, SAME)
    return made


def quiet(made: World, seconds: int) -> None:
    """Nobody asks; the join goes on telling how far it is."""
    for _ in range(seconds):
        made.now += 1_000
        made.progress()
        made.decide()


def one_arm(made: World, seconds: int, version: str, arm: str) -> None:
    """Only one arm has data."""
    for _ in range(seconds):
        start = made.now - made.now % PANE
        made.now = start + PANE
        seen = np.full(BUCKETS, 4.0).tolist()
        buckets = {"predictions": seen, "impressions": seen, "clicks": [0.0] * BUCKETS}
        made.take(pane(version, start, arm=arm, generation=made.release.generation, buckets=buckets))
        made.progress()
        made.decide()


def phase(made: World) -> str:
    return made.release.phase


def cause(made: World) -> str:
    assert made.release.evidence is not None
    return str(made.release.evidence["cause"])


def test_an_arm_that_is_silent_while_the_other_has_data_is_no_data() -> None:
    made = canary()
    one_arm(made, 6, "v1", "stable")
    assert (phase(made), cause(made)) == ("paused", "no_data")
    assert "no data of candidate (v2), while the other one has them" in made.release.reason


def test_nobody_being_answered_is_no_traffic() -> None:
    made = canary()
    quiet(made, 6)
    assert (phase(made), cause(made)) == ("paused", "no_traffic")
    assert "no requests" in made.release.reason


def test_requests_that_nobody_answers_are_said_to_be_so() -> None:
    made = canary()
    for _ in range(6):
        made.take(pane("", made.now, arm="", number=made.now, sums={"unanswered": 7.0}))
        quiet(made, 1)
    assert cause(made) == "no_traffic"
    assert "requests go unanswered" in made.release.reason


def test_panes_that_stop_coming_are_no_data_and_the_join_is_named() -> None:
    made = canary()
    made.now += 6_000
    made.decide()
    assert (phase(made), cause(made)) == ("paused", "no_data")
    assert "see whether the join runs" in made.release.reason


@pytest.mark.parametrize("cause_of_it", ["no_data", "no_traffic"])
def test_want_of_data_ends_by_itself(cause_of_it: str) -> None:
    made = canary()
    if cause_of_it == "no_data":
        one_arm(made, 6, "v1", "stable")
    else:
        quiet(made, 6)
    assert phase(made) == "paused"
    made.seconds(3, SAME)
    assert phase(made) == "canary"


def test_a_pause_for_want_of_data_does_not_end_while_only_one_arm_is_back() -> None:
    made = canary()
    quiet(made, 6)
    one_arm(made, 10, "v1", "stable")
    assert phase(made) == "paused"


def test_no_pause_begins_while_watching() -> None:
    made = canary(watch_after="1h")
    made.command("promote")
    quiet(made, 20)
    assert phase(made) == "watching"


def flap(made: World) -> int:
    """Silence until the pause, then data until it goes on: how many seconds of data that took."""
    while phase(made) != "paused":
        quiet(made, 1)
    for seconds in range(20_000):
        if phase(made) == "canary":
            return seconds
        made.second(SAME, 200)
    raise AssertionError("never resumed")


def test_each_pause_for_want_of_data_waits_for_a_longer_calm() -> None:
    made = canary()
    waits = [flap(made) for _ in range(6)]
    assert waits[0] <= 2
    for wait, calm in zip(waits[1:], (4, 8, 16, 32, 64), strict=True):
        assert calm <= wait <= calm + 3, waits
    assert "64s without a gap" in made.release.reason


def test_a_gap_while_it_waits_begins_the_calm_anew() -> None:
    made = canary()
    for _ in range(4):
        flap(made)
    while phase(made) != "paused":
        quiet(made, 1)
    made.seconds(20, SAME, 200)
    quiet(made, 6)
    made.seconds(31, SAME, 200)
    assert phase(made) == "paused"
    made.seconds(4, SAME, 200)
    assert phase(made) == "canary"


def test_data_that_come_and_go_for_hours_are_a_few_pauses_and_alerts_not_dozens() -> None:
    made = canary(no_data="2m", steps=[{"weight": 0.2, "for": "48h"}])
    for _ in range(36):  # three hours: a minute and a half of silence in every five
        for _ in range(7):
            made.now += 29_000
            made.second(SAME, 20)
        quiet(made, 1)
        made.now += 180_000
        quiet(made, 1)
    pauses = [record for record in made.releases if record.phase == "paused"]
    assert 1 <= len(pauses) <= 4
    told = [alert for alert in made.alerts if alert.rule == "release_paused" and alert.status == "firing"]
    assert len(told) == len(pauses)


def test_a_release_that_ran_for_an_hour_is_forgiven_its_pauses() -> None:
    made = canary(no_data="1m")
    for _ in range(3):
        quiet(made, 62)
        for _ in range(9):
            made.now += 19_000
            made.second(SAME, 20)
    assert phase(made) == "canary"
    for _ in range(125):
        made.now += 29_000
        made.second(SAME, 20)
    quiet(made, 62)
    assert phase(made) == "paused"
    made.seconds(2, SAME, 20)
    assert phase(made) == "canary"


def test_an_operators_pause_waits_for_an_operator() -> None:
    made = canary()
    made.command("pause")
    made.seconds(30, SAME)
    assert phase(made) == "paused"
    made.command("resume")
    assert phase(made) == "canary"


def test_an_operator_may_resume_what_waits_for_data() -> None:
    made = canary()
    quiet(made, 6)
    made.command("resume")
    assert phase(made) == "canary"


def test_a_pause_that_an_operator_takes_over_counts_from_its_beginning() -> None:
    made = canary(steps=[{"weight": 0.2, "for": "30s"}, {"weight": 0.5, "for": "1h"}])
    made.seconds(10, SAME)
    quiet(made, 6)
    assert phase(made) == "paused"
    quiet(made, 60)
    made.command("pause")
    quiet(made, 60)
    made.command("resume")
    made.seconds(5, SAME)
    assert made.release.weight == 0.2


def lopsided(made: World, seconds: int, share: float) -> None:
    """The candidate has this share of the users' predictions, whatever its weight, until that pauses it."""
    stable, candidate = made.release.stable, str(made.release.candidate)
    random = np.random.default_rng(3)
    for _ in range(seconds):
        if phase(made) == "paused":
            return
        made.ack()
        start = made.now - made.now % PANE
        made.now = start + PANE
        for version, arm, part in ((stable, "stable", 1 - share), (candidate, "candidate", share)):
            seen = random.poisson(40 * part, BUCKETS).astype(float)
            buckets = {
                "predictions": seen.tolist(),
                "impressions": seen.tolist(),
                "clicks": (seen / 10).tolist(),
            }
            made.take(pane(version, start, arm=arm, generation=made.release.generation, buckets=buckets))
        made.progress()
        made.decide()


def test_arms_that_do_not_share_the_users_as_they_ought_to_wait_for_an_operator() -> None:
    made = canary()
    lopsided(made, 60, 0.3)
    assert (phase(made), cause(made)) == ("paused", "sample_ratio")
    assert "sample ratio of 0.2" in made.release.reason
    made.seconds(30, SAME)
    assert phase(made) == "paused"
    (alert,) = [alert for alert in made.alerts if alert.rule == "release_paused"]
    assert alert.labels["cause"] == "sample_ratio"


def test_an_operator_who_resumes_forgives_what_was_seen_and_what_goes_on_is_found_anew() -> None:
    made = canary()
    lopsided(made, 60, 0.3)
    made.command("resume")
    made.seconds(20, SAME, 4_000)
    assert phase(made) == "canary"
    lopsided(made, 100, 0.3)
    assert (phase(made), cause(made)) == ("paused", "sample_ratio")


def test_an_operator_who_promotes_forgives_it_too_and_watching_pauses_for_what_goes_on() -> None:
    made = canary(watch_after="1h", watch_weight=0.2)
    lopsided(made, 60, 0.3)
    assert phase(made) == "paused"
    made.command("promote")
    made.seconds(5, SAME, 4_000)
    assert phase(made) == "watching"
    lopsided(made, 100, 0.3)
    assert (phase(made), cause(made)) == ("paused", "sample_ratio")
    assert made.release.stable == "v2"
