"""Whether the judge can do what a policy asks: metrics that the catalogue has, tests that can be made, keys
that are supported.

What a policy is by itself (types, durations, exactly one limit) has been checked by
`schemas.policies.parse`.
"""

from collections.abc import Iterator

from schemas import topics
from schemas.errors import HeadgateError
from schemas.policies import Guardrail, Policy, ReleasePolicy, Rule, Success
from streams.metrics import catalogue, samples
from streams.metrics.catalogue import Metric, Quantile, Ratio
from streams.metrics.drift import FEATURE, METRICS, RATES, OfFeature

ROLES = ("version", "arm")
"""Keys of `where` that are not segments."""


def check(policy: Policy) -> None:
    """Raises `HeadgateError` for the first mistake: `found …, expected … - at `$.path``."""
    for path, mistake in mistakes(policy):
        raise HeadgateError(f"{mistake} - at `{path}`")


def mistakes(policy: Policy) -> Iterator[tuple[str, str]]:
    """All mistakes, each with its JSON path."""
    for i, rule in enumerate(policy.rules):
        yield from ((f"$.rules[{i}]{path}", mistake) for path, mistake in _rule(policy, rule))
    if policy.release is not None:
        yield from ((f"$.release{path}", mistake) for path, mistake in _release(policy, policy.release))


def notes(policy: Policy) -> Iterator[str]:
    """What is no mistake, but may be meant otherwise."""
    for rule in policy.rules:
        name = samples.name(rule.metric)
        if name is not None:
            yield (
                f"rule {rule.name}: {rule.metric} is no metric of the catalogue; "
                f"it is the mean of the samples named {name!r} in {topics.SAMPLES.name}"
            )


def _rule(policy: Policy, rule: Rule) -> Iterator[tuple[str, str]]:
    metric = catalogue.find(rule.metric) or METRICS.get(rule.metric)
    if metric is None:
        yield from _custom(rule)
    elif missing := _missing_cutoff(policy, metric):
        yield ".metric", missing
    if rule.baseline is not None:
        yield ".baseline", "Found a baseline, which is not supported yet; expected above, below or outside"
    if rule.hold.votes is not None:
        yield ".for", "Found m of n panes, which are not supported yet; expected a duration such as `30s`"
    if rule.window < policy.pane or rule.window % policy.pane:
        yield ".window", f"Found `{rule.window}`, expected a multiple of the pane `{policy.pane}`"
    if rule.outside is not None and not rule.outside[0] < rule.outside[1]:
        yield ".outside", f"Found `{list(rule.outside)}`, expected the lower limit first"
    yield from _clear(rule)
    if metric is not None:
        yield from _where(policy, rule)


def _where(policy: Policy, rule: Rule) -> Iterator[tuple[str, str]]:
    roles = (*ROLES, FEATURE) if rule.metric in METRICS or rule.metric in RATES else ROLES
    segments = [key for key in rule.where if key not in roles]
    for key in segments:
        if key not in policy.segments:
            expected = ", ".join((*roles, *policy.segments))
            yield f".where.{key}", f"Found `{key}`, expected one of {expected}"
    if len(segments) > 1:
        yield (
            ".where",
            f"Found {', '.join(segments)}, expected one segment: they are kept each by itself, not crossed",
        )
    if rule.where.get("arm", "stable") not in ("stable", "candidate", "shadow"):
        yield ".where.arm", f"Found `{rule.where['arm']}`, expected stable, candidate or shadow"


def _custom(rule: Rule) -> Iterator[tuple[str, str]]:
    """A rule on samples; `where` may name their version, their phase and any of their labels."""
    name = samples.name(rule.metric)
    meant = samples.meant(rule.metric)
    if name is None:
        yield ".metric", _unknown(rule.metric)
    elif not name:
        yield ".metric", f"Found `{rule.metric}`, expected the name of samples after `{samples.PREFIX}`"
    elif meant is not None:
        expected = f"`{meant}`, or `{samples.PREFIX}{name}` for samples of that name"
        yield ".metric", f"Found `{rule.metric}`, expected {expected}"
    if "arm" in rule.where:
        yield ".where.arm", "Found `arm`, expected version, phase or a label: samples have no arm"
    if rule.where.get("phase", "serving") not in ("training", "serving"):
        yield ".where.phase", f"Found `{rule.where['phase']}`, expected training or serving"


def _clear(rule: Rule) -> Iterator[tuple[str, str]]:
    if rule.clear is None:
        return
    if rule.outside is not None:
        yield ".clear", "Found `clear` beside `outside`, expected it beside above or below"
    if rule.above is not None and rule.clear > rule.above:
        yield ".clear", f"Found `{rule.clear:g}`, expected at most the limit `{rule.above:g}`"
    if rule.below is not None and rule.clear < rule.below:
        yield ".clear", f"Found `{rule.clear:g}`, expected at least the limit `{rule.below:g}`"


def _missing_cutoff(policy: Policy, metric: Metric | OfFeature) -> str | None:
    _, at, k = metric.name.partition("@")
    if not at or int(k) in policy.k:
        return None
    return f"Found `{metric.name}`, expected one of the policy's cut-offs `k: {list(policy.k)}`"


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


def _tested(policy: Policy, test: Guardrail | Success) -> Iterator[tuple[str, str]]:
    metric = catalogue.find(test.metric)
    if metric is None:
        yield ".metric", _unknown(test.metric)
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
    elif missing := _missing_cutoff(policy, metric):
        yield ".metric", missing


def _testable() -> Iterator[str]:
    return (metric.name for metric in catalogue.RATIOS if metric.testable)


def _unknown(name: str) -> str:
    known = (*(metric.name for metric in catalogue.METRICS), *METRICS)
    return f"Found `{name}`, expected one of {', '.join(known)}"
