"""Whether the judge can do what a rule asks: every combination that is impossible, with its path.

Rules do not ask for one another: an impact names a metric of the catalogue, never a rule, and never a drift.
So there are no conditions that could go round in a circle.
"""

from collections.abc import Iterator, Sequence

from schemas import topics
from schemas.policies import Baseline, BurnRate, Duration, Impact, Policy, Rule
from streams.judge.rules import baseline
from streams.judge.rules.read import COARSE, EXACT, unfinal
from streams.judge.rules.scope import ROLES, STABLE
from streams.metrics import catalogue, samples
from streams.metrics.catalogue import SECONDS, Adds, Binned, Good, Metric, Quantile, Ratio
from streams.metrics.detection import DETECTORS
from streams.metrics.drift import FEATURE, METRICS, RATES, OfFeature

LONGEST = Duration(31 * 86_400_000)
"""Nothing is remembered longer."""
RESERVED = ("alertname", "model", "severity", "metric", "impact")
"""Labels that alerts have by themselves."""

Mistakes = Iterator[tuple[str, str]]


def mistakes(policy: Policy, rule: Rule) -> Mistakes:
    """All mistakes of a rule, each with its JSON path below the rule's."""
    metric = catalogue.find(rule.metric) or METRICS.get(rule.metric)
    if metric is None:
        yield from _custom(rule)
    elif missing := missing_cutoff(policy, metric):
        yield ".metric", missing
    if rule.burn_rate is None and rule.no_data is None:
        yield from _window(policy, ".window", rule.window)
    if rule.outside is not None and not rule.outside[0] < rule.outside[1]:
        yield ".outside", f"Found `{list(rule.outside)}`, expected the lower limit first"
    yield from _clear(rule)
    yield from _labels(rule)
    if rule.no_data is not None:
        yield from _no_data(policy, rule, rule.no_data)
    if metric is None:
        return
    yield from _where(policy, rule)
    if rule.burn_rate is not None:
        yield from _burn_rate(policy, rule, rule.burn_rate, metric)
    if rule.baseline is not None:
        yield from _baseline(policy, rule, rule.baseline, metric, "")
        if rule.baseline.of == STABLE and rule.where.get("arm") == STABLE:
            yield (
                ".where.arm",
                "Found `stable`, expected candidate or shadow: it is held against stable",
            )
    if rule.impact is not None:
        yield from _impact(policy, rule, rule.impact)


def notes(policy: Policy, rule: Rule) -> Iterator[str]:
    """What is no mistake of a rule, but may be meant otherwise."""
    name = samples.name(rule.metric)
    if name is not None:
        yield (
            f"rule {rule.name}: {rule.metric} is no metric of the catalogue; "
            f"it is the mean of the samples named {name!r} in {topics.SAMPLES.name}"
        )
    bases = [rule.baseline] if rule.baseline is not None else []
    bases += [rule.impact.baseline] if rule.impact is not None else []
    for base in bases:
        if base.of != STABLE:
            wait = Duration(baseline.wait(base, baseline.step(rule.window, policy)))
            yield f"rule {rule.name}: the baseline {base.of} says nothing for the first {_about(wait)}"
    metric = catalogue.find(rule.metric)
    windows = [rule.window] if rule.burn_rate is None else list(rule.burn_rate.windows)
    if max(windows) > EXACT and isinstance(metric, Ratio):
        yield f"rule {rule.name}: windows of more than {Duration(EXACT)} begin at marks of {Duration(COARSE)}"
    elif max(windows) > unfinal(policy) and not isinstance(metric, Ratio) and name is None:
        yield (
            f"rule {rule.name}: {rule.metric} is no ratio of sums, so the judge keeps all panes of its "
            f"window of {max(windows)} in memory"
        )


def missing_cutoff(policy: Policy, metric: Metric | OfFeature) -> str | None:
    """What is wrong with a metric's cut-off, if the policy has no such."""
    _, at, k = metric.name.partition("@")
    if not at or int(k) in policy.k:
        return None
    return f"Found `{metric.name}`, expected one of the policy's cut-offs `k: {list(policy.k)}`"


def unknown(name: str) -> str:
    """What is wrong with a metric that there is not."""
    known = (*(metric.name for metric in catalogue.METRICS), *METRICS)
    return f"Found `{name}`, expected one of {', '.join(known)}"


def _window(policy: Policy, path: str, window: Duration) -> Mistakes:
    if window < policy.pane or window % policy.pane:
        yield path, f"Found `{window}`, expected a multiple of the pane `{policy.pane}`"
    elif window > LONGEST:
        yield path, f"Found `{window}`, expected at most `{LONGEST}`"


def _where(policy: Policy, rule: Rule) -> Mistakes:
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


def _custom(rule: Rule) -> Mistakes:
    """A rule on samples; `where` may name their version, their phase and any of their labels."""
    name = samples.name(rule.metric)
    meant = samples.meant(rule.metric)
    if name is None:
        yield ".metric", unknown(rule.metric)
    elif not name:
        yield ".metric", f"Found `{rule.metric}`, expected the name of samples after `{samples.PREFIX}`"
    elif meant is not None:
        expected = f"`{meant}`, or `{samples.PREFIX}{name}` for samples of that name"
        yield ".metric", f"Found `{rule.metric}`, expected {expected}"
    if "arm" in rule.where:
        yield ".where.arm", "Found `arm`, expected version, phase or a label: samples have no arm"
    if rule.where.get("phase", "serving") not in ("training", "serving"):
        yield ".where.phase", f"Found `{rule.where['phase']}`, expected training or serving"
    for kind in ("baseline", "burn_rate", "impact"):
        if getattr(rule, kind) is not None:
            yield f".{kind}", f"Found `{kind}` on samples, expected above, below, outside or no_data"


def _clear(rule: Rule) -> Mistakes:
    clear = rule.clear
    if clear is None:
        return
    if rule.no_data is not None:
        yield ".clear", "Found `clear` beside `no_data`, expected none: it is over with the first data"
    elif isinstance(clear, tuple):
        if rule.outside is None:
            yield ".clear", f"Found `{list(clear)}`, expected a number; two stand beside `outside` only"
        elif not rule.outside[0] <= clear[0] < clear[1] <= rule.outside[1]:
            yield ".clear", f"Found `{list(clear)}`, expected it inside `outside: {list(rule.outside)}`"
    elif rule.outside is not None:
        yield ".clear", f"Found `{clear:g}`, expected two numbers inside `outside: {list(rule.outside)}`"
    elif rule.above is not None and clear > rule.above:
        yield ".clear", f"Found `{clear:g}`, expected at most the limit `{rule.above:g}`"
    elif rule.below is not None and clear < rule.below:
        yield ".clear", f"Found `{clear:g}`, expected at least the limit `{rule.below:g}`"
    elif rule.baseline is not None and not 0 < clear <= rule.baseline.sigmas:
        yield ".clear", f"Found `{clear:g}`, expected sigmas, at most the limit's `{rule.baseline.sigmas:g}`"
    elif rule.burn_rate is not None and not 0 < clear <= rule.burn_rate.factor:
        yield ".clear", f"Found `{clear:g}`, expected a factor of at most `{rule.burn_rate.factor:g}`"


def _labels(rule: Rule) -> Mistakes:
    for name in rule.labels:
        if name in RESERVED or name in rule.where:
            yield f".labels.{name}", f"Found `{name}`, expected another name: alerts have that label already"


def _no_data(policy: Policy, rule: Rule, silence: Duration) -> Mistakes:
    yield from _window(policy, ".no_data", silence)
    if rule.hold or rule.hold.votes is not None:
        yield ".for", "Found `for` beside `no_data`, expected none: `no_data` says for how long"
    if rule.impact is not None:
        yield ".impact", "Found `impact` beside `no_data`, expected it on a rule on drift"


def _burn_rate(policy: Policy, rule: Rule, burn: BurnRate, metric: Metric | OfFeature) -> Mistakes:
    if not _is_share_of_bad(metric) or FEATURE in rule.where:
        yield (
            ".burn_rate",
            f"Found it on `{rule.metric}`, expected a share of bad events: one of {_bad_shares()}",
        )
    if not burn.windows:
        yield ".burn_rate.windows", "Found no windows, expected some such as `[1h, 5m]`"
    for i, window in enumerate(burn.windows):
        yield from _window(policy, f".burn_rate.windows[{i}]", window)
        if i and window >= burn.windows[i - 1]:
            yield (
                f".burn_rate.windows[{i}]",
                f"Found `{window}` after `{burn.windows[i - 1]}`, expected the longest first, each once",
            )
    fastest = 1 / (1 - burn.objective)
    if burn.factor >= fastest:
        yield (
            ".burn_rate.factor",
            f"Found `{burn.factor:g}`, expected less than `{fastest:.6g}`: no budget of an objective of "
            f"{burn.objective:g} is used up faster",
        )


def _is_share_of_bad(metric: Metric | OfFeature) -> bool:
    return isinstance(metric, Ratio) and metric.adds is Adds.EVENTS and metric.good is Good.LOW


def _bad_shares() -> str:
    return ", ".join(metric.name for metric in catalogue.RATIOS if _is_share_of_bad(metric))


def _baseline(policy: Policy, rule: Rule, base: Baseline, metric: Metric | OfFeature, path: str) -> Mistakes:
    """A rule's own, or that of its impact, whose `path` it is then."""
    if base.of == STABLE:
        if not _comparable(metric):
            yield (
                f"{path}.baseline.of",
                f"Found `stable` for `{metric.name}`, expected a ratio of events, a percentile of the "
                "latency or roc_auc: counts go by the arms' shares, and nothing tells luck from loss in "
                "the others",
            )
        if base.over is not None:
            yield f"{path}.baseline.over", "Found `over` beside `stable`, expected none: it needs no past"
        return
    if isinstance(metric, OfFeature) and metric.method in DETECTORS:
        yield (
            f"{path}.baseline",
            f"Found it on `{metric.name}`, expected one that is measured: that one counts",
        )
    step = baseline.step(rule.window, policy)
    least = Duration(baseline.LEAST * step)
    if baseline.over(base) < least:
        yield (
            f"{path}.baseline.over",
            f"Found `{Duration(baseline.over(base))}`, expected at least `{_about(least)}`: {baseline.LEAST} "
            f"readings, one every {Duration(step)}",
        )
    elif baseline.over(base) > LONGEST:
        yield f"{path}.baseline.over", f"Found `{base.over}`, expected at most `{LONGEST}`"


def _comparable(metric: Metric | OfFeature) -> bool:
    if isinstance(metric, Ratio):
        return bool(metric.denominator) and SECONDS not in metric.denominator
    return isinstance(metric, Quantile) or (isinstance(metric, Binned) and metric.name == "roc_auc")


def _impact(policy: Policy, rule: Rule, impact: Impact) -> Mistakes:
    if rule.metric not in METRICS:
        yield ".impact", f"Found it on `{rule.metric}`, expected it on drift: one of {', '.join(METRICS)}"
    metric = catalogue.find(impact.metric)
    if metric is None:
        found = "a drift" if impact.metric in METRICS else "no metric of the catalogue"
        yield (
            ".impact.metric",
            f"Found `{impact.metric}`, {found}, expected what drift does to users: one of {_harmed()}",
        )
        return
    if metric.good is Good.NEITHER:
        yield (
            ".impact.metric",
            f"Found `{impact.metric}`, expected a metric that is good or bad: one of {_harmed()}",
        )
    if missing := missing_cutoff(policy, metric):
        yield ".impact.metric", missing
    yield from _baseline(policy, rule, impact.baseline, metric, ".impact")


def _harmed() -> str:
    return ", ".join(metric.name for metric in catalogue.METRICS if metric.good is not Good.NEITHER)


def _about(duration: Duration) -> str:
    """In hours and days, as people say it."""
    hours: Sequence[int] = divmod(int(duration), 3_600_000)
    days, rest = divmod(hours[0], 24)
    if hours[1]:
        return str(duration)
    return f"{days}d" if days and not rest else f"{days}d {rest}h" if days else f"{rest}h"
