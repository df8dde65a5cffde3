"""Every kind of rule through the judge's core: what fires it, what does not, what its alert says."""

import math

import numpy as np
import pytest

from schemas.records import BUCKETS, SCORE, Alert, Distribution, Profile
from tests.judging import START
from tests.rule_worlds import Feed, clicks, errors, told

BAD, GOOD, NONE = errors(100), errors(0), dict[str, float]()

# M of n panes


def voted(of: int, at_least: int, *panes: dict[str, float], **more: object) -> list[Alert]:
    rule = {"metric": "error_rate", "above": 0.05, "for": {"of": of, "at_least": at_least}, "window": "10s"}
    return Feed(rule | more, length="10s").panes(panes)


@pytest.mark.parametrize(
    ("of", "at_least", "pattern", "expected"),
    [
        (5, 3, "xxx", "..F"),
        (5, 3, "x.x.x", "....F"),
        (5, 3, "x..x..x", "......."),
        (5, 3, "xx..x", "....F"),
        (3, 3, "xx.xxx", ".....F"),
        (3, 1, ".x...", ".F..R"),
        (3, 2, "xx.x.x", ".F..R."),
        (3, 2, "xx..", ".F.R"),
        (3, 2, "xx...xx", ".F.R..F"),
        (1, 1, "x.x", "FRF"),
        (4, 2, "x--x", "...F"),
        (3, 2, "x--x", "...."),
        (3, 2, "xx---", ".F..."),
        (3, 2, "xx--..", ".F..R."),
    ],
)
def test_m_of_n_panes(of: int, at_least: int, pattern: str, expected: str) -> None:
    rule = {
        "metric": "error_rate", "above": 0.05, "window": "10s",
        "for": {"of": of, "at_least": at_least},
    }  # fmt: skip
    feed = Feed(rule, length="10s")
    seen = ""
    for pane in pattern:
        found = feed.panes([{"x": BAD, ".": GOOD, "-": NONE}[pane]])
        seen += {(): ".", ("firing",): "F", ("resolved",): "R"}[tuple(told(found))]
    assert seen == expected


def test_m_of_n_is_dated_from_the_oldest_violating_pane_that_counted() -> None:
    feed = Feed(
        {"metric": "error_rate", "above": 0.05, "window": "10s", "for": {"of": 3, "at_least": 2}},
        length="10s",
    )
    start = feed.now
    (fired,) = feed.panes([BAD, GOOD, GOOD, BAD, GOOD, BAD])
    assert fired.starts_at == start + 30_000


def test_m_of_n_with_clear_is_resolved_only_beyond_it() -> None:
    rest = [errors(30), errors(30), errors(10)]
    assert told(voted(3, 2, BAD, BAD, *rest)) == ["firing", "resolved"]
    assert told(voted(3, 2, BAD, BAD, *rest[:2], clear=0.02)) == ["firing"]
    assert told(voted(3, 2, BAD, BAD, *rest, clear=0.02)) == ["firing", "resolved"]


# Outside, with limits of its own for what is over


def test_outside_with_clear_is_resolved_only_between_its_two_limits() -> None:
    feed = Feed(
        {"metric": "throughput_rps", "outside": [10, 20], "clear": [12, 18], "window": "10s"}, length="10s"
    )
    rates = [15, 21, 19, 18, 17, 9, 11, 12, 13]
    seen = [told(feed.panes([{"predictions": 10.0 * rate}])) for rate in rates]
    assert seen == [[], ["firing"], [], [], ["resolved"], ["firing"], [], [], ["resolved"]]


# Labels and annotations


def test_labels_and_annotations_of_the_rule_are_the_alerts() -> None:
    (fired,) = Feed(
        {
            "name": "errors", "metric": "error_rate", "above": 0.05, "window": "10s", "severity": "page",
            "where": {"arm": "stable"}, "labels": {"team": "search"},
            "summary": "Too many errors", "runbook": "https://wiki/errors",
        },
        length="10s",
    ).panes([BAD])  # fmt: skip
    assert fired.labels == {"metric": "error_rate", "arm": "stable", "team": "search"}
    assert fired.severity == "page"
    assert fired.annotations["summary"] == "Too many errors"
    assert fired.annotations["description"] == "error_rate, arm stable: 0.1 over 10s, above 0.05"
    assert fired.annotations["runbook_url"] == "https://wiki/errors"


def test_without_a_summary_of_its_own_the_alert_says_what_was_found() -> None:
    (fired,) = Feed({"metric": "error_rate", "above": 0.05, "window": "10s"}, length="10s").panes([BAD])
    assert fired.annotations == {"summary": "error_rate: 0.1 over 10s, above 0.05"}


# Baselines


def day(level: float = 0.05, panes: int = 144, seed: int = 0, of: int = 10_000) -> list[dict[str, float]]:
    """A day of CTR in panes of ten minutes, without a season."""
    random = np.random.default_rng(seed)
    return [clicks(float(random.binomial(of, level)), of) for _ in range(panes)]


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


# Burn rates

BURNING = {
    "metric": "error_rate",
    "burn_rate": {"objective": 0.99, "factor": 14.4, "windows": ["1h", "5m"]},
}


def test_a_budget_that_burns_in_both_windows_fires_and_stops_with_the_short_one() -> None:
    feed = Feed(BURNING, length="1m")
    assert feed.panes([errors(5)] * 60) == []
    found = feed.panes([errors(300)] * 60)
    assert told(found) == ["firing"]
    assert found[0].value is not None and found[0].value > 14.4
    assert float(found[0].annotations["burn_rate_5m"]) == pytest.approx(30, rel=0.01)
    assert told(feed.panes([errors(0)] * 5)) == ["resolved"]


def test_it_fires_when_the_long_window_has_used_up_its_share_and_not_before() -> None:
    feed = Feed(BURNING, length="1m")
    feed.panes([errors(0)] * 60)
    found = [(minute, alert) for minute in range(1, 40) for alert in feed.panes([errors(300)])]
    # 14.4 % of an hour's requests have failed once 28.8 minutes had 30 % of errors and 31.2 had none
    assert [minute for minute, _ in found] == [29]


def test_a_short_burst_does_not_fire() -> None:
    feed = Feed(BURNING, length="1m")
    assert feed.panes([errors(0)] * 60 + [errors(1_000)] * 6 + [errors(0)] * 30) == []


def test_what_came_before_anybody_looked_counts_as_good() -> None:
    feed = Feed(BURNING, length="1m")
    assert feed.panes([errors(300)] * 20) == []
    assert told(feed.panes([errors(300)] * 20)) == ["firing"]


def test_windows_of_days_are_the_sums_of_all_their_panes() -> None:
    burn = {"objective": 0.9, "factor": 1, "windows": ["3d", "6h"]}
    feed = Feed({"metric": "error_rate", "burn_rate": burn})
    assert feed.panes([errors(90)] * 432) == []
    found = feed.panes([errors(150)] * 432)
    (fired,) = found
    since = (fired.starts_at - START) // 600_000 - 432
    assert fired.value == pytest.approx(1, rel=0.01)
    assert since == pytest.approx(432 / 6, abs=2)  # a sixth of three days at 15 % makes 9 % to 10 %


def test_the_factor_for_what_is_over_may_be_lower() -> None:
    feed = Feed(BURNING | {"clear": 5}, length="1m")
    feed.panes([errors(300)] * 60)
    assert feed.panes([errors(100)] * 10) == []
    assert told(feed.panes([errors(0)] * 5)) == ["resolved"]


def test_without_traffic_a_budget_neither_burns_nor_stops_burning() -> None:
    feed = Feed(BURNING, length="1m")
    assert told(feed.panes([errors(300)] * 60)) == ["firing"]
    assert feed.panes([NONE] * 10) == []


# No data

SILENT = {"metric": "ctr", "no_data": "5m"}


def test_silence_fires_and_is_resolved_by_the_first_data() -> None:
    feed = Feed(SILENT, length="1m")
    assert feed.panes([clicks(5)] * 10) == []
    start = feed.now
    (fired,) = feed.panes([NONE] * 5)
    assert fired.starts_at == start
    assert fired.annotations["summary"] == "ctr: nothing for 5m"
    assert feed.panes([NONE] * 10) == []
    (resolved,) = feed.panes([clicks(1)])
    assert resolved.alert_id == fired.alert_id


def test_four_minutes_of_silence_are_no_five() -> None:
    feed = Feed(SILENT, length="1m")
    assert feed.panes(([clicks(5)] + [NONE] * 4) * 3) == []


def test_predictions_without_impressions_are_no_data_for_the_ctr() -> None:
    feed = Feed(SILENT, length="1m")
    assert feed.panes([clicks(5)] * 3) == []
    assert told(feed.panes([errors(0)] * 5)) == ["firing"]


def test_of_a_count_nothing_is_silence() -> None:
    feed = Feed({"metric": "clicks", "no_data": "5m"}, length="1m")
    assert told(feed.panes([clicks(5)] + [clicks(0)] * 6)) == ["firing"]


def test_a_version_that_never_comes_is_silent_from_when_somebody_listened() -> None:
    feed = Feed(SILENT | {"where": {"version": "v3"}}, length="1m")
    assert feed.panes([clicks(5)] * 4) == []
    assert told(feed.panes([clicks(5)])) == ["firing"]


def test_a_model_that_never_speaks_is_silent_once_it_is_expected() -> None:
    feed = Feed(SILENT, length="1m")
    feed.judge.expect("ranker")
    assert feed.panes([NONE] * 5) == []
    assert told(feed.panes([NONE])) == ["firing"]


def test_a_new_model_is_not_silent_for_the_time_before_it() -> None:
    assert Feed(SILENT, length="1m").panes([clicks(5)]) == []


def test_long_silences_need_no_panes_to_be_held() -> None:
    feed = Feed({"metric": "predictions", "no_data": "2h"}, length="1m")
    assert feed.panes([errors(0)] * 10 + [NONE] * 119) == []
    assert told(feed.panes([NONE] * 12)) == ["firing"]


# Long windows


def test_a_window_of_an_hour_is_exact_though_its_panes_are_forgotten() -> None:
    feed = Feed({"metric": "error_rate", "above": 0.0999, "window": "1h"}, length="1m")
    feed.panes([errors(0)] * 30)
    found = []
    for minute in range(1, 60):
        feed.judge.forget(feed.now)
        found += [(minute, alert.value) for alert in feed.panes([errors(200)])]
    assert found == [(30, 0.1)]


def test_a_late_correction_counts_in_a_long_window_until_its_pane_is_final() -> None:
    feed = Feed({"metric": "error_rate", "above": 0.01, "window": "1h"}, length="1m")
    feed.panes([errors(0)] * 10)
    feed.tell(errors(0))
    feed.tell(errors(1_000))
    (fired,) = feed.go_on()
    assert fired.value == pytest.approx(1 / 11)


# Drift, gated by its impact

AGES = Distribution(counts=[50, 50], edges=[18.0], lowest=0.0, highest=100.0, deviation=20.0)
SCORES = Distribution(counts=[50, 50], edges=[0.5], lowest=0.0, highest=1.0, deviation=0.3)
STEADY = {"age": [500, 500], SCORE: [500, 500]}
DRIFTED = {"age": [950, 50], SCORE: [500, 500]}
PROMISING_LESS = {"age": [950, 50], SCORE: [900, 100]}


def gated(**impact: object) -> Feed:
    feed = Feed(
        {
            "name": "drift", "metric": "drift_psi", "where": {"feature": "age"}, "above": 0.2,
            "window": "10m", "impact": {"metric": "ctr", "worse_by": 0.05} | impact,
            "labels": {"team": "search"},
        }
    )  # fmt: skip
    feed.profiles.add(Profile(model="ranker", version="v1", ts=START, features={"age": AGES}, score=SCORES))
    for sums in day(panes=60):
        assert feed.panes([sums], features=STEADY) == []
    return feed


def test_drift_without_an_impact_warns_and_says_so() -> None:
    feed = gated()
    (fired,) = feed.panes([clicks(500)], features=DRIFTED)
    assert fired.severity == "warning"
    assert fired.annotations["impact"] == "none"
    assert fired.annotations["feature"] == "age"
    assert "ctr is 0.05" in fired.annotations["impact_text"]


def test_drift_with_a_proven_drop_pages_beside_its_own_warning() -> None:
    feed = gated()
    warned, paged = feed.panes([clicks(300)], features=DRIFTED)
    assert (warned.severity, paged.severity) == ("warning", "page")
    assert (warned.annotations["impact"], paged.annotations["impact"]) == ("proven", "proven")
    assert paged.labels == warned.labels | {"impact": "ctr"}
    assert paged.alert_id != warned.alert_id
    assert paged.value == 0.03
    assert paged.threshold is not None and 0.03 < paged.threshold < 0.05


def test_a_drop_within_chance_is_an_estimate_and_pages_too() -> None:
    _, paged = gated().panes([clicks(455)], features=DRIFTED)
    assert paged.annotations["impact"] == "estimated"


def test_the_page_ends_with_the_impact_and_the_warning_with_the_drift() -> None:
    feed = gated()
    feed.panes([clicks(300)], features=DRIFTED)
    assert [(a.severity, a.status) for a in feed.panes([clicks(500)], features=DRIFTED)] == [
        ("page", "resolved")
    ]
    assert [(a.severity, a.status) for a in feed.panes([clicks(500)], features=STEADY)] == [
        ("warning", "resolved")
    ]


def test_the_page_ends_when_the_drift_does() -> None:
    feed = gated()
    feed.panes([clicks(300)], features=DRIFTED)
    found = feed.panes([clicks(300)], features=STEADY)
    assert sorted((alert.severity, alert.status) for alert in found) == [
        ("page", "resolved"), ("warning", "resolved"),
    ]  # fmt: skip


def test_an_impact_that_comes_after_the_drift_pages_then() -> None:
    feed = gated()
    assert [alert.severity for alert in feed.panes([clicks(500)], features=DRIFTED)] == ["warning"]
    assert [alert.severity for alert in feed.panes([clicks(300)], features=DRIFTED)] == ["page"]


def test_a_drop_without_drift_is_no_business_of_the_rule() -> None:
    assert gated().panes([clicks(300)], features=STEADY) == []


def test_without_clicks_the_scores_say_what_is_to_be_expected() -> None:
    feed = gated()
    warned, paged = feed.panes([{"predictions": 1_000.0}], features=PROMISING_LESS)
    assert (warned.annotations["impact"], paged.annotations["impact"]) == ("estimated", "estimated")
    assert "by its scores" in paged.annotations["summary"]
    # the bins' middles are 0.25 and 0.75: 0.3 is promised, 0.5 was in training
    assert paged.value == pytest.approx(0.3)
    assert paged.threshold == pytest.approx(0.475)


def test_without_clicks_and_without_a_fall_of_the_scores_nobody_is_paged() -> None:
    (warned,) = gated().panes([{"predictions": 1_000.0}], features=DRIFTED)
    assert warned.annotations["impact"] == "none"


def test_the_impact_may_be_held_against_stable() -> None:
    feed = gated(baseline={"of": "stable"})
    feed.profiles.add(Profile(model="ranker", version="v2", ts=START, features={"age": AGES}))
    feed.tell(clicks(500), "v1", features=STEADY)
    found = feed.panes([clicks(300)], "v2", arm="candidate", features={"age": [1_950, 50]})
    assert [alert.severity for alert in found] == ["warning", "page"]
