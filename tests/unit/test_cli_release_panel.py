"""What a person sees of a release in the terminal."""

from typing import Any

import msgspec
import pytest
from rich.console import Console

from infra.commands.release_panel import panel
from infra.commands.release_view import Status, WorkerStatus
from streams.judge.checkpoint import Refusal

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


@pytest.mark.parametrize("reason", ["[bold]", "[/]", "a [link=x]"])
def test_words_of_others_are_shown_as_they_are(reason: str) -> None:
    assert reason in text(reason=reason, model=reason)
