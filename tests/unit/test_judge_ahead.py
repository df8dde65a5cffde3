"""What people are told of a release: what is going on, and what comes next."""

import pytest

from streams.judge.releases import ahead, release
from tests.judging import World

RELEASE = {
    "steps": [{"weight": 0.2, "for": "5s"}, {"weight": 0.5, "for": "1h"}],
    "min_samples": 500,
    "guardrails": [{"metric": "ctr", "worse_by": 0.0}],
    "success": {"metric": "ctr", "better_by": -0.1},
    "timeout": "2h",
    "no_data": "4s",
    "cooldown": "30s",
    "ack_deadline": "2s",
}
SAME = {"v1": 0.1, "v2": 0.1}


def canary(**changes: object) -> World:
    made = World({"release": RELEASE | changes})
    made.command("start", "v1")
    made.seconds(3, {"v1": 0.1})
    made.command("start", "v2")
    return made


def sentence(made: World) -> str:
    return ahead.sentence("ranker", release.read(made.release))


def coming(made: World) -> list[tuple[str, int | None]]:
    """What comes, and in how many seconds from now."""
    found = ahead.ahead(release.read(made.release), made.policy.release)
    return [(one.what, None if one.at is None else (one.at - made.now) // 1_000) for one in found]


def test_nothing_is_going_on_where_one_version_answers_everything() -> None:
    made = World()
    made.command("start", "v1")
    assert sentence(made) == "No release is running; v1 answers all of ranker's traffic."
    assert coming(made) == []


def test_in_a_step_the_next_one_and_the_timeout_come() -> None:
    made = canary()
    assert sentence(made) == "v2 is tried out on 20 % of ranker's traffic, and compared with v1."
    assert coming(made) == [
        ("rolled back to v1 as soon as the guardrail is proven to be violated", None),
        ("step 2 of 2: 50 % of the traffic", 5),
        ("paused where nothing is proven by then (timeout 2h)", 7_200),
    ]


def test_in_the_last_step_promotion_comes_once_it_is_proven() -> None:
    made = canary()
    made.seconds(6, SAME)
    assert coming(made)[1][0] == "promoted once ctr better_by -0.1 is proven"


def test_without_a_success_criterion_nobody_promotes_it() -> None:
    made = canary(success=None, steps=[{"weight": 0.2}])
    assert coming(made)[1] == (
        "not promoted by itself, for the policy has no success: `headgate release promote ranker`",
        None,
    )


@pytest.mark.parametrize(
    ("changes", "seconds", "why", "then"),
    [
        ({"timeout": "3s"}, 5, "nothing was proven in time", "waits for somebody: "),
        ({}, 0, "an operator paused it", "waits for somebody: "),
    ],
)
def test_a_pause_says_why_and_what_ends_it(
    changes: dict[str, object], seconds: int, why: str, then: str
) -> None:
    made = canary(**changes)
    made.seconds(seconds, SAME)
    if not seconds:
        made.command("pause")
    assert sentence(made) == (
        f"The release of v2 is paused: {why}. v2 goes on answering 20 % of ranker's traffic."
    )
    assert coming(made)[-1][0].startswith(then)


def test_a_pause_for_want_of_data_ends_by_itself() -> None:
    made = canary()
    for _ in range(8):
        made.now += 1_000
        made.decide()
    assert made.release.phase == "paused"
    assert coming(made)[-1] == ("goes on by itself once there are data of both arms again", None)


def test_a_promoted_version_is_watched_until_the_old_one_is_let_go() -> None:
    made = canary(watch_after="1h")
    made.command("promote")
    assert sentence(made) == "v2 was promoted and is watched; v1 keeps 2 % of ranker's traffic."
    assert coming(made)[-1] == ("v2 is left alone, and v1 is let go", 3_600)


def test_after_a_rollback_it_says_when_the_version_may_be_started_again() -> None:
    made = canary()
    made.command("rollback")
    assert sentence(made) == "v2 was rolled back; v1 answers all of ranker's traffic."
    assert coming(made) == [("v2 may be started again", 30)]


def test_without_a_release_policy_nothing_comes_by_itself() -> None:
    made = World()
    made.command("start", "v1")
    made.command("start", "v2")
    ((what, at),) = coming(made)
    assert what.startswith("nothing by itself, for the policy has no release section")
    assert at is None
