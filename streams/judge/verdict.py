"""What is to be done with a release, from what its tests say and how late it is: a pure function, in the
terms of Argo Rollouts.

Failed rolls back, Successful promotes; Inconclusive and Error pause: they never roll back, and never pass.
Doing it is `release.py`'s.
"""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from streams.judge.compare import Finding, State


class Outcome(Enum):
    """Argo Rollouts' phases of an analysis."""

    RUNNING = "Running"
    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    ERROR = "Error"


class Cause(Enum):
    """What made an outcome. `NO_DATA` ends by itself, the others that pause wait for an operator."""

    GUARDRAIL = "guardrail"
    SUCCESS = "success"
    TIMEOUT = "timeout"
    NO_DATA = "no_data"
    BROKEN = "error"
    NOTHING = "nothing"


class Look(NamedTuple):
    """All that a verdict rests on. `stepped`: the last step has had its time. `overdue`: the policy's
    timeout has passed. `silent`: the arms without data for too long.
    """

    guardrails: Sequence[Finding]
    success: Finding | None
    stepped: bool
    overdue: bool
    silent: Sequence[str]


class Verdict(NamedTuple):
    """An outcome, what made it, in words, and the test that decided it where one did."""

    outcome: Outcome
    cause: Cause
    reason: str
    finding: Finding | None = None


def judge(look: Look) -> Verdict:
    """Rolling back wins over everything; then what cannot be judged; then promotion; then time."""
    for finding in look.guardrails:
        if finding.state is State.PROVEN:
            return Verdict(Outcome.FAILED, Cause.GUARDRAIL, f"proven: {finding.text}", finding)
    tests = look.guardrails if look.success is None else (*look.guardrails, look.success)
    for finding in tests:
        if finding.state is State.BROKEN:
            return Verdict(
                Outcome.ERROR, Cause.BROKEN, f"{finding.text}: the sums contradict each other", finding
            )
    if look.silent:
        return Verdict(Outcome.INCONCLUSIVE, Cause.NO_DATA, f"no data of {' and '.join(look.silent)}")
    if look.stepped and look.success is not None and look.success.state is State.PROVEN:
        return Verdict(Outcome.SUCCESSFUL, Cause.SUCCESS, f"proven: {look.success.text}", look.success)
    if look.overdue:
        return Verdict(
            Outcome.INCONCLUSIVE, Cause.TIMEOUT, "neither better nor worse was proven in time", look.success
        )
    return Verdict(Outcome.RUNNING, Cause.NOTHING, "nothing is proven yet")
