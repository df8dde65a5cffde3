"""Releases, simulated: how often they end without cause, that they end with cause, and that what is simulated
is what the judge does. `make bench ARGS=judge` has the same at its full size.
"""

import numpy as np
import pytest

from schemas.policies import ReleasePolicy
from streams.judge.facts.panes import Panes
from streams.judge.releases import verdict
from streams.judge.releases.evidence import Evidence
from streams.judge.releases.release import Span
from streams.judge.releases.verdict import Look, Outcome
from streams.judge.statistics import compare, srm
from tests.bench import judge
from tests.bench.judge import Course, Row
from tests.bench.releases import Metric, Sums, Traffic, simulate
from tests.judging import PANE, START, pane, take

RELEASES = 100
EVER = START + 10_000 * PANE
AA = Row("A/A", judge.BUSY)


@pytest.fixture(scope="module")
def courses() -> list[Course]:
    """A hundred releases without a difference, each looked at a thousand times."""
    return [judge.course(AA, seed) for seed in range(RELEASES)]


def test_without_a_difference_few_are_rolled_back_however_often_one_looks(courses: list[Course]) -> None:
    assert sum(course.outcome is Outcome.FAILED for course in courses) <= 10, "5 to be expected at most"


def test_a_z_test_at_every_look_would_roll_back_many_of_them(courses: list[Course]) -> None:
    assert sum(course.repeated for course in courses) >= 17


def test_so_would_the_same_sequence_with_requests_taken_for_independent(courses: list[Course]) -> None:
    assert sum(course.independent for course in courses) >= 12


def test_a_candidate_that_loses_a_fifth_of_its_clicks_is_rolled_back() -> None:
    traffic = judge.CROWD._replace(metrics=(judge.CTR._replace(effect=-0.2),))
    ended = [judge.course(Row("a fifth lost", traffic), seed) for seed in range(6)]
    assert all(course.outcome is Outcome.FAILED for course in ended)
    assert np.median([course.requests for course in ended]) < 60_000, "1.2 times the fixed horizon's 48,600"


def test_equal_arms_are_no_mismatch_and_unequal_ones_are() -> None:
    for routed, found in ((1.0, False), (1.25, True)):
        traffic = Traffic((), panes=300, requests=1_000, users=100_000, routed=routed)
        for seed in range(10):
            predictions = simulate(traffic, seed).denominators[:, 0]
            sides = srm.Mismatch(0.1, srm.ALPHA).examine(predictions)
            assert any(bool(side.proven.any()) for side in sides) is found


@pytest.mark.parametrize("weights", [(0.2,), (0.2, 0.5)])
def test_the_simulation_decides_what_the_judge_decides_from_the_same_panes(
    weights: tuple[float, ...],
) -> None:
    traffic = Traffic((Metric(0.1, effect=-0.3),), weights, panes=60, requests=400.0, users=5_000, maturity=0)
    row = Row("a third lost", traffic)
    rules, (test,) = judge.policy(row), compare.guardrails(judge.policy(row))
    ended = 0
    for seed in range(5):
        sums = simulate(traffic, seed)
        course = judge.course(row, seed)
        readings = test.examine(sums.numerators[0], sums.denominators)
        look = _ends(rules, sums, readings.statistic)
        assert (course.look if course.outcome is Outcome.FAILED else None) == look
        ended += look is not None
    assert ended >= 3


def _ends(rules: ReleasePolicy, sums: Sums, statistics: np.typing.NDArray[np.float64]) -> int | None:
    """The look at which the judge's own evidence rolls a release back; None where it does not."""
    panes, evidence = Panes(), Evidence("v2", "v1")
    numerators = np.diff(sums.numerators[0], axis=0, prepend=0)
    denominators = np.diff(sums.denominators, axis=0, prepend=0)
    strata = denominators.sum(axis=(2, 3)).argmax(axis=1)
    for look, stratum in enumerate(strata):
        start = START + look * PANE
        for arm, (version, role) in enumerate((("v2", "candidate"), ("v1", "stable"))):
            seen, clicks = (part[look, stratum, arm].tolist() for part in (denominators, numerators))
            buckets = {"predictions": seen, "impressions": seen, "clicks": clicks}
            take(panes, pane(version, start, arm=role, generation=2 + int(stratum), buckets=buckets))
        panes.finish(start)
        begun = [int(np.argmax(strata == number)) for number in range(stratum + 1)]
        spans = [
            Span(2 + number, START + at * PANE, "v1", "v2", START + at * PANE)
            for number, at in enumerate(begun)
        ]
        found = evidence.look(rules, panes.all(), spans, EVER)
        (finding,) = found.guardrails
        if np.isfinite(finding.statistic):
            assert finding.statistic == pytest.approx(statistics[look], rel=1e-9)
        if verdict.judge(Look(found.guardrails, None, False, False)).outcome is Outcome.FAILED:
            return look
    return None
