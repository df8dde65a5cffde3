"""A policy: how one model's panes are shaped, what is watched, and how its releases are decided. The
contract's section 6 as types.

Here a policy is an object that came as JSON or YAML; files with line numbers are `policy_files.py`'s, when a
policy is in force `timeline.py`'s.
"""

import re
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta

from schemas.errors import HeadgateError

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", re.ASCII)
_LONGEST = 36_500 * _UNITS["d"]


class Duration(int):
    """Whole milliseconds, written `250ms`, `10s`, `1m`, `24h`, `7d`; at most a hundred years, so that what is
    reckoned with it is a time that can be written down.
    """

    @classmethod
    def parse(cls, text: object) -> Self:
        """Raises ValueError for anything but a positive number with a unit, or `0s`."""
        match = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f"Expected a duration such as `10s` (units ms, s, m, h, d), got `{text}`")
        length = float(match[1]) * _UNITS[match[2]]
        if length > _LONGEST:
            longest, found = Duration(_LONGEST), _shortened(match[0])
            raise ValueError(f"Expected a duration of at most `{longest}`, got `{found}`")
        return cls(round(length))

    def __str__(self) -> str:
        units = ("d", "h", "m", "s", "ms") if self else ("s",)
        unit = next(u for u in units if self % _UNITS[u] == 0)
        return f"{int(self) // _UNITS[unit]}{unit}"


Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
Cutoff = Annotated[int, Meta(ge=1, le=999_999_999)]
Name = Annotated[str, Meta(min_length=1)]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a policy: unknown keys are mistakes."""


class Attribution(Part, frozen=True):
    """How long after a prediction feedback counts, and how much longer its pane waits for records in
    disorder.
    """

    window: Duration = Duration(600_000)
    lateness: Duration = Duration(60_000)


EARLY = 60_000
"""Feedback may be stamped this many ms before its prediction (clocks differ)."""


class Explore(Part, frozen=True):
    """Of this share of requests our workers show the first `depth` items in random order; with a share above
    0 every answer has its `propensities`.
    """

    share: Share = 0.0
    depth: Cutoff = 10


class Examples(Part, frozen=True):
    """Of this share of requests the records themselves are kept to be looked at, by a hash of the
    request_id: with all their predictions and feedback. Of `inputs` and `features` those that are named. Only
    where the deployment keeps any (`[examples]` in headgate.toml).
    """

    share: Share = 0.0
    inputs: tuple[Name, ...] = ()
    features: tuple[Name, ...] = ()


class Drift(Part, frozen=True):
    """Above which distance from the reference profile a feature has drifted."""

    psi: Positive = 0.2
    js: Positive = 0.1
    ks: Positive = 0.1
    wasserstein: Positive = 0.1


class Votes(Part, frozen=True):
    """At least `at_least` of the last `of` panes must violate."""

    of: Cutoff
    at_least: Cutoff


class Hold(Duration):
    """A rule's `for`: how long it must be violated; or, with `votes`, in how many panes."""

    votes: Votes | None = None

    @classmethod
    def parse(cls, text: object) -> Self:
        """Also takes an object `{of: 5, at_least: 3}`."""
        if not isinstance(text, dict):
            return cls(Duration.parse(text))
        hold = cls(0)
        try:
            hold.votes = msgspec.convert(text, Votes)
        except msgspec.ValidationError as error:
            raise ValueError(f"Expected `{{of: N, at_least: M}}` or a duration, got `{text}`") from error
        return hold

    def __eq__(self, other: object) -> bool:
        votes = other.votes if isinstance(other, Hold) else None
        return super().__eq__(other) and self.votes == votes

    def __hash__(self) -> int:
        return hash((int(self), self.votes))


class Maturity(Duration):
    """A policy's `maturity`: a fixed age of predictions, or `AUTO`."""

    @classmethod
    def parse(cls, text: object) -> "Maturity":
        """Also takes `auto`."""
        try:
            return AUTO if text == "auto" else cls(Duration.parse(text))
        except ValueError as error:
            raise ValueError(f"Expected `auto` or a duration such as `10m`, got `{text}`") from error

    def __str__(self) -> str:
        return "auto" if self is AUTO else super().__str__()


AUTO = Maturity(-1)


class Baseline(Part, frozen=True):
    """What a metric is held against, and how many robust sigmas away it may be. `over`: how much of the past
    the sigma is taken from, and the reference too where it is `moving`; a day where absent.
    """

    of: Literal["stable", "1d", "7d", "moving"]
    sigmas: Positive = 4.0
    over: Duration | None = None


class BurnRate(Part, frozen=True):
    """How fast an error budget may be used up: `factor` times as fast as `objective` (the share of good
    events that is promised) allows, in each of `windows`, the longest first.

    B. Beyer and others, The Site Reliability Workbook, 2018, chapter 5.
    """

    objective: Annotated[float, Meta(gt=0, lt=1)]
    factor: Positive
    windows: tuple[Duration, ...]


class Impact(Part, frozen=True):
    """What makes drift matter: that `metric` is worse by a fraction of its `baseline`. There is an alert of
    this severity then, beside the rule's own.
    """

    metric: Name
    worse_by: Annotated[float, Meta(ge=0)] = 0.05
    baseline: Baseline = Baseline(of="moving", sigmas=3.0)
    severity: Name = "page"


LIMITS = ("above", "below", "outside", "baseline", "burn_rate", "no_data")
"""A rule has exactly one of these."""
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
"""The name of a label, in Prometheus and in Alertmanager."""


class Rule(Part, frozen=True, rename={"hold": "for"}):
    """One alert rule: exactly one of `LIMITS`; `for` is a duration or votes.

    `clear`: only beyond this is it resolved; two numbers beside `outside`, sigmas beside `baseline`, a factor
    beside `burn_rate`. `labels` are added to the alert's; `summary` and `runbook` are annotations.
    """

    name: Name
    metric: Name
    where: dict[str, str] = {}
    above: float | None = None
    below: float | None = None
    outside: tuple[float, float] | None = None
    baseline: Baseline | None = None
    burn_rate: BurnRate | None = None
    no_data: Duration | None = None
    window: Duration = Duration(60_000)
    hold: Hold = Hold(0)
    clear: float | tuple[float, float] | None = None
    impact: Impact | None = None
    severity: str = "warning"
    labels: dict[str, str] = {}
    summary: str | None = None
    runbook: str | None = None


class Step(Part, frozen=True, rename={"hold": "for"}):
    """The candidate's share, and how long it keeps it at least."""

    weight: Share
    hold: Duration = Duration(0)


class Guardrail(Part, frozen=True):
    """Exactly one of `worse_by` (a fraction of stable's value), `above`, `below` (absolute)."""

    metric: Name
    worse_by: float | None = None
    above: float | None = None
    below: float | None = None


class Success(Part, frozen=True):
    """What must be proven for a promotion: better than stable by a fraction of its value; negative:
    non-inferior.
    """

    metric: Name
    better_by: float


class ShadowLimit(Part, frozen=True):
    """What of a shadow is worth an alert: exactly one of `worse_by` (a fraction of stable's value, in the
    metric's bad direction), `differs_by` (a fraction of it, either way), `above`, `below` (absolute).
    """

    metric: Name
    worse_by: Annotated[float, Meta(ge=0)] | None = None
    differs_by: Annotated[float, Meta(ge=0)] | None = None
    above: float | None = None
    below: float | None = None


SHADOW_LIMITS = ("worse_by", "differs_by", "above", "below")
"""A shadow's limit has exactly one of these."""


class ShadowPolicy(Part, frozen=True):
    """How a shadow is held against the stable version: nothing is said of less than `min_samples`
    predictions of either.
    """

    min_samples: Cutoff = 1000
    limits: tuple[ShadowLimit, ...] = ()


class ReleasePolicy(Part, frozen=True):
    """How a release goes: steps, tests, time limits. `dry_run`: it is judged and reported, but the judge
    moves nothing by itself.
    """

    steps: tuple[Step, ...] = ()
    min_samples: Cutoff = 1000
    alpha: Annotated[float, Meta(gt=0, lt=1)] = 0.05
    guardrails: tuple[Guardrail, ...] = ()
    success: Success | None = None
    timeout: Duration = Duration(86_400_000)
    no_data: Duration = Duration(120_000)
    cooldown: Duration = Duration(3_600_000)
    watch_after: Duration = Duration(86_400_000)
    watch_weight: Share = 0.02
    ack_deadline: Duration = Duration(10_000)
    dry_run: bool = False
    shadow: ShadowPolicy = ShadowPolicy()


class Policy(Part, frozen=True):
    """All of a model's policy; every field but `model` has the contract's default. `release` None: decided by
    hand only.
    """

    model: Name
    pane: Duration = Duration(10_000)
    attribution: Attribution = Attribution()
    answer: Duration = Duration(30_000)
    k: tuple[Cutoff, ...] = (5, 10)
    relevant: tuple[str, ...] = ("click", "cart", "purchase", "relevant")
    impressions: Literal["shown", "feedback"] = "shown"
    truth: Literal["click", "label"] = "click"
    threshold: float = 0.5
    slow_ms: Positive = 200.0
    anomaly: Positive = 1.0
    drift: Drift = Drift()
    segments: tuple[str, ...] = ("surface",)
    unit: Literal["user", "request"] = "user"
    maturity: Maturity = AUTO
    explore: Explore = Explore()
    examples: Examples = Examples()
    rules: tuple[Rule, ...] = ()
    release: ReleasePolicy | None = None

    def __post_init__(self) -> None:
        whole_minutes = self.pane % 60_000 == 0 and self.pane > 0 and 3_600_000 % self.pane == 0
        if not (self.pane > 0 and 60_000 % self.pane == 0) and not whole_minutes:
            raise ValueError(
                f"Expected a divisor of 1m, or whole minutes that divide 1h, got `{self.pane}` - at `$.pane`"
            )

    def pane_start(self, time: int) -> int:
        """The start of the pane that holds `time` (epoch ms)."""
        return time - time % self.pane

    def deadline(self, start: int) -> int:
        """When the pane that starts at `start` takes no more records: its end, the attribution window and the
        lateness later.
        """
        return start + self.pane + self.attribution.window + self.attribution.lateness


def default(model: str) -> Policy:
    """What a model without a policy gets."""
    return Policy(model=model)


def parse(value: object) -> Policy:
    """A policy from a decoded JSON or YAML object.

    Raises `HeadgateError` with the path of the mistake (`$.release.steps[0].weight`), what was found and what
    was expected.
    """
    policy = convert(value)
    for path, mistake in mistakes(policy):
        raise HeadgateError(f"{mistake} - at `{path}`")
    return policy


def convert(value: object) -> Policy:
    """What `parse` does about types alone, without looking for `mistakes`. Raises as it does."""
    try:
        return msgspec.convert(value, Policy, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise HeadgateError(str(error)) from error


def to_object(policy: Policy) -> dict[str, Any]:
    """The policy as plain JSON types, defaults left out; `parse` reads it back."""
    result = msgspec.to_builtins(policy, enc_hook=_encode)
    assert isinstance(result, dict)
    return result


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


def _decode(type_: type[Duration], value: object) -> Duration:
    return type_.parse(value)


def _encode(value: object) -> object:
    if isinstance(value, Hold) and value.votes is not None:
        return msgspec.to_builtins(value.votes)
    return str(value)


def mistakes(policy: Policy) -> list[tuple[str, str]]:
    """What is wrong with a policy beyond its types: the JSON path of each mistake, and what it is."""
    found = []
    for name in ("k", "relevant", "segments"):  # what is named twice would be counted twice
        values = getattr(policy, name)
        found += [
            (f"$.{name}[{i}]", f"Expected each only once, got `{value}` again")
            for i, value in enumerate(values)
            if value in values[:i]
        ]
    for i, rule in enumerate(policy.rules):
        limits = [name for name in LIMITS if getattr(rule, name) is not None]
        if len(limits) != 1:
            got = ", ".join(limits) or "none"
            found.append((f"$.rules[{i}]", f"Expected one of {', '.join(LIMITS)}, got `{got}`"))
        found += [
            (f"$.rules[{i}].labels.{name}", f"Expected a label name such as `team`, got `{name}`")
            for name in rule.labels
            if not LABEL.fullmatch(name)
        ]
        votes = rule.hold.votes
        if votes is not None and votes.at_least > votes.of:
            expected = f"Expected at_least to be at most of ({votes.of}), got `{votes.at_least}`"
            found.append((f"$.rules[{i}].for", expected))
        if [other.name for other in policy.rules].index(rule.name) != i:
            found.append((f"$.rules[{i}].name", f"Expected a name that no other rule has, got `{rule.name}`"))
    release = policy.release or ReleasePolicy()
    for i, guardrail in enumerate(release.guardrails):
        limits = [n for n in ("worse_by", "above", "below") if getattr(guardrail, n) is not None]
        if len(limits) != 1:
            got = ", ".join(limits) or "none"
            found.append(
                (f"$.release.guardrails[{i}]", f"Expected one of worse_by, above, below, got `{got}`")
            )
    for i, limit in enumerate(release.shadow.limits):
        limits = [n for n in SHADOW_LIMITS if getattr(limit, n) is not None]
        if len(limits) != 1:
            got = ", ".join(limits) or "none"
            expected = f"Expected one of {', '.join(SHADOW_LIMITS)}, got `{got}`"
            found.append((f"$.release.shadow.limits[{i}]", expected))
    weights = [step.weight for step in release.steps]
    if weights != sorted(weights):
        found.append(("$.release.steps", f"Expected weights that grow, got `{weights}`"))
    return found
