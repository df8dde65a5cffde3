"""Feedback in the join: what it answers, whether it counts, and what it adds."""

import pytest

from tests.oracle.desk import DEADLINE, MINUTE, PANE, SECOND, WINDOW, Desk, policy


def ranked(desk: Desk, version: str = "v1", arm: str = "stable") -> tuple[int, int, int]:
    """Hits in the first 1, in the first 3, and relevant items."""
    sums = desk.sums(version, arm)
    return sums["hits@1"], sums["hits@3"], sums["relevant"]


def test_a_click_on_a_shown_item_counts() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.feedback(SECOND)
    assert desk.sums()["clicks"] == 1


def test_feedback_counts_in_the_pane_of_its_prediction() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.feedback(3 * PANE)
    assert desk.sums()["clicks"] == 1
    assert desk.sums(start=3 * PANE) == {}


def test_feedback_that_is_read_before_its_prediction_counts() -> None:
    desk = Desk()
    desk.feedback(SECOND)
    desk.prediction(0)
    assert desk.sums()["clicks"] == 1


def test_a_click_on_an_item_that_was_not_shown_is_relevant_but_no_click() -> None:
    desk = Desk()
    desk.prediction(0, shown=2)
    desk.feedback(SECOND, item="c")
    assert desk.sums() == {"predictions": 1, "impressions": 2, "relevant": 1, "hits@3": 1}


def test_clicks_on_one_item_are_one_click() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.feedback(SECOND, event_id="one")
    desk.feedback(SECOND, event_id="two")
    assert desk.sums() == {
        "predictions": 1,
        "impressions": 4,
        "clicks": 1,
        "relevant": 1,
        "hits@1": 1,
        "hits@3": 1,
    }


def test_the_integer_7_is_the_string_7() -> None:
    desk = Desk()
    desk.prediction(0, items=[7, "8"])
    desk.feedback(SECOND, item="7", event_id="one")
    desk.feedback(SECOND, item=8, event_id="two")
    desk.feedback(SECOND, item=7, event_id="three")
    assert desk.sums()["clicks"] == 2


def test_a_purchase_of_a_shown_item_is_a_conversion() -> None:
    desk = Desk()
    desk.prediction(0, shown=2)
    desk.feedback(SECOND, kind="purchase", item="a")
    desk.feedback(SECOND, kind="purchase", item="d")
    assert desk.sums()["conversions"] == 1


def test_the_same_kind_and_item_again_is_a_duplicate() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.feedback(SECOND)
    desk.feedback(2 * SECOND)
    assert desk.sums()["duplicates"] == 1


def test_the_same_event_id_again_is_a_duplicate_whatever_it_says() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.feedback(SECOND, event_id="one")
    desk.feedback(SECOND, event_id="one", kind="purchase", item="b")
    assert desk.sums()["duplicates"] == 1
    assert desk.sums()["conversions"] == 0


def test_the_first_by_offset_counts_though_a_later_one_has_an_earlier_ts() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.feedback(2 * SECOND, event_id="one", item="b")
    desk.feedback(SECOND, event_id="one", item="a")
    assert ranked(desk) == (0, 1, 1)


@pytest.mark.parametrize(
    ("delay", "clicks"), [(-MINUTE - 1, 0), (-MINUTE, 1), (0, 1), (WINDOW, 1), (WINDOW + 1, 0)]
)
def test_feedback_counts_from_a_minute_before_its_prediction_to_the_end_of_the_attribution_window(
    delay: int, clicks: int
) -> None:
    desk = Desk()
    desk.prediction(0)
    desk.feedback(delay)
    sums = desk.sums()
    assert (sums["clicks"], sums["expired"]) == (clicks, 1 - clicks)


def test_what_is_expired_makes_no_duplicates() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.feedback(-2 * MINUTE)
    desk.feedback(SECOND)
    assert (desk.sums()["clicks"], desk.sums()["expired"]) == (1, 1)


def test_feedback_past_the_deadline_of_its_prediction_is_late() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.feedback(DEADLINE + 2 * MINUTE, request_id="moves the clock", kind="odd")
    desk.feedback(SECOND, kafka=DEADLINE + 2 * MINUTE)
    assert desk.sums()["clicks"] == 0
    assert desk.counts(start=DEADLINE + 2 * MINUTE, model="")["late"] == 1


def test_feedback_without_a_prediction_is_unmatched_in_the_pane_of_its_ts() -> None:
    desk = Desk()
    desk.feedback(SECOND, kafka=3 * PANE)
    assert desk.counts(model="") == {"unmatched": 1}


def test_feedback_is_not_unmatched_as_long_as_a_prediction_in_time_may_come() -> None:
    desk = Desk()
    desk.feedback(SECOND)
    desk.emit(DEADLINE)
    desk.prediction(0)
    assert desk.sums()["clicks"] == 1
    assert desk.counts(model="") == {}


def test_unmatched_feedback_of_one_pane_is_one_count_though_a_policy_that_waits_less_long_comes_amid() -> (
    None
):
    desk = Desk(policy(pane="5s"))
    desk.apply(policy(pane="5s", attribution={"window": "1m", "lateness": "0s"}), 50 * SECOND)
    desk.feedback(SECOND)
    desk.feedback(9 * SECOND)
    for reached in range(0, 10 * MINUTE, PANE):
        desk.emit(reached)
    assert desk.counts(model="") == {"unmatched": 2}


def test_feedback_on_a_late_prediction_is_unmatched() -> None:
    desk = Desk()
    desk.prediction(DEADLINE + 1, request_id="moves the clock")
    desk.prediction(0, kafka=DEADLINE)
    desk.feedback(SECOND)
    assert desk.counts(model="")["unmatched"] == 1


def test_feedback_on_a_duplicate_is_feedback_on_the_first() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.prediction(PANE, version="v2", items=["z"])
    desk.feedback(PANE)
    assert desk.sums()["clicks"] == 1
    assert desk.sums("v2", start=PANE) == {"duplicates": 1}


def test_feedback_answers_the_predictions_of_all_models_of_its_request() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.prediction(0, model="other")
    desk.feedback(SECOND)
    clicks = [measured.sums["clicks"] for measured in desk.close().values()]
    assert clicks == [1, 1]


def test_a_shadow_has_neither_impressions_nor_clicks_but_is_ranked() -> None:
    desk = Desk()
    desk.prediction(0, version="v2", arm="shadow", items=["b", "a"])
    desk.feedback(SECOND)
    assert desk.sums("v2", "shadow") == {"predictions": 1, "relevant": 1, "hits@3": 1}


def test_a_prediction_that_is_not_ok_is_not_ranked_and_has_no_clicks() -> None:
    desk = Desk()
    desk.prediction(0, status="error")
    desk.feedback(SECOND)
    assert desk.sums() == {"predictions": 1, "errors": 1}


def test_relevant_items_are_counted_in_the_list_or_not_and_hits_up_to_each_k() -> None:
    desk = Desk()
    desk.prediction(0, items=list("abcd"))
    for item in ("a", "c", "d", "elsewhere"):
        desk.feedback(SECOND, kind="relevant", item=item)
    assert ranked(desk) == (1, 2, 4)


def test_an_item_that_is_relevant_in_two_ways_is_one() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.feedback(SECOND, kind="click")
    desk.feedback(SECOND, kind="relevant")
    assert ranked(desk) == (1, 1, 1)


def test_an_item_that_is_repeated_in_the_list_keeps_its_first_position() -> None:
    desk = Desk()
    desk.prediction(0, items=["a", "b", "a", "b", "c"])
    desk.feedback(SECOND, item="a")
    desk.feedback(SECOND, item="c")
    assert ranked(desk) == (1, 1, 2)


def test_only_the_policys_kinds_are_relevant() -> None:
    desk = Desk(policy(relevant=["relevant"]))
    desk.prediction(0)
    desk.feedback(SECOND, kind="click", item="a")
    desk.feedback(SECOND, kind="relevant", item="b")
    assert ranked(desk) == (0, 1, 1)


def test_impressions_come_from_feedback_where_the_policy_says_so() -> None:
    desk = Desk(policy(impressions="feedback"))
    desk.prediction(0)
    desk.feedback(SECOND, kind="impression", item="a")
    desk.feedback(SECOND, kind="impression", item="b", event_id="one")
    desk.feedback(SECOND, kind="impression", item="b", event_id="two")
    assert desk.sums()["impressions"] == 2


def test_feedback_without_an_item_neither_clicks_nor_disappears() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.feedback(SECOND, item=None)
    desk.feedback(SECOND, item=None)
    assert desk.sums() == {"predictions": 1, "impressions": 4, "duplicates": 1}
