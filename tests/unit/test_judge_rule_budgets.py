"""Rules on error budgets and on silence through the judge's core: `burn_rate` and `no_data`."""

import pytest

from tests.judging import START
from tests.rule_worlds import Feed, clicks, errors, told

NONE = dict[str, float]()

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
