"""Comparison of two versions: oracles are numpy, scipy and simulation."""

import math

import numpy as np
import numpy.typing as npt
import pytest

from schemas.policies import Duration, Guardrail, ReleasePolicy, Step, Success
from schemas.records import BUCKETS
from streams.judge.statistics import compare
from streams.judge.statistics.compare import Finding, Ratio, State, Stratum

Floats = npt.NDArray[np.float64]


def policy(*guardrails: Guardrail, success: Success | None = None, min_samples: int = 1000) -> ReleasePolicy:
    return ReleasePolicy(
        steps=(Step(weight=0.5, hold=Duration(0)),),
        guardrails=guardrails,
        success=success,
        min_samples=min_samples,
    )


def look(guardrail: Guardrail, *strata: Stratum, min_samples: int = 1000) -> Finding:
    (test,) = compare.guardrails(policy(guardrail, min_samples=min_samples))
    return test.look(strata)


def ratio(rate: float, each: int = 100, seed: int = 0, filled: int = BUCKETS) -> Ratio:
    random = np.random.default_rng(seed)
    n = np.where(np.arange(BUCKETS) < filled, random.poisson(each, BUCKETS), 0)
    return Ratio(random.binomial(n, rate).astype(float), n.astype(float))


def flat(rate: float, each: float) -> Ratio:
    """The same in all buckets."""
    return Ratio(np.full(BUCKETS, rate * each), np.full(BUCKETS, each))


CTR_WORSE = Guardrail(metric="ctr", worse_by=0.0)


def test_a_clearly_worse_rate_is_proven_with_bounds_that_hold_the_truth() -> None:
    found = look(CTR_WORSE, Stratum(ratio(0.08, seed=1), ratio(0.1, seed=2)))
    assert found.state is State.PROVEN
    assert found.lower < -0.2 < found.upper < 0


def test_a_metric_that_is_good_when_low_is_worse_when_it_is_higher() -> None:
    higher = Stratum(ratio(0.2, seed=1), ratio(0.1, seed=2))
    lower = Stratum(ratio(0.05, seed=1), ratio(0.1, seed=2))
    guardrail = Guardrail(metric="error_rate", worse_by=0.1)
    assert look(guardrail, higher).state is State.PROVEN
    assert look(guardrail, lower).state is State.OPEN


def test_being_worse_by_less_than_the_margin_is_no_proof() -> None:
    strata = Stratum(ratio(0.09, 1000, seed=1), ratio(0.1, 1000, seed=2))
    assert look(Guardrail(metric="ctr", worse_by=0.2), strata).state is State.OPEN
    assert look(Guardrail(metric="ctr", worse_by=0.02), strata).state is State.PROVEN


def test_success_within_a_negative_margin_is_non_inferiority() -> None:
    strata = [Stratum(ratio(0.1, 1000, seed=1), ratio(0.1, 1000, seed=2))]
    inferior = [Stratum(ratio(0.09, 1000, seed=1), ratio(0.1, 1000, seed=2))]
    test = compare.success(policy(success=Success(metric="ctr", better_by=-0.1)))
    assert test is not None
    assert test.look(strata).state is State.PROVEN
    assert test.look(inferior).state is State.OPEN


def test_an_absolute_limit_needs_no_reference() -> None:
    nothing = Ratio(np.zeros(BUCKETS), np.zeros(BUCKETS))
    guardrail = Guardrail(metric="error_rate", above=0.05)
    assert look(guardrail, Stratum(ratio(0.1), nothing)).state is State.PROVEN
    assert look(guardrail, Stratum(ratio(0.04), nothing)).state is State.OPEN
    assert look(Guardrail(metric="ctr", below=0.05), Stratum(ratio(0.02), nothing)).state is State.PROVEN


def test_alpha_is_shared_by_the_guardrails_and_success_has_its_own() -> None:
    made = policy(
        CTR_WORSE, Guardrail(metric="error_rate", above=0.1), success=Success(metric="ctr", better_by=0.0)
    )
    success = compare.success(made)
    assert [test.sequence.alpha for test in compare.guardrails(made)] == [0.025, 0.025]
    assert success is not None
    assert success.sequence.alpha == 0.05


@pytest.mark.parametrize(
    ("judged", "reference"),
    [
        (ratio(0.0, each=7), ratio(0.5, each=100)),
        (ratio(0.0, each=100), ratio(0.5, each=7)),
        (ratio(0.0, each=100, filled=19), ratio(0.5)),
    ],
    ids=["few of the judged", "few of the reference", "few buckets"],
)
def test_with_too_few_samples_or_clusters_nothing_is_tested(judged: Ratio, reference: Ratio) -> None:
    found = look(CTR_WORSE, Stratum(judged, reference))
    assert found.state is State.FEW
    assert math.isnan(found.statistic)


def test_without_any_data_nothing_is_tested() -> None:
    nothing = Ratio(np.zeros(BUCKETS), np.zeros(BUCKETS))
    assert look(CTR_WORSE).state is State.FEW
    assert look(CTR_WORSE, Stratum(nothing, nothing)).state is State.FEW


def test_a_share_of_traffic_that_changes_while_the_rate_drifts_is_no_effect() -> None:
    busy = Stratum(flat(0.10, 100), flat(0.10, 900))
    quiet = Stratum(flat(0.05, 500), flat(0.05, 500))
    found = look(CTR_WORSE, busy, quiet)
    assert found.effect == pytest.approx(0.0, abs=1e-12)
    assert found.state is State.OPEN


def test_generations_are_weighted_by_their_denominators_alone() -> None:
    strata = [Stratum(ratio(0.1, 10, 1), ratio(0.2, 90, 2)), Stratum(ratio(0.3, 50, 3), ratio(0.2, 50, 4))]
    n = np.array([[s.judged.denominator.sum(), s.reference.denominator.sum()] for s in strata])
    weights = n.prod(axis=1) / n.sum(axis=1)
    values = np.array([[r.numerator.sum() / r.denominator.sum() for r in s] for s in strata])
    judged, reference = np.average(values, axis=0, weights=weights)
    assert look(CTR_WORSE, *strata).effect == pytest.approx(judged / reference - 1)


def test_the_standard_error_is_that_of_the_bootstrap_over_buckets() -> None:
    random = np.random.default_rng(5)
    rates = random.beta(2, 18, (2, BUCKETS))
    n = random.poisson(200, (2, BUCKETS)).astype(float)
    clicks = random.binomial(n.astype(int), rates).astype(float)
    found = look(CTR_WORSE, Stratum(Ratio(clicks[0], n[0]), Ratio(clicks[1], n[1])))
    chosen = random.integers(0, BUCKETS, (4_000, BUCKETS))
    again = clicks[:, chosen].sum(axis=2) / n[:, chosen].sum(axis=2)
    error = (again[0] - again[1]).std()
    distance = clicks[0].sum() / n[0].sum() - clicks[1].sum() / n[1].sum()
    assert abs(distance / found.statistic) == pytest.approx(error, rel=0.05)


def test_an_arm_without_a_click_by_luck_is_not_sure_of_it() -> None:
    found = look(CTR_WORSE, Stratum(flat(0.0, 8), flat(0.005, 100)))
    assert found.state is State.OPEN


def test_sums_that_are_no_numbers_are_broken_not_proof() -> None:
    judged = ratio(0.1)
    judged.numerator[0] = math.nan
    assert look(CTR_WORSE, Stratum(judged, ratio(0.1))).state is State.BROKEN


def test_many_looks_are_read_as_each_alone() -> None:
    random = np.random.default_rng(3)
    denominators = random.poisson(9, (50, 2, 2, BUCKETS)).cumsum(axis=0).astype(float)
    numerators = random.binomial(denominators.astype(int), 0.1).astype(float)
    for guardrail in (CTR_WORSE, Guardrail(metric="error_rate", above=0.1)):
        (test,) = compare.guardrails(policy(guardrail))
        readings = test.examine(numerators, denominators)
        for look_ in range(50):
            strata = [
                Stratum(*(Ratio(*ratio) for ratio in zip(*sums, strict=True)))
                for sums in zip(numerators[look_], denominators[look_], strict=True)
            ]
            found = test.look(strata)
            assert (found.state is State.PROVEN) == readings.proven[look_]
            if found.state is not State.FEW:
                assert found.statistic == readings.statistic[look_]
                assert found.lower == readings.lower[look_]


def test_the_values_are_averaged_as_the_effect_is() -> None:
    busy = Stratum(flat(0.10, 100), flat(0.10, 900))
    quiet = Stratum(flat(0.05, 500), flat(0.05, 500))
    found = look(CTR_WORSE, busy, quiet)
    assert found.value == pytest.approx(found.reference), "pooled they would be 0.06 and 0.08"


def test_samples_are_those_of_strata_with_both_versions() -> None:
    nothing = Ratio(np.zeros(BUCKETS), np.zeros(BUCKETS))
    found = look(CTR_WORSE, Stratum(flat(0.1, 10), flat(0.1, 20)), Stratum(nothing, flat(0.1, 50)))
    assert found.samples == (10 * BUCKETS, 20 * BUCKETS)


def test_versions_that_are_never_seen_together_are_not_compared() -> None:
    nothing = Ratio(np.zeros(BUCKETS), np.zeros(BUCKETS))
    found = look(CTR_WORSE, Stratum(flat(0.1, 100), nothing), Stratum(nothing, flat(0.2, 100)))
    assert found.state is State.FEW


def test_denominators_that_are_no_numbers_are_broken_too() -> None:
    judged = ratio(0.1)
    judged.denominator[0] = math.nan
    assert look(CTR_WORSE, Stratum(judged, ratio(0.1))).state is State.BROKEN


def test_a_single_busy_bucket_proves_nothing() -> None:
    judged, reference = ratio(0.1, seed=1), ratio(0.1, seed=2)
    judged.denominator[5], judged.numerator[5] = 50_000.0, 0.0
    assert judged.value < 0.03
    assert look(CTR_WORSE, Stratum(judged, reference)).state is State.OPEN
