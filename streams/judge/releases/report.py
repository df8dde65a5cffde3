"""A verdict in words and as the `evidence` object of a release record."""

import math
from typing import Any

from schemas.policies import ReleasePolicy
from schemas.records import Release
from streams.judge.releases.checkpoint import Turn
from streams.judge.releases.evidence import Results
from streams.judge.releases.release import Standing
from streams.judge.releases.verdict import Cause, Verdict
from streams.judge.statistics import compare
from streams.judge.statistics.compare import Finding, Hypothesis

FINDINGS = 20
"""So many findings stand in a record at most."""
WORDS = 300
"""So many characters of a reason stand in the history."""


def sentence(found: Verdict, standing: Standing) -> str:
    """The record's `reason`: what was found of whom, with the numbers that matter."""
    finding = found.finding
    if found.cause not in (Cause.GUARDRAIL, Cause.SUCCESS, Cause.SAMPLE_RATIO) or finding is None:
        return found.reason
    judged, reference = standing.state.judged, standing.state.reference
    many, few = finding.samples
    if math.isnan(finding.reference):
        bounds = f"from {finding.lower:.5g} to {finding.upper:.5g}"
        where = f"{judged} {finding.value:.5g} ({bounds}) on {many:,.0f} samples"
    else:
        where = (
            f"{judged} {finding.value:.5g}, {reference} {finding.reference:.5g}, "
            f"a difference of {finding.effect:+.1%} (from {finding.lower:+.1%} to {finding.upper:+.1%}) "
            f"on {many:,.0f} and {few:,.0f} samples"
        )
    return f"{found.reason}: {where}"


def evidence(found: Verdict, standing: Standing) -> dict[str, Any]:
    """What was decided from. Numbers that there are none of are null."""
    result: dict[str, Any] = {"outcome": found.outcome.value, "cause": found.cause.value}
    if found.finding is not None:
        result |= test(found.finding, standing)
    return result


def tests(policy: ReleasePolicy, results: Results, standing: Standing) -> dict[str, Any]:
    """What all tests of a policy say at one look, whichever decides: `findings`, the guardrails' first. Of
    each, besides what `test` says, its `limit` in the unit of `effect`, which side of it (`fails`: above,
    below; `passes` for the success criterion) would be proof, and how many samples of an arm are `needed`.

    `alpha`: the chance of rolling back without cause that the policy allows, and each guardrail's part of it.
    A sequence spends its part over all looks together: looking again costs nothing.
    """
    guardrails, goal = compare.guardrails(policy), compare.success(policy)
    findings = [
        test(finding, standing) | _limit(hypothesis, "fails")
        for hypothesis, finding in zip(guardrails, results.guardrails, strict=True)
    ]
    if goal is not None and results.success is not None:
        findings.append(test(results.success, standing) | _limit(goal, "passes"))
    if results.sample_ratio is not None:
        findings.append(test(results.sample_ratio, standing))
    return {
        "findings": findings[:FINDINGS],
        "alpha_spent": {
            "total": policy.alpha,
            **{test.text: test.sequence.alpha for test in guardrails[:FINDINGS]},
        },
    }


def turn(record: Release) -> Turn:
    """A release record as a line of history."""
    return Turn(
        generation=record.generation,
        ts=record.ts,
        phase=record.phase,
        stable=record.stable,
        reason=record.reason if len(record.reason) <= WORDS else record.reason[: WORDS - 1] + "…",
        candidate=record.candidate,
        weight=record.weight,
        cause=str((record.evidence or {}).get("cause", "")),
    )


def _limit(hypothesis: Hypothesis, side: str) -> dict[str, Any]:
    unit = 1.0 if hypothesis.relative else 0.0
    return {
        "limit": hypothesis.limit - unit,
        "relative": hypothesis.relative,
        side: "above" if hypothesis.direction > 0 else "below",
        "needed": hypothesis.min_samples,
    }


def test(finding: Finding, standing: Standing) -> dict[str, Any]:
    """One test at one look: statistic and boundary in standard errors, effect and bounds as
    `compare.Finding` has them.
    """
    judged, reference = standing.state.judged or "", standing.state.reference or ""
    result: dict[str, Any] = {
        "test": finding.text,
        "state": finding.state.value,
        "statistic": _number(finding.statistic),
        "boundary": _number(finding.boundary),
        "effect": _number(finding.effect),
        "lower": _number(finding.lower),
        "upper": _number(finding.upper),
        "values": {judged: _number(finding.value), reference: _number(finding.reference)},
        "samples": {judged: finding.samples[0], reference: finding.samples[1]},
        "alpha": _number(finding.alpha),
    }
    if finding.panes is not None:
        result["panes"] = finding.panes._asdict()
    return result


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
