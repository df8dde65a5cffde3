"""Predictions in the join: which count, where, and what each adds."""

import pytest

from tests.oracle.desk import DEADLINE, MINUTE, NOON, PANE, SECOND, Desk, policy
from tests.oracle.truth import Series


def test_a_prediction_counts_in_the_pane_that_holds_its_ts() -> None:
    desk = Desk()
    desk.prediction(PANE - 1, request_id="first")
    desk.prediction(PANE, request_id="second")
    assert desk.sums()["predictions"] == 1
    assert desk.sums(start=PANE)["predictions"] == 1


def test_a_prediction_adds_its_shown_items_as_impressions() -> None:
    desk = Desk()
    desk.prediction(0, shown=3)
    assert desk.sums() == {"predictions": 1, "impressions": 3}


def test_all_items_are_shown_where_a_prediction_does_not_say_how_many() -> None:
    desk = Desk()
    desk.prediction(0)
    assert desk.sums()["impressions"] == 4


def test_no_more_items_are_shown_than_there_are() -> None:
    desk = Desk()
    desk.prediction(0, shown=9)
    assert desk.sums()["impressions"] == 4


@pytest.mark.parametrize("status", ["error", "timeout", "shed"])
def test_a_prediction_that_is_not_ok_is_an_error_and_has_no_impressions(status: str) -> None:
    desk = Desk()
    desk.prediction(0, status=status)
    assert desk.sums() == {"predictions": 1, "errors": 1}


@pytest.mark.parametrize(("status", "timed"), [("ok", 1), ("timeout", 1), ("error", 0), ("shed", 0)])
def test_latencies_are_those_of_ok_and_timeout(status: str, timed: int) -> None:
    desk = Desk()
    desk.prediction(0, status=status, latency_ms=37.5)
    measured = desk.close()[Series("ranker", "v1", "stable", "", "", 0)]
    assert measured.sums["timed"] == measured.latency.total() == timed
    assert measured.sums["latency_ms"] == 37.5 * timed


@pytest.mark.parametrize(("latency", "slow"), [(200.0, 0), (200.1, 1)])
def test_a_prediction_is_slow_above_slow_ms(latency: float, slow: int) -> None:
    desk = Desk()
    desk.prediction(0, latency_ms=latency)
    assert desk.sums()["slow"] == slow


def test_the_first_prediction_of_a_request_counts_and_the_rest_are_duplicates() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.prediction(SECOND)
    desk.prediction(SECOND, version="v2", arm="candidate")
    assert desk.sums() == {"predictions": 1, "impressions": 4, "duplicates": 1}
    assert desk.sums("v2", "candidate") == {"duplicates": 1}


def test_a_duplicate_stands_in_the_pane_of_its_own_ts() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.prediction(PANE)
    assert desk.sums()["duplicates"] == 0
    assert desk.sums(start=PANE) == {"duplicates": 1}


def test_a_duplicate_keeps_the_first_remembered_until_its_own_deadline() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.prediction(3 * MINUTE)
    desk.prediction(8 * MINUTE, request_id="moves the clock")
    desk.prediction(8 * MINUTE)
    assert desk.sums(start=8 * MINUTE) == {"predictions": 1, "impressions": 4, "duplicates": 1}


def test_a_prediction_counts_again_once_the_first_is_past_its_deadline() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.prediction(8 * MINUTE, request_id="moves the clock")
    desk.prediction(8 * MINUTE)
    assert desk.sums(start=8 * MINUTE)["predictions"] == 2


def test_predictions_of_two_models_are_no_duplicates() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.prediction(0, model="other")
    assert desk.close()[Series("other", "v1", "stable", "", "", 0)].sums["predictions"] == 1
    assert desk.sums()["predictions"] == 1


def test_the_first_of_each_shadow_version_counts_beside_the_answer() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.prediction(0, version="v2", arm="shadow")
    desk.prediction(0, version="v3", arm="shadow")
    desk.prediction(0, version="v3", arm="shadow")
    assert desk.sums()["predictions"] == 1
    assert desk.sums("v2", "shadow") == {"predictions": 1}
    assert desk.sums("v3", "shadow") == {"predictions": 1, "duplicates": 1}


def test_a_prediction_at_the_deadline_of_its_pane_is_in_time() -> None:
    desk = Desk()
    desk.prediction(DEADLINE, request_id="moves the clock")
    desk.prediction(0, kafka=DEADLINE)
    assert desk.sums()["predictions"] == 1


def test_a_prediction_past_the_deadline_of_its_pane_is_late() -> None:
    desk = Desk()
    desk.prediction(DEADLINE + 1, request_id="moves the clock")
    desk.prediction(0, kafka=DEADLINE + 1)
    assert desk.sums(start=DEADLINE) == {"predictions": 1, "impressions": 4, "late": 1}
    assert desk.sums() == {}


def test_the_clock_is_of_all_models() -> None:
    desk = Desk()
    desk.prediction(DEADLINE + 1, model="other")
    desk.prediction(0, kafka=DEADLINE)
    assert desk.sums(start=DEADLINE) == {"late": 1}


def test_the_clock_does_not_believe_a_ts_beyond_the_kafka_timestamp() -> None:
    desk = Desk()
    desk.prediction(DEADLINE + 1, kafka=DEADLINE, request_id="has a clock that is ahead")
    desk.prediction(0, kafka=DEADLINE)
    assert desk.sums()["predictions"] == 1


@pytest.mark.parametrize(("after", "late"), [(MINUTE, 0), (MINUTE + 1, 1)])
def test_a_kafka_timestamp_more_than_a_minute_after_the_deadline_is_late_whatever_the_clock(
    after: int, late: int
) -> None:
    desk = Desk()
    desk.prediction(0, kafka=DEADLINE + after)
    stands = DEADLINE + after - (DEADLINE + after) % PANE
    assert desk.sums(start=stands)["late"] == late


def test_another_topics_clock_makes_no_prediction_late() -> None:
    desk = Desk()
    desk.feedback(DEADLINE + 1, request_id="moves the clock of feedback")
    desk.request(DEADLINE + 1, request_id="moves the clock of requests")
    desk.prediction(0, kafka=DEADLINE)
    assert desk.sums()["predictions"] == 1


def test_late_records_of_a_pane_that_is_final_stand_in_a_part_of_it() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.pass_time(DEADLINE + 1)
    desk.prediction(0, kafka=0, request_id="late")
    desk.close()
    parts = {pane.part: pane.sums for pane in desk.emitted if pane.model == "ranker"}
    assert parts[0]["predictions"] == 1
    assert parts[NOON + DEADLINE] == {"late": 1}


def test_a_ts_far_after_the_kafka_timestamp_is_replaced_by_that_and_counted_as_skewed() -> None:
    desk = Desk()
    desk.prediction(5 * MINUTE + 1, kafka=0)
    assert desk.sums() == {"predictions": 1, "impressions": 4, "skewed": 1}


def test_a_ts_five_minutes_after_the_kafka_timestamp_is_believed() -> None:
    desk = Desk()
    desk.prediction(5 * MINUTE, kafka=0)
    assert desk.sums(start=5 * MINUTE) == {"predictions": 1, "impressions": 4}


def test_generations_are_kept_apart() -> None:
    desk = Desk()
    desk.prediction(0, request_id="one", generation=1)
    desk.prediction(0, request_id="two", generation=2)
    desk.prediction(0, request_id="none")
    desk.close()
    assert {pane.generation: pane.sums["predictions"] for pane in desk.emitted} == {1: 1, 2: 1, -1: 1}


def test_sums_by_user_bucket_add_up_to_the_sums() -> None:
    release = {"guardrails": [{"metric": "ctr", "worse_by": 0}, {"metric": "recall@1", "worse_by": 0}]}
    desk = Desk(policy(release=release))
    for number in range(50):
        desk.prediction(0, request_id=f"r{number}", user=f"u{number % 7}")
        desk.feedback(SECOND, request_id=f"r{number}")
    desk.close()
    (pane,) = desk.emitted
    assert len(pane.buckets) == len(set(pane.buckets)) <= 7
    for name in ("predictions", "impressions", "clicks", "relevant", "hits@1"):
        assert sum(pane.bucket_sums[name]) == pane.sums[name]


def test_a_policy_in_force_from_a_boundary_shapes_the_panes_from_there() -> None:
    desk = Desk()
    desk.apply(policy(pane="30s", slow_ms=10), -15 * SECOND)
    desk.prediction(-1, request_id="before", latency_ms=20)
    desk.prediction(29 * SECOND, request_id="behind", latency_ms=20)
    assert desk.sums(start=-PANE) == {"predictions": 1, "impressions": 4}
    assert desk.sums() == {"predictions": 1, "impressions": 4, "slow": 1}
    assert {pane.end - pane.start for pane in desk.emitted} == {PANE, 30 * SECOND}
