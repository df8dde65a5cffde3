"""Rules of every kind through the judge's core: m of n panes, limits on both sides, long windows; and what an
alert says. Kinds with files of their own: `test_judge_rule_baselines.py`, `…_budgets.py`, `…_impact.py`.
"""

import pytest

from schemas.records import Alert
from tests.rule_worlds import Feed, errors, told

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
