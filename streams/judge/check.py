"""Whether the judge can do what a policy asks: metrics that the catalogue has, tests that can be made, keys
that are supported.

What a policy is by itself (types, durations, exactly one limit) has been checked by
`schemas.policies.parse`.
"""

from collections.abc import Iterator

from schemas.errors import HeadgateError
from schemas.policies import Guardrail, Policy, ReleasePolicy, Rule, ShadowLimit, Success
from streams.judge.releases import beside
from streams.judge.rules import check as check_rules
from streams.judge.rules.check import missing_cutoff, unknown
from streams.metrics import catalogue
from streams.metrics.catalogue import Adds, Good, Quantile, Ratio


def check(policy: Policy) -> None:
    """Raises `HeadgateError` for the first mistake: `found …, expected … - at `$.path``."""
    for path, mistake in mistakes(policy):
        raise HeadgateError(f"{mistake} - at `{path}`")


def mistakes(policy: Policy) -> Iterator[tuple[str, str]]:
    """All mistakes, each with its JSON path."""
    for i, rule in enumerate(policy.rules):
        yield from ((f"$.rules[{i}]{path}", mistake) for path, mistake in check_rules.mistakes(policy, rule))
    if policy.release is not None:
        yield from ((f"$.release{path}", mistake) for path, mistake in _release(policy, policy.release))


def notes(policy: Policy) -> Iterator[str]:
    """What is no mistake, but may be meant otherwise."""
    for rule in policy.rules:
        yield from check_rules.notes(policy, rule)
        for never in _out_of_reach(rule):
            yield f"rule {rule.name}: {never}, so it never fires"
    if policy.release is not None:
        for guardrail in policy.release.guardrails:
            for never in (*_out_of_reach(guardrail), *_total_loss(guardrail)):
                yield f"guardrail on {guardrail.metric}: {never}, so it never rolls back"


def _out_of_reach(limit: Rule | Guardrail) -> Iterator[str]:
    """Why no share is ever beyond an absolute limit: perhaps a per cent was meant. It is no mistake, for a
    judge that refused it would leave alone all of a policy that it once took.
    """
    metric = catalogue.find(limit.metric)
    if not isinstance(metric, Ratio) or metric.adds is Adds.AMOUNTS:
        return
    if limit.above is not None and limit.above >= 1:
        meant = f" ({limit.above:g} % is {limit.above / 100:g})" if limit.above > 1 else ""
        yield f"{limit.metric} is a share, from 0 to 1, and never above {limit.above:g}{meant}"
    if limit.below is not None and limit.below <= 0:
        yield f"{limit.metric} is a share, from 0 to 1, and never below {limit.below:g}"


def _total_loss(guardrail: Guardrail) -> Iterator[str]:
    """Why nothing that is good is ever worse by so much."""
    metric, worse_by = catalogue.find(guardrail.metric), guardrail.worse_by
    if worse_by is None or worse_by < 1 or not isinstance(metric, Ratio) or metric.good is not Good.HIGH:
        return
    meant = f" ({worse_by:g} % is {worse_by / 100:g})" if worse_by > 1 else ""
    yield f"{guardrail.metric} never falls by more than all of it, as `worse_by: {worse_by:g}` asks{meant}"


def _release(policy: Policy, release: ReleasePolicy) -> Iterator[tuple[str, str]]:
    if not release.steps:
        yield ".steps", "Found no steps, expected at least one, such as `{weight: 0.1, for: 5m}`"
    for i, step in enumerate(release.steps):
        if not 0 < step.weight < 1:
            yield (
                f".steps[{i}].weight",
                f"Found `{step.weight:g}`, expected a share between 0 and 1, neither included",
            )
    for i, guardrail in enumerate(release.guardrails):
        yield from ((f".guardrails[{i}]{path}", mistake) for path, mistake in _tested(policy, guardrail))
        if guardrail.worse_by is not None and guardrail.worse_by < 0:
            yield (
                f".guardrails[{i}].worse_by",
                f"Found `{guardrail.worse_by:g}`, expected a fraction of at least 0",
            )
    if release.success is not None:
        yield from ((f".success{path}", mistake) for path, mistake in _tested(policy, release.success))
        if release.success.better_by <= -1:
            yield ".success.better_by", f"Found `{release.success.better_by:g}`, expected a fraction above -1"
    for i, limit in enumerate(release.shadow.limits):
        yield from ((f".shadow.limits[{i}]{path}", mistake) for path, mistake in _shadow(policy, limit))


def _shadow(policy: Policy, limit: ShadowLimit) -> Iterator[tuple[str, str]]:
    """A shadow has no impressions and no clicks: only what its answers and the relevant items say of it."""
    known = beside.comparable()
    metric = catalogue.find(limit.metric)
    family = f"{limit.metric.partition('@')[0]}@k" if "@" in limit.metric else limit.metric
    if family not in known or (metric is None and limit.metric not in known):
        yield ".metric", f"Found `{limit.metric}`, expected one of {', '.join(known)}"
    elif metric is not None and (missing := missing_cutoff(policy, metric)):
        yield ".metric", missing
    elif limit.metric == beside.SCORE_PSI and limit.above is None:
        yield "", f"Found `{beside.words(limit)}`, expected `above`: {limit.metric} is a distance"
    elif limit.metric == beside.SCORE_MEAN and limit.worse_by is not None:
        yield ".worse_by", f"Found `worse_by`, expected differs_by, above or below: {limit.metric} is not bad"


def _tested(policy: Policy, test: Guardrail | Success) -> Iterator[tuple[str, str]]:
    metric = catalogue.find(test.metric)
    if metric is None:
        yield ".metric", unknown(test.metric)
    elif isinstance(metric, Quantile):
        yield (
            ".metric",
            f"Found `{test.metric}`, expected a ratio: use slow_rate, the share slower than slow_ms",
        )
    elif not isinstance(metric, Ratio):
        yield (
            ".metric",
            f"Found `{test.metric}`, which has no sums by user to tell luck from loss; expected one of "
            f"{', '.join(_testable())}",
        )
    elif not metric.testable:
        yield (
            ".metric",
            f"Found `{test.metric}`, expected a ratio by user that is good or bad: one of "
            f"{', '.join(_testable())}",
        )
    elif missing := missing_cutoff(policy, metric):
        yield ".metric", missing


def _testable() -> Iterator[str]:
    return (metric.name for metric in catalogue.RATIOS if metric.testable)
