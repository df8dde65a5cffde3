"""What is usual: robust statistics against scipy's, references by season, the least that chance allows."""

import math
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from schemas.policies import Baseline, Duration, parse
from streams.judge.rules import baseline
from streams.judge.rules.baseline import LEAST, chance, robust, usual
from streams.judge.rules.memory import Grid

STEP = 600_000
DAY = 144


def grid(values: Iterable[float]) -> Grid:
    """Readings every ten minutes from the epoch on, NaN where there is none."""
    made = Grid(STEP, 1, math.nan)
    for number, value in enumerate(values):
        made.put(number * STEP, [float(value)])
    return made


def asked(of: str, **more: object) -> Baseline:
    rule = {"name": "r", "metric": "ctr", "baseline": {"of": of} | more}
    found = parse({"model": "m", "rules": [rule]}).rules[0].baseline
    assert found is not None
    return found


finite = st.floats(-1e6, 1e6)


@given(st.lists(finite, min_size=2, max_size=50))
def test_median_and_sigma_are_scipys(values: list[float]) -> None:
    middle, sigma = robust(np.array(values))
    assert middle == pytest.approx(np.median(values))
    assert sigma == pytest.approx(stats.median_abs_deviation(values, scale="normal"), rel=1e-4, abs=1e-9)


def test_sigma_is_the_standard_deviation_of_normal_values() -> None:
    values = np.random.default_rng(0).normal(5, 2, 100_000)
    assert list(robust(values)) == pytest.approx([5, 2], rel=0.02)


def test_moving_is_the_median_of_the_last_day() -> None:
    values = [*np.random.default_rng(0).normal(90, 1, 300), *np.random.default_rng(1).normal(50, 3, DAY)]
    found = usual(asked("moving"), grid(values), len(values) * STEP, fractions=False)
    assert found is not None
    assert found.reference == pytest.approx(np.median(values[-DAY:]))
    assert found.sigma == pytest.approx(stats.median_abs_deviation(values[-DAY:], scale="normal"), rel=1e-4)


def test_a_reading_is_not_held_against_itself_or_later_ones() -> None:
    values = np.random.default_rng(0).normal(50, 3, 200)
    before = usual(asked("moving"), grid(values[:150]), 150 * STEP, fractions=False)
    assert usual(asked("moving"), grid(values), 150 * STEP, fractions=False) == before
    assert usual(asked("moving"), grid(values), 149 * STEP + 1, fractions=False) == before


@pytest.mark.parametrize(("of", "period"), [("1d", DAY), ("7d", 7 * DAY)])
def test_the_reference_is_the_median_within_half_an_hour_of_the_same_time(of: str, period: int) -> None:
    values = np.arange(9 * DAY, dtype=float) ** 1.5
    now = len(values)
    found = usual(asked(of), grid(values), now * STEP, fractions=False)
    references = [np.median(values[i - period - 3 : i - period + 4]) for i in range(now - DAY, now + 1)]
    residuals = values[-DAY:] - references[:-1]
    assert found is not None
    assert found.reference == pytest.approx(references[-1] + np.median(residuals))
    assert found.sigma == pytest.approx(stats.median_abs_deviation(residuals, scale="normal"), rel=1e-4)


def test_fractions_count_deviations_in_parts_of_the_reference() -> None:
    random = np.random.default_rng(0)
    level = np.where(np.arange(3 * DAY) % DAY < DAY // 2, 100.0, 1_000.0)
    values = level * random.normal(1, 0.05, len(level))
    low = usual(asked("1d"), grid(values), (3 * DAY + 10) * STEP, fractions=True)
    high = usual(asked("1d"), grid(values), (3 * DAY + DAY // 2 + 10) * STEP, fractions=True)
    assert low is not None and high is not None
    assert [low.reference, high.reference] == pytest.approx([100, 1_000], rel=0.05)
    assert low.sigma / low.reference == pytest.approx(high.sigma / high.reference, rel=0.2)


@pytest.mark.parametrize("known", [0, 1, LEAST - 1, LEAST, LEAST + 1])
def test_it_takes_so_many_residuals(known: int) -> None:
    found = usual(asked("moving"), grid(range(known)), max(known, 1) * STEP, fractions=False)
    assert (found is not None) == (known >= LEAST)


def test_more_or_less_of_the_past_may_be_asked_for() -> None:
    values = [0.0] * 500 + [10.0] * 40
    short, long = asked("moving", over="6h"), asked("moving", over="3d")
    now = len(values) * STEP
    assert usual(short, grid(values), now, fractions=False) == (10.0, 0.0)
    assert usual(long, grid(values), now, fractions=False) == (0.0, 0.0)


def test_gaps_are_left_out() -> None:
    values = np.full(2 * DAY, math.nan)
    values[::4] = 5.0
    assert usual(asked("moving"), grid(values), len(values) * STEP, fractions=False) == (5.0, 0.0)
    assert usual(asked("1d"), grid(values), len(values) * STEP, fractions=False) == (5.0, 0.0)


@pytest.mark.parametrize(
    ("pane", "window", "step"),
    [
        ("10s", "10s", "10m"), ("10s", "10m", "10m"), ("10s", "610s", "20m"), ("10s", "1h", "1h"),
        ("15m", "15m", "30m"), ("1h", "1h", "1h"), ("4m", "4m", "20m"), ("10s", "25m", "30m"),
    ],
)  # fmt: skip
def test_readings_are_ten_minutes_apart_or_whole_windows(pane: str, window: str, step: str) -> None:
    policy = parse({"model": "m", "pane": pane})
    assert baseline.step(Duration.parse(window), policy) == Duration.parse(step)


# What chance alone gives


@pytest.mark.parametrize(("share", "events"), [(0.05, 1_000), (0.5, 200), (0.9, 5_000)])
def test_a_share_has_the_spread_of_the_binomial(share: float, events: int) -> None:
    expected = stats.binom(events, share).std() / events
    assert chance("ctr", share, share * events, events, None) == pytest.approx(expected)


def test_a_share_that_was_never_seen_has_some_spread_all_the_same() -> None:
    assert 0 < chance("error_rate", 0.0, 0.0, 1_000, None) < 0.001
    assert 0 < chance("error_rate", 1.0, 1_000.0, 1_000, None) <= 0.001


def test_a_count_has_the_spread_of_poisson() -> None:
    assert chance("clicks", 400.0, 0, 0, None) == pytest.approx(stats.poisson(400).std())


def test_a_rate_by_the_second_has_that_of_its_count() -> None:
    assert chance("throughput_rps", 40.0, 400, 10, None) == pytest.approx(stats.poisson(400).std() / 10)


def test_a_reading_with_an_interval_brings_its_own() -> None:
    assert chance("latency_p99_ms", 100.0, 0, 0, 7.5) == 7.5


@pytest.mark.parametrize(
    ("metric", "sides"),
    [
        ("ctr", (True, False)), ("error_rate", (False, True)), ("latency_p99_ms", (False, True)),
        ("predictions", (True, True)), ("calibration", (True, True)), ("drift_psi", (False, True)),
        ("recall@5", (True, False)), ("log_loss", (False, True)),
    ],
)  # fmt: skip
def test_the_bad_side_is_the_catalogues(metric: str, sides: tuple[bool, bool]) -> None:
    assert baseline.bad_sides(metric) == sides


def test_four_sigmas_are_seldom_passed_where_nothing_happens() -> None:
    random = np.random.default_rng(0)
    passed = looked = 0
    for _ in range(40):
        values = random.binomial(10_000, 0.05, 5 * DAY) / 10_000
        readings = grid(values)
        for now in range(DAY, 5 * DAY, 7):
            found = usual(asked("moving"), readings, now * STEP, fractions=False)
            assert found is not None
            sigma = max(found.sigma, chance("ctr", found.reference, 0, 10_000, None))
            looked += 1
            passed += values[now] < found.reference - 4 * sigma
    assert looked > 3_000
    assert passed <= 3
