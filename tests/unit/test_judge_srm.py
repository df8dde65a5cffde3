"""Whether the arms share the users as they ought to."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from schemas.records import BUCKETS
from streams.judge.statistics import srm
from streams.judge.statistics.compare import Ratio, State, Stratum

Counts = npt.NDArray[np.int64]


def shared(
    share: float, users: int = 20_000, visits: Counts | None = None, seed: int = 0, lost: float = 0.0
) -> Stratum:
    """The predictions of users, each of whom is in the judged version's arm with that chance."""
    random = np.random.default_rng(seed)
    many = np.ones(users, int) if visits is None else visits
    judged, bucket = random.random(users) < share, random.integers(0, BUCKETS, users)
    counted = np.where(judged, random.binomial(many, 1 - lost), many)
    predictions = [np.bincount(bucket[who], counted[who], BUCKETS).astype(float) for who in (judged, ~judged)]
    return Stratum(*(Ratio(np.zeros(BUCKETS), sums) for sums in predictions))


def busy(users: int = 20_000, seed: int = 0) -> Counts:
    """Visits of users of whom few come very often."""
    visits: Counts = np.floor(1 + np.random.default_rng(seed).pareto(1.5, users)).astype(int) * 5
    return visits


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.98])
def test_users_who_are_shared_as_they_ought_to_be_are_no_mismatch(share: float) -> None:
    found = srm.look([shared(share, 60_000)], [share])
    assert found.state is State.OPEN
    assert found.lower < share < found.upper
    assert found.value == pytest.approx(share, rel=0.1)


@pytest.mark.parametrize(("share", "weight"), [(0.12, 0.1), (0.08, 0.1), (0.53, 0.5), (0.05, 0.02)])
def test_users_who_are_not_are(share: float, weight: float) -> None:
    found = srm.look([shared(share, 60_000)], [weight])
    assert found.state is State.PROVEN
    assert not found.lower < weight < found.upper


def test_the_finding_says_what_it_is_about() -> None:
    found = srm.look([shared(0.12, 60_000)], [0.1])
    assert found.text == "sample ratio of 0.1"
    assert sum(found.samples) == 60_000
    assert found.value == pytest.approx(found.samples[0] / 60_000)


def test_a_busy_user_is_one_user() -> None:
    visits = np.ones(20_000, int)
    visits[0] = 4_000
    for seed in range(20):
        assert srm.look([shared(0.1, visits=visits, seed=seed)], [0.1]).state is State.OPEN


def test_by_requests_the_same_would_be_a_mismatch() -> None:
    several = [shared(0.1, visits=busy(seed=seed), seed=seed) for seed in range(20)]
    counts = [[each.judged.samples, each.reference.samples] for each in several]
    chances = [stats.chisquare(c, np.sum(c) * np.array([0.1, 0.9])).pvalue for c in counts]
    assert sum(chance < srm.ALPHA for chance in chances) > 10
    assert all(srm.look([each], [0.1]).state is State.OPEN for each in several)


@pytest.mark.parametrize("weight", [0.02, 0.1, 0.5])
def test_shares_spread_as_their_variance_says_at_most_also_where_few_users_are_busy(weight: float) -> None:
    found = [
        srm.look([shared(weight, visits=busy(seed=seed), seed=seed)], [weight]).statistic
        for seed in range(200)
    ]
    assert max(found) < 3.5
    assert np.mean(found) < 0.9, "the mean of a standard normal's absolute value is 0.8"


def test_answers_of_one_arm_that_are_lost_are_a_mismatch() -> None:
    assert srm.look([shared(0.5, 60_000, lost=0.1)], [0.5]).state is State.PROVEN


def test_an_arm_that_never_answers_is_a_mismatch() -> None:
    found = srm.look([shared(0.0, 60_000)], [0.1])
    assert found.state is State.PROVEN
    assert found.value == 0


def test_nothing_is_said_before_the_smaller_arm_ought_to_have_a_thousand_predictions() -> None:
    assert srm.look([shared(0.5, 9_900)], [0.1]).state is State.FEW
    assert srm.look([shared(0.5, 10_100)], [0.1]).state is State.PROVEN


def test_few_buckets_with_users_say_nothing() -> None:
    random = np.random.default_rng(0)
    both = [np.where(np.arange(BUCKETS) < 19, random.poisson(500, BUCKETS), 0.0) for _ in range(2)]
    stratum = Stratum(*(Ratio(np.zeros(BUCKETS), sums) for sums in both))
    assert srm.look([stratum], [0.1]).state is State.FEW


def test_each_stratum_is_held_against_its_own_weight() -> None:
    strata = [shared(0.1, 60_000), shared(0.5, 60_000)]
    assert srm.look(strata, [0.1, 0.5]).state is State.OPEN
    assert srm.look(strata, [0.1, 0.1]).state is State.PROVEN
    assert srm.look(strata[::-1], [0.1, 0.1]).text == "sample ratio of 0.1"


def test_a_mismatch_in_an_earlier_stratum_is_not_forgotten() -> None:
    assert srm.look([shared(0.2, 60_000), shared(0.5, 60_000)], [0.1, 0.5]).state is State.PROVEN


def test_a_stratum_without_a_weight_is_not_tested() -> None:
    strata = [shared(0.2, 60_000), shared(0.5, 60_000)]
    assert srm.look(strata, [None, 0.5]).state is State.OPEN
    assert srm.look(strata[:1], [None]).state is State.FEW


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_where_all_traffic_is_one_arms_there_is_nothing_to_test(weight: float) -> None:
    assert srm.look([shared(0.5)], [weight]).state is State.FEW


def test_without_strata_nothing_is_said() -> None:
    assert srm.look([], []).state is State.FEW


def test_all_strata_together_have_no_more_than_alpha() -> None:
    assert sum(srm.spent(0.001, number) for number in range(1, 10_000)) <= 0.001
    assert srm.look([shared(0.1), shared(0.1)], [0.1, 0.1]).alpha == pytest.approx(srm.ALPHA / 6)


def test_sums_that_are_no_numbers_are_broken() -> None:
    stratum = shared(0.1, 60_000)
    stratum.judged.denominator[3] = np.nan
    assert srm.look([stratum], [0.1]).state is State.BROKEN
