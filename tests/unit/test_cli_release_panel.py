"""What a person sees of a release in the terminal."""

from typing import Any

import msgspec
import pytest
from rich.console import Console

from infra.commands.release_panel import panel
from infra.commands.release_view import Status, WorkerStatus
from schemas.records import Alert, CommandRecord, Silence
from streams.judge.releases.ahead import Next
from streams.judge.releases.checkpoint import Outlook, Refusal, Turn

NOW = 1_735_689_720_000

CANARY = Status(
    model="ranker",
    phase="canary",
    generation=7,
    since=NOW - 95_000,
    stable="v1",
    candidate="v2",
    shadow=None,
    weight=0.1,
    step=1,
    steps=2,
    reason="start by ada@example",
    decision_id="d",
    decision={},
    settled=False,
    workers=[
        WorkerStatus("w-1", "applied", 7, ("v1", "v2"), NOW - 2_000, ""),
        WorkerStatus("w-2", "failed", 6, ("v1",), NOW - 3_000, "v2: no such folder"),
        WorkerStatus("w-3", "waiting", -1, (), NOW, ""),
    ],
    refused=[],
)


def text(**changes: Any) -> str:
    console = Console(width=140, highlight=False)
    with console.capture() as capture:
        console.print(panel(msgspec.structs.replace(CANARY, **changes), NOW))
    return " ".join(capture.get().replace("│", " ").split())


def test_who_answers_how_much_of_the_traffic() -> None:
    shown = text()
    assert "canary, step 1 of 2" in shown
    assert "v1 (90 % of the traffic)" in shown
    assert "v2 (10 % of the traffic)" in shown


def test_a_stable_version_alone_answers_everything() -> None:
    shown = text(phase="stable", candidate=None, weight=0.0, step=None, steps=None)
    assert "v1 (100 % of the traffic)" in shown
    assert "candidate" not in shown


def test_since_when_the_generation_holds() -> None:
    assert "7, since 2025-01-01 00:00:25 UTC (1 m 35 s ago)" in text()


def test_each_worker_and_how_it_stands() -> None:
    shown = text()
    assert "w-1 applied 7 v1, v2 2 s ago" in shown
    assert "w-2 failed: v2: no such folder 6 v1 3 s ago" in shown
    assert "w-3 waiting - 0 ms ago" in shown


def test_that_nobody_serves() -> None:
    assert "no serving worker is live" in text(workers=[])


def test_the_numbers_of_the_last_decision_but_not_what_is_for_programs() -> None:
    shown = text(
        decision={
            "effect": -0.31234567,
            "test": "ctr worse_by 0",
            "values": {"v2": 0.0345678, "v1": 0.05},
            "samples": {"v2": 12_000.0, "v1": None},
            "panes": {"first": NOW, "number": 14},
            "lower": None,
            "as_of": {"metrics.panes": {"0": 17}},
        }
    )
    assert "effect -0.31235" in shown
    assert "test ctr worse_by 0" in shown
    assert "values v2 0.034568, v1 0.05" in shown
    assert "samples v2 12,000" in shown
    assert "panes first 2025-01-01 00:02:00 UTC, number 14" in shown
    assert "as_of" not in shown
    assert "lower" not in shown


def test_what_was_refused_last_and_why() -> None:
    refusal = Refusal("c", "promote", "ada", NOW - 4_000, "no release is running")
    assert "promote by ada, 4 s ago: no release is running" in text(refused=[refusal])
    yesterday = msgspec.structs.replace(refusal, ts=NOW - 86_400_000)
    assert "refused" not in text(refused=[yesterday])


@pytest.mark.parametrize("reason", ["[bold]", "[/]", "a [link=x]"])
def test_words_of_others_are_shown_as_they_are(reason: str) -> None:
    assert reason in text(reason=reason, model=reason)


FINDING = {
    "test": "ctr worse_by 0",
    "state": "open",
    "statistic": 1.0,
    "boundary": 3.0,
    "effect": -0.031,
    "lower": -0.113,
    "upper": 0.052,
    "values": {"v2": 0.0973, "v1": 0.1004},
    "samples": {"v2": 22_177.0, "v1": 86_269.0},
    "limit": 0.0,
    "relative": True,
    "fails": "below",
    "needed": 1_000,
}
OUTLOOK = Outlook(at=NOW - 2_000, verdict="nothing is proven yet", context={"findings": [FINDING]})


def seen(**changes: object) -> Outlook:
    return msgspec.structs.replace(OUTLOOK, context={"findings": [FINDING | changes]})


def test_what_is_going_on_comes_first_and_then_how_the_judge_sees_it() -> None:
    shown = text(sentence="v2 is tried out.", outlook=OUTLOOK)
    assert "v2 is tried out. The judge, 2 s ago: nothing is proven yet phase canary" in shown


def test_a_judge_that_has_gone_silent_is_said_to_be_so_with_what_works_without_it() -> None:
    silent = msgspec.structs.replace(OUTLOOK, at=NOW - 31_000)
    shown = text(sentence="v2 is tried out.", outlook=silent)
    assert "The judge has said nothing for 31 s: see whether `headgate streams judge` runs." in shown
    assert "`headgate release rollback ranker --force` works without it." in shown
    assert "has said nothing" not in text(sentence="v2 is tried out.", outlook=OUTLOOK)


def test_each_test_is_an_interval_beside_its_limit_with_the_numbers_below() -> None:
    shown = text(outlook=OUTLOOK)
    assert "ctr worse_by 0 nothing proven" in shown
    assert "├" in shown
    assert "┃ +0.00 %: rolled back once all of ├──┤ is in ░" in shown
    assert "v2 0.0973 (22,177) v1 0.1004 (86,269) -3.10 % [-11.30 %, +5.20 %]" in shown


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize(
    ("lower", "effect", "upper", "limit"),
    [(-0.1, 0.0, 0.1, 0.05), (0.2, 0.3, 0.4, 0.05), (-0.4, -0.3, -0.2, 0.05), (0.0, 0.0, 0.0, 0.0)],
)
def test_intervals_fit_wherever_they_lie_and_however_wide_the_terminal_is(
    width: int, lower: float, effect: float, upper: float, limit: float
) -> None:
    console = Console(width=width, highlight=False)
    status = msgspec.structs.replace(
        CANARY, outlook=seen(lower=lower, effect=effect, upper=upper, limit=limit)
    )
    with console.capture() as capture:
        console.print(panel(status, NOW))
    assert max(map(len, capture.get().splitlines())) <= width
    assert "●" in capture.get()


def test_a_test_that_is_not_begun_says_how_far_the_smaller_arm_has_come() -> None:
    few = seen(state="too few samples", samples={"v2": 412.0, "v1": 3_900.0}, lower=None, effect=None)
    assert "░ 412 of 1,000 samples v2 0.0973 (412) v1 0.1004 (3,900)" in text(outlook=few)


def test_when_nothing_runs_the_tests_are_those_of_the_last_decision() -> None:
    decided = {"findings": [FINDING | {"state": "proven"}], "statistic": 3.4}
    shown = text(phase="rolled_back", candidate=None, weight=0.0, decision=decided)
    assert "tests, when it was decided" in shown
    assert "ctr worse_by 0 proven" in shown
    assert "statistic" not in shown


def test_features_beyond_their_limit_are_named_and_no_others() -> None:
    drift = [{"feature": "age", "psi": 0.31, "limit": 0.2}, {"feature": "city", "psi": 0.1, "limit": 0.2}]
    shown = text(outlook=msgspec.structs.replace(OUTLOOK, context={"drift": drift}))
    assert "age (PSI 0.31, limit 0.2)" in shown
    assert "city" not in shown


def test_what_comes_next_and_in_how_long() -> None:
    shown = text(next=[Next("step 2 of 2", NOW + 65_000), Next("rolled back if proven")])
    assert "in 1 m 5 s 00:03:05 UTC step 2 of 2" in shown
    assert "when rolled back if proven" in shown


def test_the_last_decisions_the_newest_first() -> None:
    turns = (
        Turn(6, NOW - 300_000, "stable", "v1", "watched"),
        Turn(7, NOW - 95_000, "canary", "v1", "start by ada"),
    )
    shown = text(history=turns)
    assert shown.index("7 canary start by ada") < shown.index("6 stable watched")


def test_alerts_that_fire_and_who_silenced_them() -> None:
    alert = Alert(
        alert_id="a", model="ranker", rule="slow", status="firing", severity="page", starts_at=NOW - 60_000,
        annotations={"summary": "too slow"},
    )  # fmt: skip
    silence = Silence(
        model="ranker", silence_id="s", ts=NOW - 1, ends_at=NOW + 60_000, actor="olga", reason="known"
    )
    shown = text(alerts=[alert], silences=[silence])
    assert "page slow, for 1 m: too slow" in shown
    said = "silenced: all rules, by olga until 2025-01-01 00:03:00 UTC (1 m): known"
    assert f"{said}; `headgate silence end s`" in shown


def test_a_command_that_waits_for_the_judge_is_shown_and_that_it_does_not_answer() -> None:
    command = CommandRecord(model="ranker", ts=NOW - 40_000, command="rollback", command_id="c", actor="ada")
    shown = text(sentence="v2 is tried out.", waiting=[command])
    assert "asked rollback by ada, 40 s ago, is not answered yet" in shown
    assert "The judge does not answer rollback by ada, 40 s ago: see whether" in shown
    assert "`headgate release rollback ranker --force` works without it." in shown


def test_a_command_of_a_moment_ago_is_no_reason_to_doubt_the_judge() -> None:
    command = CommandRecord(model="ranker", ts=NOW - 2_000, command="pause", command_id="c", actor="ada")
    shown = text(sentence="v2 is tried out.", waiting=[command])
    assert "asked pause by ada, 2 s ago, is not answered yet" in shown
    assert "does not answer" not in shown
