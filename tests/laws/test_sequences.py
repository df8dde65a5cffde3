"""Laws of the confidence sequence, against confseq, scipy and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from streams.judge.statistics.sequences import Sequence, student
from tests.oracle import confseq_values
from tests.oracle.confseq_values import Value

ALPHAS = st.floats(0.001, 0.2)
COUNTS = st.floats(1, 1e7)


@pytest.mark.parametrize("value", confseq_values.read())
def test_the_boundary_is_confseqs_or_a_little_outside_it(value: Value) -> None:
    boundary = Sequence(value.alpha, value.tuned).boundary(value.samples)
    assert value.boundary <= boundary * math.sqrt(value.samples) * (1 + 1e-9)
    if value.alpha <= 0.05:
        assert boundary * math.sqrt(value.samples) <= 1.015 * value.boundary


def exact(sequence: Sequence, samples: float) -> float:
    """The boundary of the one-sided normal mixture itself, in standard errors: where its martingale is 1/α.

    For a half-normal prior the martingale is 2 √(ρ/(v+ρ)) exp(s²/(2(v+ρ))) Φ(s/√(v+ρ)).
    """
    rho = sequence.mixing

    def excess(s: float) -> float:
        grown = samples + rho
        evidence = (
            math.log(2)
            + 0.5 * math.log(rho / grown)
            + s * s / (2 * grown)
            + stats.norm.logcdf(s / math.sqrt(grown))
        )
        return float(evidence + math.log(sequence.alpha))

    return float(optimize.brentq(excess, 0, 1e3 * math.sqrt(samples + rho))) / math.sqrt(samples)


@given(alpha=ALPHAS, tuned=COUNTS, samples=COUNTS)
def test_the_boundary_is_never_inside_the_exact_mixtures(alpha: float, tuned: float, samples: float) -> None:
    sequence = Sequence(alpha, tuned)
    assert sequence.boundary(samples) >= exact(sequence, samples) - 1e-9


@given(alpha=st.floats(0.001, 0.1), tuned=COUNTS)
def test_where_it_is_tuned_the_boundary_is_within_two_per_cent_of_the_exact_one(
    alpha: float, tuned: float
) -> None:
    sequence = Sequence(alpha, tuned)
    assert sequence.boundary(tuned) <= 1.02 * exact(sequence, tuned)


@given(alpha=st.floats(0.001, 0.1), tuned=COUNTS)
def test_no_other_tuning_is_tighter_there_by_more_than_two_per_cent(alpha: float, tuned: float) -> None:
    best = min(Sequence(alpha, tuned * 2.0**power).boundary(tuned) for power in range(-8, 9))
    assert Sequence(alpha, tuned).boundary(tuned) <= 1.02 * best


@given(alpha=ALPHAS, tuned=COUNTS)
def test_a_smaller_alpha_asks_for_more(alpha: float, tuned: float) -> None:
    assert Sequence(alpha / 2, tuned).boundary(tuned) > Sequence(alpha, tuned).boundary(tuned)


@given(alpha=ALPHAS, tuned=COUNTS, samples=COUNTS)
def test_it_is_wider_than_a_test_that_looks_once(alpha: float, tuned: float, samples: float) -> None:
    assert Sequence(alpha, tuned).boundary(samples) > stats.norm.isf(alpha)


def test_without_samples_nothing_is_proof() -> None:
    assert Sequence(0.05, 1000).boundary(0) == math.inf


def test_many_looks_have_each_their_own_boundary() -> None:
    sequence, samples = Sequence(0.05, 1000), np.array([[0.0, 10.0], [1000.0, 1e6]])
    each = [[float(sequence.boundary(n)) for n in row] for row in samples]
    assert sequence.boundary(samples).tolist() == each


def test_where_the_variance_has_no_degrees_of_freedom_nothing_is_proof() -> None:
    assert student(3.0, 0) == math.inf
    assert student(1e3, 1) == math.inf


@pytest.mark.parametrize("degrees", [19, 50, 127])
@pytest.mark.parametrize("deviation", [1.0, 2.0, 3.0, 4.0])
def test_students_correction_is_that_of_the_t_distribution(degrees: int, deviation: float) -> None:
    oracle = stats.t.isf(stats.norm.sf(deviation), degrees)
    assert student(deviation, degrees) == pytest.approx(oracle, rel=0.02)


def test_a_random_walk_that_is_looked_at_all_the_time_crosses_with_probability_alpha_at_most() -> None:
    walks, steps, alpha = 4_000, 2_000, 0.05
    sequence = Sequence(alpha, 200)
    boundary = sequence.boundary(np.arange(1.0, steps + 1))
    random = np.random.default_rng(1)
    crossed = 0
    for _ in range(walks // 500):
        sums = np.cumsum(random.standard_normal((500, steps)), axis=1)
        crossed += int((sums / np.sqrt(np.arange(1, steps + 1)) > boundary).any(axis=1).sum())
    naive = stats.norm.isf(alpha)
    assert crossed / walks <= alpha
    assert (sums / np.sqrt(np.arange(1, steps + 1)) > naive).any(axis=1).mean() > 0.4
