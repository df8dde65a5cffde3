"""The verdict, as a table: every combination of what the tests say with what the clock says."""

from itertools import product

import pytest

from streams.judge.compare import Finding, State
from streams.judge.verdict import Cause, Look, Outcome, judge

R, S, F, I, E = (  # noqa: E741
    Outcome.RUNNING,
    Outcome.SUCCESSFUL,
    Outcome.FAILED,
    Outcome.INCONCLUSIVE,
    Outcome.ERROR,
)
PROVEN, OPEN, FEW, BROKEN = State.PROVEN, State.OPEN, State.FEW, State.BROKEN


def look(guardrails: list[State], success: State | None, *when: str, silent: tuple[str, ...] = ()) -> Look:
    return Look(
        guardrails=[Finding(f"guardrail {i}", state) for i, state in enumerate(guardrails)],
        success=None if success is None else Finding("success", success),
        stepped="stepped" in when,
        overdue="overdue" in when,
        silent=silent,
    )


@pytest.mark.parametrize(
    ("guardrails", "success", "when", "outcome", "cause"),
    [
        # Nothing known yet.
        ([], None, (), R, Cause.NOTHING),
        ([FEW], FEW, (), R, Cause.NOTHING),
        ([OPEN], OPEN, (), R, Cause.NOTHING),
        ([OPEN, FEW], FEW, ("stepped",), R, Cause.NOTHING),
        ([OPEN], OPEN, ("stepped",), R, Cause.NOTHING),
        ([], None, ("stepped",), R, Cause.NOTHING),
        # Proven worse: rolled back, whatever else.
        ([PROVEN], None, (), F, Cause.GUARDRAIL),
        ([OPEN, PROVEN], OPEN, (), F, Cause.GUARDRAIL),
        ([FEW, PROVEN], FEW, ("stepped",), F, Cause.GUARDRAIL),
        ([PROVEN], PROVEN, ("stepped",), F, Cause.GUARDRAIL),
        ([PROVEN], OPEN, ("overdue",), F, Cause.GUARDRAIL),
        ([PROVEN], BROKEN, ("stepped", "overdue"), F, Cause.GUARDRAIL),
        ([BROKEN, PROVEN], OPEN, (), F, Cause.GUARDRAIL),
        # Proven good: promoted, once the steps are over.
        ([OPEN], PROVEN, ("stepped",), S, Cause.SUCCESS),
        ([FEW], PROVEN, ("stepped",), S, Cause.SUCCESS),
        ([], PROVEN, ("stepped",), S, Cause.SUCCESS),
        ([OPEN], PROVEN, (), R, Cause.NOTHING),
        ([OPEN], PROVEN, ("stepped", "overdue"), S, Cause.SUCCESS),
        # Late: inconclusive, which never passes.
        ([OPEN], OPEN, ("overdue",), I, Cause.TIMEOUT),
        ([OPEN], OPEN, ("stepped", "overdue"), I, Cause.TIMEOUT),
        ([FEW], FEW, ("stepped", "overdue"), I, Cause.TIMEOUT),
        ([], None, ("stepped", "overdue"), I, Cause.TIMEOUT),
        ([OPEN], PROVEN, ("overdue",), I, Cause.TIMEOUT),
        # What cannot be judged is an error, which never passes either.
        ([BROKEN], OPEN, (), E, Cause.BROKEN),
        ([OPEN, BROKEN], OPEN, (), E, Cause.BROKEN),
        ([BROKEN], PROVEN, ("stepped",), E, Cause.BROKEN),
        ([OPEN], BROKEN, ("stepped",), E, Cause.BROKEN),
        ([BROKEN], OPEN, ("overdue",), E, Cause.BROKEN),
    ],
)
def test_verdict(
    guardrails: list[State], success: State | None, when: tuple[str, ...], outcome: Outcome, cause: Cause
) -> None:
    found = judge(look(guardrails, success, *when))
    assert (found.outcome, found.cause) == (outcome, cause)


@pytest.mark.parametrize(
    ("guardrails", "success", "when", "outcome", "cause"),
    [
        ([OPEN], OPEN, (), I, Cause.NO_DATA),
        ([OPEN], PROVEN, ("stepped",), I, Cause.NO_DATA),
        ([OPEN], OPEN, ("overdue",), I, Cause.NO_DATA),
        ([PROVEN], OPEN, (), F, Cause.GUARDRAIL),
        ([BROKEN], OPEN, (), E, Cause.BROKEN),
    ],
)
def test_verdict_without_data_of_an_arm(
    guardrails: list[State], success: State | None, when: tuple[str, ...], outcome: Outcome, cause: Cause
) -> None:
    found = judge(look(guardrails, success, *when, silent=("candidate (v2)",)))
    assert (found.outcome, found.cause) == (outcome, cause)


def test_the_first_proven_guardrail_is_the_one_that_is_named() -> None:
    found = judge(look([OPEN, PROVEN, PROVEN], OPEN))
    assert found.finding is not None
    assert found.finding.text == "guardrail 1"
    assert "guardrail 1" in found.reason


def test_the_silent_arms_are_named() -> None:
    assert (
        "stable (v1) and candidate (v2)"
        in judge(look([], None, silent=("stable (v1)", "candidate (v2)"))).reason
    )


EVERYTHING = [
    look([one, other], success, *when, silent=silent)
    for one, other, success in product(
        (PROVEN, OPEN, FEW, BROKEN), (OPEN, PROVEN), (None, PROVEN, OPEN, FEW, BROKEN)
    )
    for when in ((), ("stepped",), ("overdue",), ("stepped", "overdue"))
    for silent in ((), ("candidate (v2)",))
]


@pytest.mark.parametrize("given", EVERYTHING, ids=range(len(EVERYTHING)))
def test_only_proof_moves_traffic(given: Look) -> None:
    outcome = judge(given).outcome
    proven = any(finding.state is PROVEN for finding in given.guardrails)
    assert (outcome is F) == proven
    if outcome is S:
        assert given.success is not None
        assert given.success.state is PROVEN
        assert given.stepped
        assert not given.silent
