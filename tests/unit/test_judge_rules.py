"""Threshold rules on panes, boundary by boundary, through the judge's core."""

import pytest

from schemas.records import Alert
from streams.metrics import histogram
from tests.judging import PANE, START, World, pane


def world(**rule: object) -> World:
    base: dict[str, object] = {"name": "rule", "metric": "error_rate", "window": "1s"}
    return World({"rules": [base | rule]})


def feed(
    made: World, *panes_sums: dict[str, float], version: str = "v1", arm: str = "stable", **fields: object
) -> list[Alert]:
    """One pane a second; answers what fired or was resolved, in order."""
    found = []
    for sums in panes_sums:
        start = made.now
        made.now += PANE
        if sums:
            made.take(pane(version, start, arm=arm, sums=sums, **fields))  # type: ignore[arg-type]
        found += made.progress()
    return found


def rate(errors: float, predictions: float = 100) -> dict[str, float]:
    return {"errors": errors, "predictions": predictions}


def kinds(alerts: list[Alert]) -> list[str]:
    return [alert.status for alert in alerts]


def test_a_violated_limit_fires_once_and_is_resolved_with_the_same_id() -> None:
    fired, resolved = feed(world(above=0.05), rate(1), rate(10), rate(20), rate(1), rate(1))
    assert (fired.status, resolved.status) == ("firing", "resolved")
    assert fired.alert_id == resolved.alert_id
    assert fired.value == pytest.approx(0.1)
    assert fired.threshold == 0.05
    assert fired.starts_at == START + PANE
    assert resolved.ends_at == START + 4 * PANE


def test_the_same_log_gives_the_same_alerts() -> None:
    sums = [rate(1), rate(10), rate(1), rate(30), rate(0)]
    assert feed(world(above=0.05), *sums) == feed(world(above=0.05), *sums)


def test_an_alert_that_comes_again_has_another_id() -> None:
    found = feed(world(above=0.05), rate(10), rate(1), rate(10))
    assert kinds(found) == ["firing", "resolved", "firing"]
    assert found[0].alert_id != found[2].alert_id


def test_for_asks_that_it_holds_so_long() -> None:
    assert feed(world(above=0.05, **{"for": "2s"}), rate(10), rate(10), rate(1), rate(10), rate(10)) == []
    assert kinds(feed(world(above=0.05, **{"for": "2s"}), rate(10), rate(10), rate(10))) == ["firing"]


def test_what_fires_after_for_is_dated_from_the_first_violating_pane() -> None:
    (fired,) = feed(world(above=0.05, **{"for": "2s"}), rate(1), rate(10), rate(10), rate(10))
    assert fired.starts_at == START + PANE


def test_with_clear_it_is_resolved_only_beyond_that() -> None:
    found = feed(world(above=0.05, clear=0.02), rate(10), rate(3), rate(2), rate(1))
    assert kinds(found) == ["firing", "resolved"]
    assert found[1].ends_at == START + 4 * PANE


def test_below_and_outside() -> None:
    assert kinds(feed(world(metric="throughput_rps", below=50), rate(0, 100), rate(0, 20))) == ["firing"]
    found = feed(world(outside=[0.02, 0.1]), rate(5), rate(1), rate(5), rate(20))
    assert [(alert.status, alert.threshold) for alert in found if alert.status == "firing"] == [
        ("firing", 0.02),
        ("firing", 0.1),
    ]


def test_the_window_is_the_sum_of_its_panes() -> None:
    found = feed(world(above=0.05, window="3s"), rate(0), rate(0, 1000), rate(60), rate(20), rate(0))
    assert [alert.value for alert in found if alert.status == "firing"] == [pytest.approx(80 / 1200)]


def test_percentiles_come_from_merged_histograms() -> None:
    made = world(metric="latency_p50_ms", above=100, window="2s")
    fast, slow = ({histogram.bin_of(value): 50} for value in (10.0, 300.0))
    assert feed(made, {"timed": 50}, latency=fast) == []
    assert feed(made, {"timed": 50}, latency=slow) == []
    (fired,) = feed(made, {"timed": 50}, latency=slow)
    assert fired.value == pytest.approx(300, rel=0.01)


def test_without_a_denominator_there_is_no_verdict() -> None:
    found = feed(world(above=0.05), rate(10), {}, {}, rate(10))
    assert kinds(found) == ["firing"]


def test_without_a_denominator_what_was_about_to_fire_starts_anew() -> None:
    assert feed(world(above=0.05, **{"for": "2s"}), rate(10), {}, rate(10), rate(10)) == []


def test_a_count_of_nothing_is_zero() -> None:
    assert kinds(feed(world(metric="throughput_rps", below=50), rate(0, 100), {})) == ["firing"]


def test_where_narrows_to_an_arm_or_version() -> None:
    made = world(above=0.05, where={"arm": "candidate"})
    made.take(pane("v1", made.now, sums=rate(50)))
    assert kinds(feed(made, rate(0), version="v2", arm="candidate")) == []
    made.take(pane("v1", made.now, sums=rate(0)))
    (fired,) = feed(made, rate(50), version="v2", arm="candidate")
    assert fired.labels == {"metric": "error_rate", "arm": "candidate"}


def test_without_where_all_arms_count_but_the_shadow() -> None:
    made = world(above=0.5)
    made.take(pane("v1", made.now, sums=rate(40)))
    made.take(pane("v3", made.now, arm="shadow", sums=rate(100)))
    assert feed(made, rate(40), version="v2", arm="candidate") == []
    made.take(pane("v1", made.now, sums=rate(80)))
    assert kinds(feed(made, rate(40), version="v2", arm="candidate")) == ["firing"]


def test_where_on_a_segment_reads_that_segments_series() -> None:
    made = world(above=0.05, where={"surface": "search"})
    made.take(pane("v1", made.now, sums=rate(90)))
    assert kinds(feed(made, rate(10), segment="surface", segment_value="search")) == ["firing"]


def test_metrics_that_wait_for_feedback_are_read_from_mature_panes() -> None:
    made = world(metric="ctr", below=0.05)
    late = {"clicks": 0.0, "impressions": 100.0}
    found = feed(made, late)
    assert found == []
    made.take(pane("v1", START, number=2, sums={"clicks": 10.0, "impressions": 100.0}))
    assert feed(made, {"clicks": 10.0, "impressions": 100.0}) == []
    (fired,) = feed(made, late, {"clicks": 10.0, "impressions": 100.0})
    assert fired.starts_at == START + 2 * PANE


def test_a_pane_that_not_all_clocks_have_passed_is_not_evaluated() -> None:
    made = world(metric="throughput_rps", below=50)
    made.take(pane("v1", START, sums=rate(0, 30)))
    assert made.progress(START + PANE, partition=0, partitions=2) == []
    assert made.progress(START + PANE - 1, partition=1, partitions=2) == []
    made.take(pane("v1", START, sums=rate(0, 30), partition=1))
    assert made.progress(START + PANE, partition=1, partitions=2) == []
    assert kinds(made.progress(START + 2 * PANE, partition=0, partitions=2)) == []
    assert kinds(made.progress(START + 2 * PANE, partition=1, partitions=2)) == ["firing"]


@pytest.mark.parametrize("name", ["mispartitioned", "incomplete"])
def test_a_fault_of_the_pipeline_is_an_alert_until_it_has_been_quiet_for_a_minute(name: str) -> None:
    made = World()
    made.take(pane("v1", START, number=1, sums={name: 1.0}))
    made.take(pane("v1", START, number=2, sums={name: 3.0}))
    (fired,) = made.alerts
    assert (fired.rule, fired.status, fired.starts_at) == (name, "firing", START)
    made.take(pane("v1", START, number=3, sums={name: 3.0, "predictions": 5.0}))
    assert made.progress(START + 50 * PANE) == []
    (resolved,) = made.progress(START + 70 * PANE)
    assert (resolved.status, resolved.alert_id) == ("resolved", fired.alert_id)


@pytest.mark.parametrize(
    ("model", "version", "topic"),
    [
        ("", "", "feedback.events"),
        ("ranker", "", "inference.requests"),
        ("ranker", "v1", "inference.predictions"),
    ],
)
def test_the_alert_about_partitions_names_the_topic_and_the_setting(
    model: str, version: str, topic: str
) -> None:
    made = World()
    made.take(
        pane(version, START, sums={"mispartitioned": 1.0}, model=model, arm="stable" if version else "")
    )
    (alert,) = made.alerts
    assert alert.labels["topic"] == topic
    assert topic in alert.annotations["summary"]
    assert "partitioner=murmur2_random" in alert.annotations["summary"]


def test_each_topic_with_records_in_wrong_partitions_has_an_alert_of_its_own() -> None:
    made = World()
    for version in ("", "v1"):
        made.take(pane(version, START, sums={"mispartitioned": 1.0}))
    assert len({alert.alert_id for alert in made.alerts}) == 2
