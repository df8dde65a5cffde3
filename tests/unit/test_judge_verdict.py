"""The verdict, as a table: every combination of what the tests say with who is silent and what the clock
says.
"""

from itertools import product

import pytest

from streams.judge.releases.verdict import Cause, Look, Outcome, Silence, judge
from streams.judge.statistics.compare import Finding, State

R, S, F, I, E = (  # noqa: E741
    Outcome.RUNNING,
    Outcome.SUCCESSFUL,
    Outcome.FAILED,
    Outcome.INCONCLUSIVE,
    Outcome.ERROR,
)
PROVEN, OPEN, FEW, BROKEN = State.PROVEN, State.OPEN, State.FEW, State.BROKEN
NO_DATA = Silence(Cause.NO_DATA, "no data of candidate (v2), while the other one has them")
NO_TRAFFIC = Silence(Cause.NO_TRAFFIC, "no traffic, no data of stable (v1) and candidate (v2): no requests")


def look(
    guardrails: list[State],
    success: State | None,
    *when: str,
    silence: Silence | None = None,
    ratio: State | None = None,
) -> Look:
    return Look(
        guardrails=[Finding(f"guardrail {i}", state) for i, state in enumerate(guardrails)],
        success=None if success is None else Finding("success", success),
        stepped="stepped" in when,
        overdue="overdue" in when,
        silence=silence,
        sample_ratio=None if ratio is None else Finding("sample ratio", ratio),
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


@pytest.mark.parametrize("silence", [NO_DATA, NO_TRAFFIC], ids=lambda silence: silence.cause.value)
@pytest.mark.parametrize(
    ("guardrails", "success", "when", "outcome"),
    [
        ([], None, (), I),
        ([FEW], FEW, (), I),
        ([OPEN], OPEN, (), I),
        ([OPEN], PROVEN, ("stepped",), I),
        ([OPEN], OPEN, ("overdue",), I),
        ([OPEN], PROVEN, ("stepped", "overdue"), I),
        ([PROVEN], OPEN, (), F),
        ([PROVEN], PROVEN, ("stepped",), F),
        ([BROKEN], OPEN, (), E),
        ([OPEN], BROKEN, (), E),
    ],
)
def test_verdict_while_somebody_is_silent(
    guardrails: list[State], success: State | None, when: tuple[str, ...], outcome: Outcome, silence: Silence
) -> None:
    found = judge(look(guardrails, success, *when, silence=silence))
    assert found.outcome is outcome
    assert (found.cause is silence.cause) == (outcome is I)


@pytest.mark.parametrize(
    ("ratio", "guardrails", "success", "when", "silence", "outcome", "cause"),
    [
        # Nothing to object to: as if it were not tested.
        (FEW, [OPEN], OPEN, (), None, R, Cause.NOTHING),
        (OPEN, [OPEN], OPEN, (), None, R, Cause.NOTHING),
        (OPEN, [OPEN], PROVEN, ("stepped",), None, S, Cause.SUCCESS),
        (FEW, [OPEN], PROVEN, ("stepped",), None, S, Cause.SUCCESS),
        (OPEN, [PROVEN], OPEN, (), None, F, Cause.GUARDRAIL),
        (OPEN, [OPEN], OPEN, ("overdue",), None, I, Cause.TIMEOUT),
        (OPEN, [OPEN], OPEN, (), NO_DATA, I, Cause.NO_DATA),
        # The arms are not what they ought to be: nothing passes, whatever success says.
        (PROVEN, [], None, (), None, I, Cause.SAMPLE_RATIO),
        (PROVEN, [FEW], FEW, (), None, I, Cause.SAMPLE_RATIO),
        (PROVEN, [OPEN], OPEN, ("overdue",), None, I, Cause.SAMPLE_RATIO),
        (PROVEN, [OPEN], PROVEN, ("stepped",), None, I, Cause.SAMPLE_RATIO),
        (PROVEN, [OPEN], PROVEN, ("stepped", "overdue"), None, I, Cause.SAMPLE_RATIO),
        # It waits for an operator, so it is named before what ends by itself.
        (PROVEN, [OPEN], OPEN, (), NO_DATA, I, Cause.SAMPLE_RATIO),
        (PROVEN, [OPEN], OPEN, (), NO_TRAFFIC, I, Cause.SAMPLE_RATIO),
        # Going back is safe, whoever was counted.
        (PROVEN, [PROVEN], OPEN, (), None, F, Cause.GUARDRAIL),
        # Sums that contradict each other say nothing of the ratio either.
        (PROVEN, [BROKEN], OPEN, (), None, E, Cause.BROKEN),
        (BROKEN, [OPEN], OPEN, (), None, E, Cause.BROKEN),
        (BROKEN, [OPEN], PROVEN, ("stepped",), None, E, Cause.BROKEN),
    ],
)
def test_verdict_with_the_sample_ratio(
    ratio: State,
    guardrails: list[State],
    success: State | None,
    when: tuple[str, ...],
    silence: Silence | None,
    outcome: Outcome,
    cause: Cause,
) -> None:
    found = judge(look(guardrails, success, *when, silence=silence, ratio=ratio))
    assert (found.outcome, found.cause) == (outcome, cause)


def test_the_first_proven_guardrail_is_the_one_that_is_named() -> None:
    found = judge(look([OPEN, PROVEN, PROVEN], OPEN))
    assert found.finding is not None
    assert found.finding.text == "guardrail 1"
    assert "guardrail 1" in found.reason


def test_the_silent_are_named() -> None:
    assert judge(look([], None, silence=NO_TRAFFIC)).reason == NO_TRAFFIC.reason


def test_a_mismatch_is_named_with_its_test() -> None:
    found = judge(look([OPEN], OPEN, ratio=PROVEN))
    assert found.finding is not None
    assert found.finding.text == "sample ratio"
    assert found.reason.startswith("sample ratio: ")


STATES = (PROVEN, OPEN, FEW, BROKEN)
EVERYTHING = [
    look([one, other], success, *when, silence=silence, ratio=ratio)
    for one, other, success, ratio in product(STATES, (OPEN, PROVEN), (None, *STATES), (None, *STATES))
    for when in ((), ("stepped",), ("overdue",), ("stepped", "overdue"))
    for silence in (None, NO_DATA, NO_TRAFFIC)
]


def test_only_proof_moves_traffic() -> None:
    for given in EVERYTHING:
        outcome = judge(given).outcome
        assert (outcome is F) == any(finding.state is PROVEN for finding in given.guardrails), given
        if outcome is S:
            assert given.success is not None, given
            assert given.success.state is PROVEN, given
            assert given.stepped, given


def test_what_cannot_be_judged_never_passes_and_never_rolls_back() -> None:
    for given in EVERYTHING:
        found = judge(given)
        findings = [*given.guardrails, given.success, given.sample_ratio]
        doubtful = given.silence is not None or any(
            finding is not None and finding.state is BROKEN for finding in findings
        )
        doubtful = doubtful or (given.sample_ratio is not None and given.sample_ratio.state is PROVEN)
        if doubtful and found.outcome is not F:
            assert found.outcome in (I, E), given


def test_a_verdict_names_its_finding_where_a_test_made_it() -> None:
    for given in EVERYTHING:
        found = judge(given)
        by_test = found.cause in (Cause.GUARDRAIL, Cause.SUCCESS, Cause.SAMPLE_RATIO, Cause.BROKEN)
        assert (found.finding is not None) or not by_test, given
        assert found.reason
