"""A verdict in words and as the `evidence` object of a release record."""

import math
from typing import Any

from streams.judge.compare import Finding
from streams.judge.release import Standing
from streams.judge.verdict import Cause, Verdict


def sentence(found: Verdict, standing: Standing) -> str:
    """The record's `reason`: what was found of whom, with the numbers that matter."""
    finding = found.finding
    if found.cause not in (Cause.GUARDRAIL, Cause.SUCCESS) or finding is None:
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
