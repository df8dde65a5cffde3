"""Rules with a baseline through the judge's core: what is unusual against the past, and against stable."""

import math

import numpy as np
import pytest

from schemas.records import BUCKETS, Alert
from tests.rule_worlds import Feed, clicks, day, errors, told

NONE = dict[str, float]()

# Against the past


def seasonal(days: float, scale: float = 1.0, seed: int = 0, first: float = 0.0) -> list[dict[str, float]]:
    """Panes of ten minutes whose CTR goes up and down by half with the hour."""
    random = np.random.default_rng(seed)
    rates = (
        scale * 0.05 * (1 + 0.5 * math.sin(2 * math.pi * (first + i / 144))) for i in range(round(days * 144))
    )
    return [clicks(float(random.binomial(20_000, rate)), 20_000) for rate in rates]


def unusual(of: str, **baseline: object) -> Feed:
    return Feed({"metric": "ctr", "baseline": {"of": of} | baseline, "window": "10m"})


def test_a_moving_baseline_fires_on_what_is_far_from_what_was_lately() -> None:
    feed = unusual("moving")
    assert feed.panes(day()) == []
    (fired,) = feed.panes([clicks(350)])
    assert fired.value == 0.035
    assert told(feed.panes([clicks(500)])) == ["resolved"]


def test_its_alert_names_the_value_the_reference_the_sigma_and_the_limits() -> None:
    feed = unusual("moving", sigmas=5)
    feed.panes(day())
    (fired,) = feed.panes([clicks(300)])
    notes = fired.annotations
    reference, sigma, lower = (float(notes[name]) for name in ("reference", "sigma", "lower"))
    assert reference == pytest.approx(0.05, rel=0.02)
    assert sigma == pytest.approx(math.sqrt(0.05 * 0.95 / 10_000), rel=0.25)
    assert lower == pytest.approx(reference - 5 * sigma, rel=1e-3)
    assert fired.threshold == pytest.approx(lower, rel=1e-3)
    assert "upper" not in notes
    assert notes["baseline"] == "moving"
    assert all(word in notes["summary"] for word in ("ctr: 0.03 over 10m, below", "is expected as lately"))


def test_too_little_history_is_no_verdict() -> None:
    feed = unusual("moving")
    assert feed.panes([*day(panes=23), clicks(100)]) == []
    assert told(feed.panes([clicks(100)])) == ["firing"]


def test_only_the_bad_side_of_a_metric_fires() -> None:
    feed = unusual("moving")
    assert feed.panes([*day(), clicks(900)]) == []


def test_both_sides_fire_where_nobody_knows_which_is_bad() -> None:
    feed = Feed({"metric": "predictions", "baseline": {"of": "moving"}, "window": "10m"})
    feed.panes(day())
    assert told(feed.panes([clicks(500, 30_000), clicks(500), clicks(500, 1_000)])) == [
        "firing", "resolved", "firing",
    ]  # fmt: skip


def test_clear_is_in_sigmas() -> None:
    def fed(**more: object) -> list[str]:
        feed = Feed({"metric": "ctr", "baseline": {"of": "moving"}, "window": "10m"} | more)
        feed.panes(day())
        return told(feed.panes([clicks(350), clicks(440), clicks(490)]))

    assert fed() == ["firing", "resolved"]
    feed = Feed({"metric": "ctr", "baseline": {"of": "moving"}, "window": "10m", "clear": 1})
    feed.panes(day())
    assert told(feed.panes([clicks(350), clicks(440)])) == ["firing"]
    assert told(feed.panes([clicks(490)])) == ["resolved"]


def test_the_same_time_a_day_before_knows_the_season_that_a_moving_baseline_takes_for_spread() -> None:
    yesterday, lately = unusual("1d"), unusual("moving")
    for feed in (yesterday, lately):
        assert feed.panes(seasonal(2.5)) == []
    fallen = seasonal(0.02, scale=0.75, first=2.5, seed=1)
    assert "firing" in told(yesterday.panes(fallen))
    assert told(lately.panes(fallen)) == []


def test_the_season_by_itself_is_nothing_unusual_however_long_it_goes_on() -> None:
    assert unusual("1d").panes(seasonal(4)) == []


def test_the_same_time_a_week_before_knows_weekdays_from_weekends() -> None:
    random = np.random.default_rng(0)

    def week(scale: float = 1.0) -> list[dict[str, float]]:
        rates = [0.03 if day_ >= 5 else 0.06 for day_ in range(7) for _ in range(144)]
        return [clicks(float(random.binomial(20_000, scale * rate)), 20_000) for rate in rates]

    feed = unusual("7d")
    assert feed.panes(week()) == []
    assert feed.panes(week()) == []
    assert "firing" in told(feed.panes(week(0.8)[:3]))


def test_it_says_nothing_before_it_has_a_period_and_some_readings_more() -> None:
    feed = unusual("1d")
    assert feed.panes(seasonal(1.1)) == []
    assert feed.panes([clicks(100)]) == []
    feed = unusual("1d")
    assert feed.panes(seasonal(1.4)) == []
    assert told(feed.panes([clicks(100)])) == ["firing"]


def test_a_gap_in_the_history_does_no_harm() -> None:
    feed = unusual("moving")
    assert feed.panes([*day(panes=60), *[NONE] * 30, *day(panes=20)]) == []
    assert told(feed.panes([clicks(300)])) == ["firing"]


def test_half_of_the_history_may_be_wrong_before_the_limits_are() -> None:
    feed = unusual("moving")
    history = day()
    for spoilt in range(0, 144, 3):
        history[spoilt] = clicks(5_000)
    feed.panes(history)
    assert told(feed.panes([clicks(300)])) == ["firing"]


def test_few_events_are_allowed_the_spread_that_chance_gives_them() -> None:
    feed = unusual("moving")
    assert feed.panes(day()) == []
    assert feed.panes([clicks(1, 100)]) == []  # 1 of 100 is not far from 5 %, by chance
    assert told(feed.panes([clicks(100, 10_000)])) == ["firing"]


def test_a_metric_that_never_moved_is_not_unusual_for_a_hair() -> None:
    feed = Feed({"metric": "latency_mean_ms", "baseline": {"of": "moving"}, "window": "10m"})
    same = {"latency_ms": 50_000.0, "timed": 1_000.0, "predictions": 1_000.0}
    assert feed.panes([same] * 144) == []
    assert feed.panes([same | {"latency_ms": 50_010.0}]) == []
    assert told(feed.panes([same | {"latency_ms": 60_000.0}])) == ["firing"]


def test_percentiles_have_baselines_too() -> None:
    feed = Feed({"metric": "latency_p90_ms", "baseline": {"of": "moving"}, "window": "10m"})
    random = np.random.default_rng(0)
    for _ in range(60):
        slow = {100 + int(place): 500 for place in random.integers(0, 3, 4)}
        assert feed.panes([{"predictions": 2_000.0}], latency=slow) == []
    assert told(feed.panes([{"predictions": 2_000.0}], latency={160: 2_000})) == ["firing"]


# Against stable


def bucketed(rate: float, seed: int, per: int = 40) -> dict[str, list[float]]:
    random = np.random.default_rng(seed)
    seen = random.poisson(per, BUCKETS).astype(float)
    return {
        "impressions": seen.tolist(),
        "clicks": random.binomial(seen.astype(int), rate).astype(float).tolist(),
    }


def compared(stable: float, candidate: float, *, seed: int = 0, **rule: object) -> list[Alert]:
    feed = Feed({"metric": "ctr", "baseline": {"of": "stable"}, "window": "10m"} | rule)
    feed.tell({}, "v1", buckets=bucketed(stable, seed))
    return feed.panes([{}], "v2", arm="candidate", buckets=bucketed(candidate, seed + 1))


def test_a_candidate_that_does_worse_than_stable_in_the_same_window_fires_without_any_history() -> None:
    (fired,) = compared(0.10, 0.05)
    assert fired.annotations["baseline"] == "stable"
    assert float(fired.annotations["reference"]) == pytest.approx(0.1, rel=0.1)
    assert "is expected as stable has" in fired.annotations["summary"]


def test_one_that_does_as_well_or_better_does_not() -> None:
    assert compared(0.10, 0.10) == []
    assert compared(0.05, 0.10) == []


def test_a_version_may_be_named_instead_of_the_candidate() -> None:
    assert told(compared(0.10, 0.05, where={"version": "v2"})) == ["firing"]
    assert compared(0.10, 0.05, where={"version": "v9"}) == []


def test_without_users_buckets_the_events_say_how_sure_it_is() -> None:
    def fed(candidate: float, number: float) -> list[str]:
        feed = Feed({"metric": "error_rate", "baseline": {"of": "stable"}, "window": "10m"})
        feed.tell(errors(0.01 * number, number), "v1")
        return told(feed.panes([errors(candidate * number, number)], "v2", arm="candidate"))

    assert fed(0.05, 10_000) == ["firing"]
    assert fed(0.05, 100) == []
    assert fed(0.005, 10_000) == []


def test_without_stable_in_the_window_there_is_no_verdict() -> None:
    feed = Feed({"metric": "error_rate", "baseline": {"of": "stable"}, "window": "10m"})
    assert feed.panes([errors(900)], "v2", arm="candidate") == []


def test_percentiles_are_held_against_stable_by_their_own_intervals() -> None:
    feed = Feed({"metric": "latency_p50_ms", "baseline": {"of": "stable"}, "window": "10m"})
    feed.tell({"predictions": 1_000.0}, "v1", latency=dict.fromkeys(range(150, 200), 20))
    slower = dict.fromkeys(range(170, 220), 20)
    assert told(feed.panes([{}], "v2", arm="candidate", latency=slower)) == ["firing"]
