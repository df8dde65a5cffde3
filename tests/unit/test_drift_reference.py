"""How reference distributions are made."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records import ENCODER, Distribution
from streams.metrics import reference

NUMBERS = st.lists(
    st.one_of(
        st.floats(-1e9, 1e9, allow_nan=False), st.integers(-3, 3).map(float), st.sampled_from([0.0, 0.5])
    ),
    min_size=1,
    max_size=300,
)


@given(NUMBERS)
def test_every_value_is_counted_in_its_half_open_bin(values: list[float]) -> None:
    made = reference.numbers(values)
    assert made.edges is not None
    assert made.edges == sorted(set(made.edges))
    expected = np.bincount(np.searchsorted(made.edges, values, side="right"), minlength=len(made.edges) + 1)
    assert made.counts == expected.tolist()
    assert len(made.counts) <= max(reference.BINS, 3)


@given(NUMBERS)
def test_extremes_and_deviation_are_those_of_the_values(values: list[float]) -> None:
    made = reference.numbers(values)
    assert (made.lowest, made.highest) == (min(values), max(values))
    assert made.deviation == pytest.approx(np.std(values))


def test_many_distinct_values_are_cut_at_quantiles() -> None:
    values = np.random.default_rng(0).lognormal(0, 1, 100_000)
    shares = np.array(reference.numbers(values).counts) / len(values)
    assert len(shares) == reference.BINS == 20
    assert shares.max() < 0.065
    assert (shares[0], shares[-1]) == pytest.approx((0.001, 0.001), abs=1e-4)


def test_few_distinct_values_have_a_bin_each() -> None:
    made = reference.numbers([1.0, 1.0, 2.0, 5.0])
    assert (made.edges, made.counts) == ([2.0, 5.0], [2, 1, 1])


def test_a_constant_has_a_bin_between_two_empty_ones() -> None:
    made = reference.numbers([3.0] * 4)
    assert made.counts == [0, 4, 0]
    assert made.edges is not None
    assert np.searchsorted(made.edges, [2.999, 3.0, 3.001], side="right").tolist() == [0, 1, 2]


def test_a_value_that_most_are_equal_to_has_a_bin_of_its_own() -> None:
    values = np.concatenate([np.zeros(9_900), np.random.default_rng(0).exponential(1, 100)])
    assert reference.numbers(values).counts[0] == 9_900


def test_a_profile_is_the_same_after_its_way_through_json() -> None:
    made = reference.numbers([0.1] * 3)
    assert msgspec.json.decode(ENCODER.encode(made), type=Distribution) == made


def test_scores_are_cut_in_single_precision_so_that_the_joins_fall_where_the_references_did() -> None:
    values = [0.7, 0.1, 0.3]
    made = reference.scores(values)
    assert made.edges is not None
    arrived = np.array(values, np.float32).astype(np.float64)
    places = np.searchsorted(made.edges, arrived, side="right")
    assert np.bincount(places, minlength=3).tolist() == made.counts == [1, 1, 1]


def test_words_stand_by_their_frequency_and_rare_ones_share_the_last_bin() -> None:
    made = reference.words([*("a" * 3), *(f"w{i:03}" for i in range(150)), "b", "b"])
    assert made.categories is not None
    assert made.categories[:3] == ["a", "b", "w000"]
    assert (len(made.categories), made.counts[0], made.counts[-1]) == (100, 3, 52)


def test_true_and_false_are_words_by_themselves_and_numbers_among_numbers() -> None:
    alone = reference.column([True, False, True]).distribution
    assert alone is not None
    assert (alone.categories, alone.counts) == (["true", "false"], [2, 1, 0])
    among = reference.column([True, 0.0, 2.0, 3.0]).distribution
    assert among is not None
    assert (among.lowest, among.highest, sum(among.counts)) == (0.0, 3.0, 4)


def test_values_of_another_type_than_most_are_left_out_and_counted() -> None:
    numeric = reference.column([1.0, 2.0, "old", None])
    assert (numeric.missing, numeric.odd) == (1, 1)
    assert numeric.distribution is not None and numeric.distribution.edges == [2.0]
    textual = reference.column(["nz", "de", 7.0])
    assert (textual.missing, textual.odd) == (0, 1)
    assert textual.distribution is not None and textual.distribution.categories == ["de", "nz"]


def test_a_feature_without_values_has_no_distribution() -> None:
    assert reference.column([None, None]) == reference.Column(None, 2, 0)
