"""A real A/B test as a release: ZOZOTOWN's Thompson sampling against its uniformly random policy, through the
join's core, the judge's evidence and its verdict. With 157 and 130 clicks on 30,000 impressions each, p is
0.11: nothing is proven.
"""

from typing import NamedTuple

import msgspec
import pytest
from scipy import stats

from schemas.policies import Guardrail, ReleasePolicy, Step, Success
from schemas.records import Pane
from streams.judge.facts.panes import Panes
from streams.judge.releases.evidence import Evidence, Results
from streams.judge.releases.release import Span
from streams.judge.releases.verdict import Look, Outcome, judge
from streams.judge.statistics.compare import State
from tests.judging import take
from tests.oracle import zozotown
from tests.oracle.recording import final_panes

CLICKS, IMPRESSIONS = (157, 130), 30_000
RELEASE = ReleasePolicy(
    steps=(Step(weight=0.5),),
    guardrails=(Guardrail(metric="ctr", worse_by=0.0),),
    success=Success(metric="ctr", better_by=0.0),
)
BETTER, WORSE = ("bts", "random"), ("random", "bts")


class Judged(NamedTuple):
    """All looks at one release, one an hour, and the panes."""

    results: list[Results]
    outcomes: list[Outcome]


@pytest.fixture(scope="module")
def panes() -> list[Pane]:
    watched = msgspec.structs.replace(zozotown.WATCHED, release=RELEASE, segments=())
    return final_panes(zozotown.record(zozotown.impressions(), 2), watched)


def judged(panes: list[Pane], judged: str, reference: str) -> Judged:
    """Every hour another pane is there and final; the candidate is `judged`."""
    starts = sorted({pane.start for pane in panes if pane.version})
    span = Span(1, starts[0], stable=reference, candidate=judged, settled=starts[0])
    arms = {judged: "candidate", reference: "stable"}
    held, evidence = Panes(), Evidence(judged, reference)
    found = Judged([], [])
    for start in starts:
        for pane in panes:
            if pane.start == start and pane.version:
                take(held, msgspec.structs.replace(pane, arm=arms[pane.version]))
        held.finish(start + 10 * 3_600_000)
        results = evidence.look(RELEASE, held.all(), [span], start + 3_600_000)
        found.results.append(results)
        found.outcomes.append(
            judge(Look(results.guardrails, results.success, stepped=True, overdue=False)).outcome
        )
    return found


def test_it_is_neither_rolled_back_nor_promoted_at_any_look(panes: list[Pane]) -> None:
    found = judged(panes, *BETTER)
    assert len(found.outcomes) > 160
    assert set(found.outcomes) == {Outcome.RUNNING}
    assert found.results[-1].guardrails[0].state is State.OPEN
    assert found.results[-1].success is not None
    assert found.results[-1].success.state is State.OPEN


def test_the_other_way_round_it_is_not_promoted_either(panes: list[Pane]) -> None:
    assert Outcome.SUCCESSFUL not in judged(panes, *WORSE).outcomes


def test_the_last_look_has_all_impressions_and_the_published_difference(panes: list[Pane]) -> None:
    found = judged(panes, *BETTER).results[-1].success
    assert found is not None
    assert found.samples == (IMPRESSIONS, IMPRESSIONS)
    assert found.effect == pytest.approx(CLICKS[0] / CLICKS[1] - 1)
    assert found.lower < 0 < found.effect < found.upper


def test_the_statistic_is_that_of_a_two_proportion_test(panes: list[Pane]) -> None:
    found = judged(panes, *BETTER).results[-1].success
    assert found is not None
    table = [[clicks, IMPRESSIONS - clicks] for clicks in CLICKS]
    z = stats.chi2_contingency(table, correction=False).statistic ** 0.5
    assert 2 * stats.norm.sf(z) == pytest.approx(0.11, abs=0.005)
    assert found.statistic == pytest.approx(z, rel=0.15), "the variance is between buckets of requests"
    assert found.boundary > stats.norm.isf(0.05)


def test_ten_times_the_difference_would_be_proven(panes: list[Pane]) -> None:
    halved = [
        msgspec.structs.replace(
            pane,
            sums=pane.sums | {"clicks": 0.0},
            bucket_sums=pane.bucket_sums | {"clicks": [0.0] * len(pane.buckets)},
        )
        if pane.version == "bts"
        else pane
        for pane in panes
    ]
    assert Outcome.FAILED in judged(halved, *BETTER).outcomes
