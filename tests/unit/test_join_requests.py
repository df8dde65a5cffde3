"""Requests in the join: who answers them, and what they tell of their predictions."""

import pytest

from tests.oracle.desk import DEADLINE, PANE, SECOND, Desk

ANSWER = 30 * SECOND
NEXT = DEADLINE + PANE - DEADLINE % PANE


def test_a_request_without_a_prediction_is_unanswered_in_the_pane_of_its_ts() -> None:
    desk = Desk()
    desk.request(PANE)
    assert desk.counts(start=PANE) == {"unanswered": 1}


@pytest.mark.parametrize(("delay", "unanswered"), [(ANSWER, 0), (ANSWER + 1, 1)])
def test_a_prediction_answers_up_to_answer_after_the_request(delay: int, unanswered: int) -> None:
    desk = Desk()
    desk.request(0)
    desk.prediction(delay)
    assert desk.counts()["unanswered"] == unanswered


def test_an_error_is_an_answer() -> None:
    desk = Desk()
    desk.request(0)
    desk.prediction(SECOND, status="error")
    assert desk.counts() == {}


def test_a_shadow_is_no_answer() -> None:
    desk = Desk()
    desk.request(0)
    desk.prediction(SECOND, arm="shadow")
    assert desk.counts()["unanswered"] == 1


def test_another_models_prediction_is_no_answer() -> None:
    desk = Desk()
    desk.request(0)
    desk.prediction(SECOND, model="other")
    assert desk.counts()["unanswered"] == 1


def test_a_request_is_unanswered_once_time_has_passed_and_no_more_when_its_answer_comes_after_all() -> None:
    desk = Desk()
    desk.request(0)
    desk.emit(2 * ANSWER)
    assert [pane.sums.get("unanswered") for pane in desk.emitted] == [1]
    desk.prediction(SECOND)
    assert desk.counts() == {}


def test_an_answer_past_the_deadline_of_the_requests_pane_comes_too_late() -> None:
    desk = Desk()
    desk.request(0)
    desk.prediction(DEADLINE + 1, request_id="moves the clock")
    desk.prediction(ANSWER, kafka=DEADLINE)
    assert desk.counts()["unanswered"] == 1
    assert desk.sums(start=ANSWER)["predictions"] == 1


def test_a_request_that_is_asked_twice_is_one() -> None:
    desk = Desk()
    desk.request(0)
    desk.request(SECOND)
    assert desk.counts() == {"unanswered": 1}


def test_a_request_past_the_deadline_of_its_pane_is_late() -> None:
    desk = Desk()
    desk.request(DEADLINE + 1, request_id="moves the clock", model="other")
    desk.request(0, kafka=NEXT)
    assert desk.counts(start=NEXT) == {"late": 1}


@pytest.mark.parametrize("request_first", [True, False])
def test_what_a_prediction_does_not_say_is_taken_from_its_request_whichever_is_read_first(
    request_first: bool,
) -> None:
    desk = Desk()
    if request_first:
        desk.request(0, surface="home", segments={"country": "de"}, user="u")
    desk.prediction(SECOND)
    desk.feedback(2 * SECOND)
    if not request_first:
        desk.request(0, surface="home", segments={"country": "de"}, user="u")
    total = desk.sums()
    assert total["clicks"] == 1
    assert desk.sums(segment="surface", value="home") == total
    assert desk.sums(segment="country", value="de") == total


def test_a_prediction_that_says_it_itself_keeps_it() -> None:
    desk = Desk()
    desk.request(0, surface="home")
    desk.prediction(SECOND, surface="search")
    assert desk.sums(segment="surface", value="search")["predictions"] == 1
    assert desk.sums(segment="surface", value="home") == {}


def test_of_two_requests_the_first_describes() -> None:
    desk = Desk()
    desk.request(0, surface="home")
    desk.request(0, surface="search")
    desk.prediction(SECOND)
    assert desk.sums(segment="surface", value="home")["predictions"] == 1
    assert desk.sums(segment="surface", value="search") == {}


def test_only_segments_of_the_policy_are_kept_and_none_of_values_that_are_absent() -> None:
    desk = Desk()
    desk.prediction(0, segments={"colour": "red"})
    assert {series.segment for series in desk.close()} == {""}


def test_beyond_a_hundred_values_of_a_segment_the_rest_is_other() -> None:
    desk = Desk()
    for number in range(103):
        desk.prediction(0, request_id=f"r{number}", surface=f"s{number}")
    values = {
        series.segment_value: m.sums["predictions"] for series, m in desk.close().items() if series.segment
    }
    assert len(values) == 101
    assert values["other"] == 3
