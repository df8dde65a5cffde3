"""What is to be done with a release, from what its tests say, who is silent, and how late it is: a pure
function, in the terms of Argo Rollouts.

Failed rolls back, Successful promotes; Inconclusive and Error pause: they never roll back, and never pass.
Doing it is `release.py`'s.
"""

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from streams.judge.statistics.compare import Finding, State


class Outcome(Enum):
    """Argo Rollouts' phases of an analysis."""

    RUNNING = "Running"
    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    ERROR = "Error"


class Cause(Enum):
    """What made an outcome. `NO_DATA` and `NO_TRAFFIC` end by themselves, the others that pause wait for an
    operator.
    """

    GUARDRAIL = "guardrail"
    SUCCESS = "success"
    TIMEOUT = "timeout"
    NO_DATA = "no_data"
    NO_TRAFFIC = "no_traffic"
    SAMPLE_RATIO = "sample_ratio"
    BROKEN = "error"
    NOTHING = "nothing"


class Silence(NamedTuple):
    """Something that ought to be heard of has not been for too long. `NO_TRAFFIC`: nobody is answered;
    `NO_DATA`: an arm, or what tells of it.
    """

    cause: Cause
    reason: str


class Look(NamedTuple):
    """All that a verdict rests on. `stepped`: the last step has had its time. `overdue`: the policy's
    timeout has passed. `sample_ratio`: whether the arms share the users as they ought to; proven is that
    they do not.
    """

    guardrails: Sequence[Finding]
    success: Finding | None
    stepped: bool
    overdue: bool
    silence: Silence | None = None
    sample_ratio: Finding | None = None


class Verdict(NamedTuple):
    """An outcome, what made it, in words, and the test that decided it where one did."""

    outcome: Outcome
    cause: Cause
    reason: str
    finding: Finding | None = None


def judge(look: Look) -> Verdict:
    """Rolling back wins over everything; then what cannot be judged, what waits for an operator first; then
    promotion; then time.
    """
    for finding in look.guardrails:
        if finding.state is State.PROVEN:
            return Verdict(Outcome.FAILED, Cause.GUARDRAIL, f"proven: {finding.text}", finding)
    for finding in _tests(look):
        if finding.state is State.BROKEN:
            return Verdict(
                Outcome.ERROR, Cause.BROKEN, f"{finding.text}: the sums contradict each other", finding
            )
    ratio, success = look.sample_ratio, look.success
    if ratio is not None and ratio.state is State.PROVEN:
        reason = "the arms do not share the users as they ought to, so nothing can be told from them"
        return Verdict(Outcome.INCONCLUSIVE, Cause.SAMPLE_RATIO, f"{ratio.text}: {reason}", ratio)
    if look.silence is not None:
        return Verdict(Outcome.INCONCLUSIVE, look.silence.cause, look.silence.reason)
    if look.stepped and success is not None and success.state is State.PROVEN:
        return Verdict(Outcome.SUCCESSFUL, Cause.SUCCESS, f"proven: {success.text}", success)
    if look.overdue:
        return Verdict(
            Outcome.INCONCLUSIVE, Cause.TIMEOUT, "neither better nor worse was proven in time", success
        )
    return Verdict(Outcome.RUNNING, Cause.NOTHING, "nothing is proven yet")


def _tests(look: Look) -> Iterator[Finding]:
    yield from look.guardrails
    yield from (finding for finding in (look.success, look.sample_ratio) if finding is not None)
