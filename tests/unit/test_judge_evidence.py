"""Which panes a release is decided from, and that folding them away changes nothing."""

import msgspec
import numpy as np
import pytest

from schemas.policies import Guardrail, ReleasePolicy, Step, Success
from schemas.records import BUCKETS
from streams.judge.facts.panes import Panes
from streams.judge.releases.evidence import Evidence, Results
from streams.judge.releases.release import Span
from streams.judge.statistics.compare import State
from tests.judging import PANE, START, pane, take

POLICY = ReleasePolicy(
    steps=(Step(weight=0.5),),
    min_samples=100,
    guardrails=(Guardrail(metric="ctr", worse_by=0.0), Guardrail(metric="error_rate", above=0.05)),
    success=Success(metric="ctr", better_by=-0.1),
)
SPAN = Span(generation=2, ts=START, stable="v1", candidate="v2", settled=START)
EVER = START + 1_000 * PANE


def filled(panes: Panes, second: int, generation: int = 2, segment: str = "") -> None:
    """One second of both arms, different each second."""
    for version, arm in (("v1", "stable"), ("v2", "candidate")):
        random = np.random.default_rng([second, version == "v2"])
        seen = random.poisson(5, BUCKETS)
        buckets = {
            "predictions": seen.tolist(),
            "impressions": seen.tolist(),
            "clicks": random.binomial(seen, 0.1).tolist(),
            "errors": random.binomial(seen, 0.01).tolist(),
        }
        start = START + second * PANE
        take(panes, pane(version, start, arm=arm, generation=generation, buckets=buckets, segment=segment))


def history(seconds: int, generation: int = 2) -> Panes:
    panes = Panes()
    for second in range(seconds):
        filled(panes, second, generation)
    return panes


def look(panes: Panes, *spans: Span, mature: float = EVER, policy: ReleasePolicy = POLICY) -> Results:
    return Evidence("v2", "v1").look(policy, panes.all(), spans or [SPAN], mature)


def samples(found: Results, test: int = 0) -> float:
    return sum(found.guardrails[test].samples)


def impressions(panes: Panes, seconds: range) -> float:
    return sum(
        cell.sums["impressions"]
        for window in panes.all()
        for cell in window.cells.values()
        if (window.start - START) // PANE in seconds
    )


def test_all_panes_of_both_versions_count() -> None:
    panes = history(10)
    assert samples(look(panes)) == impressions(panes, range(10))


def test_metrics_that_wait_for_feedback_count_in_mature_panes_only() -> None:
    panes = history(10)
    found = look(panes, mature=START + 4 * PANE)
    assert samples(found) == impressions(panes, range(4))
    coverage = found.guardrails[0].panes
    assert coverage is not None
    assert (coverage.first, coverage.last, coverage.number) == (START, START + 4 * PANE, 4)
    assert found.guardrails[1].panes is not None
    assert found.guardrails[1].panes.number == 10


def test_success_rests_on_final_panes_only() -> None:
    panes = history(10)
    found = look(panes)
    assert found.success is not None
    assert found.success.state is State.FEW
    panes.finish(START + 6 * PANE + 2_000)
    found = look(panes)
    assert found.success is not None
    assert sum(found.success.samples) == impressions(panes, range(5))


def test_panes_of_the_time_between_a_change_and_its_last_ack_are_left_out() -> None:
    panes = history(4)
    for second in range(4, 10):
        filled(panes, second, generation=3)
    first = msgspec.structs.replace(SPAN, settled=START + 1)
    later = Span(3, START + 4 * PANE, "v1", "v2", settled=START + 5 * PANE + 1)
    counted = [*range(1, 4), *range(6, 10)]
    expected = sum(impressions(panes, range(n, n + 1)) for n in counted)
    assert samples(look(panes, first, later)) == expected


def test_while_workers_have_yet_to_acknowledge_nothing_newer_counts() -> None:
    panes = history(10)
    assert samples(look(panes, msgspec.structs.replace(SPAN, settled=None))) == 0


def test_panes_without_a_generation_are_of_the_last_release_before_they_start() -> None:
    panes = history(10, generation=-1)
    spans = [msgspec.structs.replace(SPAN, ts=START + 2 * PANE, settled=START + 2 * PANE)]
    assert samples(look(panes, *spans)) == impressions(panes, range(2, 10))


def test_panes_without_a_generation_count_only_where_version_and_arm_are_the_releases() -> None:
    panes = history(10, generation=-1)
    swapped = Span(2, START, stable="v2", candidate="v1", settled=START)
    assert samples(look(panes, swapped)) == 0


def test_panes_of_a_generation_that_is_not_of_the_release_do_not_count() -> None:
    assert samples(look(history(10, generation=1))) == 0


def test_shadows_and_segments_do_not_count() -> None:
    panes = history(3)
    before = samples(look(panes))
    filled(panes, 1, segment="surface")
    assert samples(look(panes)) == before
    take(panes, pane("v2", START, arm="shadow", generation=2, sums={"impressions": 50}))
    assert samples(look(panes)) == before


def test_folding_what_is_final_away_changes_no_finding() -> None:
    panes, kept = history(12), history(12)
    evidence = Evidence("v2", "v1")
    for second in range(3, 13):
        for each in (panes, kept):
            each.finish(START + second * PANE)
        mature = START + second * PANE
        found = evidence.look(POLICY, panes.all(), [SPAN], mature)
        panes.forget(START + (second - 4) * PANE)
        whole = look(kept, mature=mature)
        for window in kept.all():
            window.folded = False
        assert [test.statistic for test in found.guardrails] == pytest.approx(
            [test.statistic for test in whole.guardrails], nan_ok=True
        )
        assert found.success is not None
        assert whole.success is not None
        assert found.success.samples == whole.success.samples
        assert found.success.panes == whole.success.panes
    assert len(panes.all()) < len(kept.all())


def test_sums_without_their_users_are_broken() -> None:
    panes = Panes()
    for version, arm in (("v1", "stable"), ("v2", "candidate")):
        take(panes, pane(version, START, arm=arm, generation=2, sums={"impressions": 900, "clicks": 90}))
    assert look(panes).guardrails[0].state is State.BROKEN
