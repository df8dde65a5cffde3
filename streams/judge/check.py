"""Whether the judge can do what a policy asks: metrics that the catalogue has, tests that can be made, keys
that are supported.

What a policy is by itself (types, durations, exactly one limit) has been checked by
`schemas.policies.parse`.
"""

from collections.abc import Iterator

from schemas.errors import HeadgateError
from schemas.policies import Guardrail, Policy, ReleasePolicy, Rule, Success
from streams.metrics import catalogue
from streams.metrics.catalogue import Good, Metric, Quantile

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
        yield from ((f"$.release{path}", mistake) for path, mistake in _release(policy.release))


def _rule(policy: Policy, rule: Rule) -> Iterator[tuple[str, str]]:
    metric = catalogue.find(rule.metric)
    if metric is None:
        yield ".metric", _unknown(rule.metric)
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
    segments = [key for key in rule.where if key not in ROLES]
    for key in segments:
        if key not in policy.segments:
            expected = ", ".join((*ROLES, *policy.segments))
            yield f".where.{key}", f"Found `{key}`, expected one of {expected}"
    if len(segments) > 1:
        yield (
            ".where",
            f"Found {', '.join(segments)}, expected one segment: they are kept each by itself, not crossed",
        )
    if rule.where.get("arm", "stable") not in ("stable", "candidate", "shadow"):
        yield ".where.arm", f"Found `{rule.where['arm']}`, expected stable, candidate or shadow"


def _clear(rule: Rule) -> Iterator[tuple[str, str]]:
    if rule.clear is None:
        return
    if rule.outside is not None:
        yield ".clear", "Found `clear` beside `outside`, expected it beside above or below"
    if rule.above is not None and rule.clear > rule.above:
        yield ".clear", f"Found `{rule.clear:g}`, expected at most the limit `{rule.above:g}`"
    if rule.below is not None and rule.clear < rule.below:
        yield ".clear", f"Found `{rule.clear:g}`, expected at least the limit `{rule.below:g}`"


def _missing_cutoff(policy: Policy, metric: Metric | Quantile) -> str | None:
    _, at, k = metric.name.partition("@")
    if not at or int(k) in policy.k:
        return None
    return f"Found `{metric.name}`, expected one of the policy's cut-offs `k: {list(policy.k)}`"


def _release(release: ReleasePolicy) -> Iterator[tuple[str, str]]:
    if not release.steps:
        yield ".steps", "Found no steps, expected at least one, such as `{weight: 0.1, for: 5m}`"
    for i, step in enumerate(release.steps):
        if not 0 < step.weight < 1:
            yield (
                f".steps[{i}].weight",
                f"Found `{step.weight:g}`, expected a share between 0 and 1, neither included",
            )
    for i, guardrail in enumerate(release.guardrails):
        yield from ((f".guardrails[{i}]{path}", mistake) for path, mistake in _tested(guardrail))
        if guardrail.worse_by is not None and guardrail.worse_by < 0:
            yield (
                f".guardrails[{i}].worse_by",
                f"Found `{guardrail.worse_by:g}`, expected a fraction of at least 0",
            )
    if release.success is not None:
        yield from ((f".success{path}", mistake) for path, mistake in _tested(release.success))
        if release.success.better_by <= -1:
            yield ".success.better_by", f"Found `{release.success.better_by:g}`, expected a fraction above -1"


def _tested(test: Guardrail | Success) -> Iterator[tuple[str, str]]:
    metric = catalogue.find(test.metric)
    if metric is None:
        yield ".metric", _unknown(test.metric)
    elif isinstance(metric, Quantile):
        yield (
            ".metric",
            f"Found `{test.metric}`, expected a ratio: use slow_rate, the share slower than slow_ms",
        )
    elif metric.denominator is None or metric.denominator == catalogue.SECONDS or metric.good is Good.NEITHER:
        yield (
            ".metric",
            f"Found `{test.metric}`, expected a ratio that is good or bad: one of {', '.join(_ratios())}",
        )


def _ratios() -> Iterator[str]:
    for metric in catalogue.RATIOS:
        if metric.denominator not in (None, catalogue.SECONDS) and metric.good is not Good.NEITHER:
            yield metric.name


def _unknown(name: str) -> str:
    known = [metric.name for metric in catalogue.RATIOS] + [quantile.name for quantile in catalogue.QUANTILES]
    return f"Found `{name}`, expected one of {', '.join(known)}"
