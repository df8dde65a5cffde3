"""Rules on drift and data quality, and what the judge says of final panes, through its core."""

from collections.abc import Mapping, Sequence

import pytest

from schemas.records import Alert, Detection, Distribution, Profile
from streams.judge import check
from streams.judge.rules.detectors import WARM_UP
from streams.metrics import drift
from tests.judging import PANE, START, World, pane

AGES = Distribution(counts=[50, 50], edges=[18.0], lowest=0.0, highest=100.0, deviation=20.0)
WORDS = Distribution(counts=[50, 50, 0], categories=["nz", "de"])


def world(**rule: object) -> World:
    """A rule over panes of `ranker`, v1 and v2 of which have a profile."""
    base: dict[str, object] = {"name": "drifted", "window": "1s", "above": 0.2}
    made = World({"rules": [base | rule]})
    for version in ("v1", "v2"):
        made.profiles.add(
            Profile(model="ranker", version=version, ts=START, features={"age": AGES, "country": WORDS})
        )
    return made


def feed(
    made: World, *seconds: Mapping[str, Sequence[int]], version: str = "v1", **fields: object
) -> list[Alert]:
    """A pane a second, with these tallies of features; answers what fired or was resolved."""
    found = []
    for features in seconds:
        start = made.now
        made.now += PANE
        tallies = {name: list(counts) for name, counts in features.items()}
        made.take(pane(version, start, features=tallies, **fields))  # type: ignore[arg-type]
        found += made.progress()
    return found


def values(alerts: list[Alert]) -> list[tuple[str, object]]:
    return [(alert.status, alert.value and round(alert.value, 6)) for alert in alerts]


@pytest.mark.parametrize("method", drift.METHODS)
def test_a_feature_that_drifts_fires_with_the_distance_from_the_profile(method: str) -> None:
    expected = drift.METHODS[method]([1, 9], AGES)
    assert expected is not None
    found = feed(
        world(metric=f"drift_{method}", where={"feature": "age"}),
        {"age": [5, 5]},
        {"age": [1, 9]},
        {"age": [5, 5]},
    )
    assert values(found) == [("firing", round(expected, 6)), ("resolved", 0.0)]


def test_all_panes_of_the_window_are_taken_together() -> None:
    made = world(metric="drift_ks", where={"feature": "age"}, window="2s")
    assert feed(made, {"age": [5, 5]}, {"age": [7, 3]}, {"age": [3, 7]}) == []
    assert len(feed(made, {"age": [1, 9]})) == 1


def test_only_the_feature_that_is_named_counts() -> None:
    features = {"age": [5, 5], "country": [9, 1, 0]}
    assert feed(world(metric="drift_psi", where={"feature": "age"}), features) == []
    assert len(feed(world(metric="drift_psi", where={"feature": "country"}), features)) == 1


def test_without_a_name_the_worst_feature_counts() -> None:
    expected = drift.psi([9, 1, 0], WORDS)
    (fired,) = feed(world(metric="drift_psi"), {"age": [5, 5], "country": [9, 1, 0]})
    assert fired.value == pytest.approx(expected)


def test_each_version_is_held_against_its_own_profile_and_the_worse_one_counts() -> None:
    made = world(metric="drift_ks", where={"feature": "age"})
    made.profiles.add(
        Profile(
            model="ranker",
            version="v3",
            ts=START,
            features={"age": Distribution(counts=[10, 90], edges=[30.0])},
        )
    )
    made.take(pane("v3", made.now, arm="candidate", features={"age": [1, 9]}))
    assert feed(made, {"age": [5, 5]}) == []
    made.take(pane("v3", made.now, arm="candidate", features={"age": [5, 5]}))
    (fired,) = feed(made, {"age": [5, 5]})
    assert fired.value == pytest.approx(0.4)


def test_a_version_can_be_named() -> None:
    made = world(metric="drift_ks", where={"feature": "age", "version": "v2"})
    assert feed(made, {"age": [0, 9]}) == []
    assert len(feed(made, {"age": [0, 9]}, version="v2", arm="candidate")) == 1


def test_tallies_in_other_bins_and_versions_without_a_profile_are_no_verdict() -> None:
    made = world(metric="drift_ks", where={"feature": "age"})
    assert feed(made, {"age": [0, 9, 0]}) == []
    assert feed(made, {"age": [0, 9]}, version="v9") == []


def test_a_profile_that_comes_later_counts_from_then_on() -> None:
    made = world(metric="drift_ks", where={"feature": "age"})
    assert feed(made, {"age": [0, 9]}, version="v9") == []
    made.profiles.add(Profile(model="ranker", version="v9", ts=START, features={"age": AGES}))
    assert len(feed(made, {"age": [0, 9]}, version="v9")) == 1


def test_a_features_missing_rate_is_that_features_alone() -> None:
    made = world(metric="missing_rate", where={"feature": "age"}, above=0.5)
    quality = {"age": [10, 6, 0, 0, 0], "country": [10, 0, 0, 0, 0]}
    (fired,) = feed(made, {}, quality=quality)
    assert fired.value == pytest.approx(0.6)


def test_without_a_feature_a_rate_is_over_all_of_them() -> None:
    made = world(metric="missing_rate", above=0.25)
    quality = {"age": [10, 6, 0, 0, 0], "country": [10, 0, 0, 0, 0]}
    (fired,) = feed(made, {}, quality=quality)
    assert fired.value == pytest.approx(0.3)


@pytest.mark.parametrize("metric", [*drift.METRICS, *drift.RATES])
def test_a_policy_may_ask_for_any_of_them_by_feature(metric: str) -> None:
    made = world(metric=metric, where={"feature": "age"})
    assert list(check.mistakes(made.policy)) == []


def test_a_policy_may_not_ask_for_the_ctr_of_a_feature() -> None:
    made = world(metric="ctr", where={"feature": "age"})
    [(path, _)] = check.mistakes(made.policy)
    assert path == "$.rules[0].where.feature"


# Change detectors


def clicks(made: World, count: int, share: float, **fields: object) -> list[Alert]:
    """Panes with so many clicks of a hundred impressions, a little more and a little less in turn."""
    found = []
    for number in range(count):
        sums = {"impressions": 100.0, "clicks": 100 * share + (1 if number % 2 else -1)}
        start = made.now
        made.now += PANE
        made.take(pane("v1", start, sums=sums, **fields))  # type: ignore[arg-type]
        found += made.progress()
    return found


def changed(detections: list[Detection]) -> list[int]:
    """The panes in which Page-Hinkley noticed a change of the CTR, by their number."""
    return [
        (found.start - START) // PANE
        for found in detections
        if "page_hinkley" in found.changed.get("ctr", ())
    ]


def test_every_final_pane_is_seen_once_and_in_order() -> None:
    made = World()
    clicks(made, 10, 0.1)
    seen = [(found.start - START) // PANE for found in made.judge.detections()]
    assert seen == list(range(7))  # deadlines come three seconds after a pane's start
    clicks(made, 2, 0.1)
    assert [(found.start - START) // PANE for found in made.judge.detections()] == [7, 8]


def test_all_sources_generations_and_segments_are_one_series_without_the_segments() -> None:
    made = World()
    for fields in ({"partition": 1}, {"generation": 4}, {"segment": "surface", "segment_value": "home"}):
        made.take(pane("v1", made.now, sums={"impressions": 10.0, "clicks": 1.0}, **fields))
    clicks(made, 5, 0.1)
    assert made.judge.detections()[0].values["ctr"] == (9.0 + 2.0, 120.0)


def test_a_change_fires_a_rule_that_asks_for_changes_once_its_pane_is_final() -> None:
    made = world(metric="drift_page_hinkley", where={"feature": "ctr"}, above=0, window="5s")
    assert clicks(made, 2 * WARM_UP, 0.1) == []
    found = clicks(made, 60, 0.3)
    (place,) = changed(made.judge.detections())
    assert place >= 2 * WARM_UP
    assert [alert.status for alert in found] == ["firing", "resolved"]
    assert found[0].starts_at == START + place * PANE


def test_a_change_of_another_metric_fires_nothing() -> None:
    made = world(metric="drift_page_hinkley", where={"feature": "error_rate"}, above=0, window="5s")
    assert clicks(made, 2 * WARM_UP, 0.1) + clicks(made, 60, 0.3) == []
    assert changed(made.judge.detections())


def test_a_successor_that_relearns_notices_the_same_and_says_nothing_twice() -> None:
    whole = World()
    clicks(whole, 2 * WARM_UP, 0.1)
    clicks(whole, 60, 0.3)
    expected = whole.judge.detections()
    assert changed(expected)

    made = World()
    clicks(made, 2 * WARM_UP, 0.1)
    written = made.judge.detections()
    needed = made.judge.relearns()
    assert needed is not None
    made.successor()
    for detection in written:
        if detection.start >= needed:
            made.judge.relearn(detection)
    made.now -= 10 * PANE  # the log is read again from there
    clicks(made, 10, 0.1)
    clicks(made, 60, 0.3)
    again = made.judge.detections()
    assert again == expected[len(written) :]


def test_panes_that_are_not_known_whole_are_not_seen() -> None:
    made = World()
    made.judge.doubt(START + 3 * PANE)
    clicks(made, 10, 0.1)
    assert made.judge.detections()[0].start == START + 3 * PANE


def test_a_successor_must_read_from_the_oldest_pane_that_is_not_final() -> None:
    made = World()
    clicks(made, 10, 0.1)
    assert made.judge.needed() == START + 7 * PANE


def test_a_count_of_late_records_in_a_pane_of_long_ago_makes_nobody_read_from_there() -> None:
    made = World()
    clicks(made, 10, 0.1)
    made.take(pane("v1", START - 100 * PANE, part=made.now, deadline=made.now + 3 * PANE, sums={"late": 1.0}))
    assert made.judge.needed() == START + 7 * PANE
