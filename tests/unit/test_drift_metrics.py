"""Distances from a reference profile: against scipy on the raw samples within the stated bounds, and on the
bins exactly.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from scipy.stats import ks_2samp, wasserstein_distance

from schemas.records import Distribution
from streams.metrics import drift, reference

Floats = npt.NDArray[np.float64]
Sampler = Callable[[np.random.Generator, int, float], Floats]

SAMPLERS: dict[str, Sampler] = {
    "normal": lambda random, n, shift: random.normal(shift, 1, n),
    "lognormal": lambda random, n, shift: random.lognormal(shift, 1, n),
    "mostly zero": lambda random, n, shift: np.where(
        random.random(n) < 0.6 + shift / 4, 0.0, random.exponential(1, n)
    ),
    "counts": lambda random, n, shift: random.poisson(2 + shift, n).astype(np.float64),
}
"""Samples of a size, shifted by about so many deviations."""

EVERY = pytest.mark.parametrize(
    ("sampler", "shift"), [(name, shift) for name in SAMPLERS for shift in (0.0, 0.1, 0.5, 1.0)]
)


def binned(values: Floats, profile: Distribution) -> list[int]:
    """Counts by the profile's bins."""
    assert profile.edges is not None
    places = np.searchsorted(profile.edges, values, side="right")
    return np.bincount(places, minlength=len(profile.counts)).tolist()  # type: ignore[no-any-return]


def samples(sampler: str, shift: float, n: int = 4_000) -> tuple[Floats, Floats]:
    """A reference's values, and live ones within their extremes."""
    random = np.random.default_rng(7)
    before, live = SAMPLERS[sampler](random, 20_000, 0.0), SAMPLERS[sampler](random, n, shift)
    return before, np.clip(live, before.min(), before.max())


def shares(counts: list[int]) -> Floats:
    return np.array(counts) / sum(counts)


@EVERY
def test_ks_is_the_exact_statistic_or_less_by_no_more_than_a_bins_mass(sampler: str, shift: float) -> None:
    before, live = samples(sampler, shift)
    profile = reference.numbers(before)
    counts = binned(live, profile)
    found, exact = drift.kolmogorov_smirnov(counts, profile), ks_2samp(before, live).statistic
    gap = np.minimum(shares(counts), shares(profile.counts)).max()
    assert found is not None
    assert found - 1e-12 <= exact <= found + gap + 1e-12


@EVERY
def test_wasserstein_of_raw_values_is_within_half_of_the_bins_widths(sampler: str, shift: float) -> None:
    before, live = samples(sampler, shift)
    profile = reference.numbers(before)
    counts = binned(live, profile)
    assert profile.edges and profile.lowest is not None and profile.highest is not None
    widths = np.diff([profile.lowest, *profile.edges, profile.highest])
    bound = ((shares(counts) + shares(profile.counts)) * widths / 2).sum()
    exact = wasserstein_distance(before, live)
    assert drift.wasserstein(counts, profile) == pytest.approx(
        exact / before.std(), abs=bound / before.std() + 1e-9
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_wasserstein_is_close_to_the_exact_distance_far_beyond_what_is_promised(sampler: str) -> None:
    before, live = samples(sampler, 0.5)
    profile = reference.numbers(before)
    exact = wasserstein_distance(before, live) / before.std()
    assert drift.wasserstein(binned(live, profile), profile) == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize("shift", [0.1, 0.5, 1.0])
def test_wasserstein_of_a_shift_is_the_shift_in_deviations(shift: float) -> None:
    before = np.random.default_rng(1).normal(50, 8, 50_000)
    profile = reference.numbers(before)
    assert drift.wasserstein(binned(before + 8 * shift, profile), profile) == pytest.approx(shift, rel=0.05)


@EVERY
def test_on_the_bins_all_distances_are_scipys(sampler: str, shift: float) -> None:
    before, live = samples(sampler, shift)
    profile = reference.numbers(before)
    counts = binned(live, profile)
    a, e = shares(counts), shares(profile.counts)
    floored = np.maximum(a, 1e-4), np.maximum(e, 1e-4)
    assert profile.edges
    bounds = np.array([profile.lowest, *profile.edges, profile.highest], np.float64)
    middles = (bounds[1:] + bounds[:-1]) / 2
    assert {name: method(counts, profile) for name, method in drift.METHODS.items()} == {
        "psi": pytest.approx((rel_entr(*floored) + rel_entr(*floored[::-1])).sum()),
        "js": pytest.approx(jensenshannon(a, e, base=2), abs=1e-7),
        "ks": pytest.approx(np.abs(np.cumsum(a - e)).max()),
        "wasserstein": pytest.approx(wasserstein_distance(middles, middles, a, e) / before.std()),
    }


def test_the_same_distribution_has_no_distance() -> None:
    profile = reference.numbers(np.random.default_rng(1).normal(0, 1, 10_000))
    assert [method(profile.counts, profile) for method in drift.METHODS.values()] == pytest.approx([0.0] * 4)


def test_distributions_without_anything_in_common_are_as_far_apart_as_can_be() -> None:
    words = Distribution(counts=[5, 0, 0], categories=["a", "b"])
    assert drift.jensen_shannon([0, 3, 0], words) == pytest.approx(1.0)
    assert drift.kolmogorov_smirnov([0, 3, 0], words) == pytest.approx(1.0)
    assert drift.wasserstein([0, 3, 0], words) == pytest.approx(1.0)


def test_of_categories_the_order_makes_no_difference() -> None:
    one = Distribution(counts=[6, 3, 1], categories=["a", "b"])
    other = Distribution(counts=[3, 6, 1], categories=["b", "a"])
    for method in drift.METHODS.values():
        assert method([2, 3, 5], one) == pytest.approx(method([3, 2, 5], other))


@pytest.mark.parametrize("method", drift.METHODS)
def test_without_values_there_is_no_distance(method: str) -> None:
    seen, unseen = Distribution(counts=[1, 1], edges=[0.0]), Distribution(counts=[0, 0], edges=[0.0])
    assert drift.METHODS[method]([0, 0], seen) is None
    assert drift.METHODS[method]([1, 1], unseen) is None


def test_a_profile_without_extremes_or_spread_has_no_wasserstein_distance() -> None:
    assert drift.wasserstein([1, 1], Distribution(counts=[1, 1], edges=[0.0], deviation=1.0)) is None
    constant = reference.numbers([3.0, 3.0])
    assert drift.wasserstein([0, 1, 0], constant) is None


def test_psi_of_samples_of_the_reference_itself_is_about_bins_by_samples() -> None:
    random = np.random.default_rng(3)
    profile = reference.numbers(random.normal(0, 1, 100_000))
    found = [drift.psi(binned(random.normal(0, 1, 2_000), profile), profile) for _ in range(200)]
    expected = (len(profile.counts) - 1) * (1 / 2_000 + 1 / 100_000)
    assert np.mean([value for value in found if value is not None]) == pytest.approx(expected, rel=0.15)


def test_rates_are_shares_of_all_values() -> None:
    quality = [200, 20, 4, 2, 50]
    assert {name: drift.rate(name, quality) for name in drift.RATES} == {
        "missing_rate": 0.1,
        "out_of_range_rate": 0.02,
        "type_error_rate": 0.01,
        "unseen_rate": 0.25,
    }
    assert drift.rate("missing_rate", [0] * 5) is None
