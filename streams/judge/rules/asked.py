"""What one rule asks, worked out once for as long as a policy is in force: whose panes, how long they must be
known, what has to be remembered.
"""

from typing import NamedTuple

import msgspec

from schemas.policies import Baseline, Hold, Impact, Policy, Rule
from streams.judge.facts.identity import identity
from streams.judge.rules import baseline, scope
from streams.judge.rules.read import Subject, ledger_step, unfinal
from streams.judge.rules.scope import Scope
from streams.metrics import samples
from streams.metrics.drift import FEATURE


class Readings(NamedTuple):
    """A history of readings that a baseline needs: of `subject` over `window` ms, every `step` ms. `series`
    is what it is called: rules that need the same have one.
    """

    subject: Subject
    window: int
    step: int
    baseline: Baseline
    series: str

    @property
    def span(self) -> int:
        """How far back (ms) they are needed."""
        return baseline.span(self.baseline) + self.step


class Ledgers(NamedTuple):
    """Sums that a long window needs, every `step` ms, for so long (ms); `series` is what they are called."""

    subject: Subject
    step: int
    span: int
    series: str


class Look(NamedTuple):
    """One window that a rule is read over: of `subject`, `window` ms long, from sums that are kept every
    `step` ms, or from panes (None). `waits` until predictions are mature, or for the `wait` in ms that is
    known.
    """

    subject: Subject
    window: int
    step: int | None
    waits: bool
    wait: int

    def delay(self, maturity: int) -> int:
        """How far the window ends before the boundary (ms), `maturity` being in whole panes."""
        return maturity if self.waits else self.wait


class Asked(NamedTuple):
    """A rule, and what follows from it and its policy. `looks` are the windows that it is read over, `impact`
    what its impact's metric is read over, `page` the rule whose alert says that there is one.
    """

    rule: Rule
    policy: Policy
    looks: tuple[Look, ...]
    impact: Look | None
    page: Rule | None
    readings: tuple[Readings, ...]
    ledgers: tuple[Ledgers, ...]
    final: bool
    """Whether its metric is of final panes only: its boundaries come when all deadlines are past."""

    @property
    def subject(self) -> Subject:
        """What it is about."""
        return self.looks[0].subject

    def reach(self, maturity: int) -> int:
        """How long before a boundary (ms) panes must be known for it to be evaluated there. `maturity` is in
        whole panes.
        """
        looks = self.looks if self.impact is None else (*self.looks, self.impact)
        return max(
            look.delay(maturity) + (look.window if look.step is None else unfinal(self.policy))
            for look in looks
        )


def mature(policy: Policy, maturity: int) -> int:
    """A maturity (ms) in whole panes."""
    return -(-maturity // policy.pane) * policy.pane


def ask(rule: Rule, policy: Policy) -> Asked:
    """Works out a rule of a policy."""
    subject = Subject(rule.metric, scope.of(rule), rule.where.get(FEATURE))
    windows = rule.burn_rate.windows if rule.burn_rate is not None else (rule.no_data or rule.window,)
    looks = tuple(_look(subject, int(window), policy) for window in windows)
    impact, page = None, None
    wanted = [(looks[0], rule.baseline)]
    if rule.impact is not None:
        harmed = Subject(rule.impact.metric, _harmed(subject.scope, rule.impact.baseline))
        impact, page = _look(harmed, int(rule.window), policy), _page(rule, rule.impact)
        wanted.append((impact, rule.impact.baseline))
    step = baseline.step(rule.window, policy)
    found = subject.found
    return Asked(
        rule,
        policy,
        looks,
        impact,
        page,
        tuple(
            Readings(
                look.subject, look.window, step, base, identity("readings", look.subject, look.window, step)
            )
            for look, base in wanted
            if base is not None and base.of != scope.STABLE
        ),
        tuple(
            Ledgers(
                look.subject,
                look.step,
                look.window + look.step + 2 * unfinal(policy),
                identity("sums", look.subject, look.step),
            )
            for look in (looks if impact is None else (*looks, impact))
            if look.step is not None
        ),
        found is not None and found.final,
    )


def _look(subject: Subject, window: int, policy: Policy) -> Look:
    """Metrics that wait for feedback look at mature panes, those of final panes at panes whose deadline has
    passed.
    """
    metric = subject.found
    step = ledger_step(subject, window, policy)
    if metric is None or not metric.feedback:
        return Look(subject, window, step, waits=False, wait=0)
    passed = mature(policy, policy.attribution.window + policy.attribution.lateness)
    return Look(subject, window, step, waits=not metric.final, wait=passed)


def _harmed(whose: Scope, base: Baseline) -> Scope:
    against = base.of == scope.STABLE and whose[:2] == (None, None)
    return whose._replace(arm=scope.CANDIDATE) if against else whose


def _page(rule: Rule, impact: Impact) -> Rule:
    return msgspec.structs.replace(
        rule,
        severity=impact.severity,
        labels={**rule.labels, "impact": impact.metric},
        hold=Hold(0),
        clear=None,
        summary=None,
    )


def asks(policy: Policy) -> list[Asked]:
    """All rules on panes; those on `metrics.samples` are not the panes' business."""
    return [ask(rule, policy) for rule in policy.rules if samples.name(rule.metric) is None]
