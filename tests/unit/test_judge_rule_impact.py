"""Rules on drift that are gated by its impact, through the judge's core."""

import pytest

from schemas.records import SCORE, Distribution, Profile
from tests.judging import START
from tests.rule_worlds import Feed, clicks, day

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
