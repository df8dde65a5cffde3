"""What a successor must read again, so that what its predecessor said is never changed nor said twice.

Records are read in batches of one here, so that nothing is read again by luck.
"""

from itertools import permutations

import pytest

from schemas.topics import EVENTS, FEEDBACK, PREDICTIONS, REQUESTS, Topic
from tests.oracle.desk import DEADLINE, MINUTE, NOON, PANE, SECOND, WINDOW, Desk

ORDERS = list(permutations(EVENTS))
in_any_order = pytest.mark.parametrize(
    "order", ORDERS, ids=lambda order: "-".join(t.name[-4:] for t in order)
)


@in_any_order
def test_a_click_read_again_still_finds_its_prediction(order: tuple[Topic, ...]) -> None:
    desk = Desk()
    desk.prediction(0)
    desk.pass_time(4 * MINUTE)
    desk.feedback(4 * MINUTE)
    desk.emit(4 * MINUTE)
    assert desk.successor(*order).sums()["clicks"] == 1


@in_any_order
def test_nothing_of_a_final_pane_is_said_again(order: tuple[Topic, ...]) -> None:
    desk = Desk()
    desk.prediction(0)
    desk.prediction(5 * MINUTE, request_id="open")
    desk.pass_time(DEADLINE + 1)
    said = [pane for pane in desk.emitted if pane.start == NOON]
    later = desk.successor(*order)
    later.close()
    assert [pane for pane in later.emitted if pane.start == NOON] == said


@in_any_order
def test_a_duplicate_stays_one_when_the_pane_of_the_first_is_final(order: tuple[Topic, ...]) -> None:
    desk = Desk()
    desk.prediction(0)
    desk.prediction(5 * MINUTE)
    desk.pass_time(DEADLINE + 1)
    assert desk.successor(*order).sums(start=5 * MINUTE) == {"duplicates": 1}


@in_any_order
def test_a_request_still_describes_an_answer_of_a_later_pane(order: tuple[Topic, ...]) -> None:
    desk = Desk()
    desk.request(0, surface="home")
    desk.prediction(5 * MINUTE)
    desk.pass_time(DEADLINE + MINUTE)
    later = desk.successor(*order)
    later.feedback(6 * MINUTE)
    assert later.sums(start=5 * MINUTE, segment="surface", value="home")["clicks"] == 1


@in_any_order
def test_an_answer_still_answers_a_request_of_a_later_pane(order: tuple[Topic, ...]) -> None:
    desk = Desk()
    desk.prediction(0)
    desk.request(5 * MINUTE)
    desk.pass_time(DEADLINE + 1)
    assert desk.successor(*order).counts(start=5 * MINUTE) == {}


@in_any_order
def test_a_request_that_is_asked_twice_stays_one_when_the_pane_of_the_first_is_final(
    order: tuple[Topic, ...],
) -> None:
    desk = Desk()
    desk.request(0)
    desk.request(5 * MINUTE)
    desk.pass_time(DEADLINE + MINUTE)
    assert desk.successor(*order).counts(start=5 * MINUTE) == {}


@in_any_order
def test_feedback_stays_matched_when_the_pane_of_its_prediction_is_final(order: tuple[Topic, ...]) -> None:
    desk = Desk()
    desk.prediction(0)
    desk.feedback(WINDOW)
    desk.pass_time(DEADLINE + 1)
    assert desk.successor(*order).counts(start=WINDOW, model="") == {}


@in_any_order
def test_what_came_too_early_stays_expired_as_long_as_its_prediction_is_open(
    order: tuple[Topic, ...],
) -> None:
    desk = Desk()
    desk.feedback(0)
    desk.prediction(3 * MINUTE)
    desk.pass_time(8 * MINUTE)
    later = desk.successor(*order)
    later.feedback(8 * MINUTE, item="b")
    assert later.sums(start=3 * MINUTE)["expired"] == 1


@in_any_order
def test_a_request_that_was_taken_for_unanswered_is_not_when_its_answer_is_read_first(
    order: tuple[Topic, ...],
) -> None:
    desk = Desk()
    desk.request(0)
    desk.emit(MINUTE)
    assert [pane.sums.get("unanswered") for pane in desk.emitted] == [1]
    desk.prediction(SECOND)
    assert desk.successor(*order).counts() == {}


@in_any_order
def test_a_late_record_is_counted_in_the_same_part_by_every_owner(order: tuple[Topic, ...]) -> None:
    desk = Desk()
    desk.pass_time(DEADLINE + 1)
    desk.prediction(0, kafka=0)
    desk.emit(DEADLINE + 3 * PANE)
    assert desk.successor(*order).sums() == {"late": 1}


@in_any_order
def test_a_late_record_is_counted_once_where_idle_topics_have_let_time_pass(order: tuple[Topic, ...]) -> None:
    desk = Desk()
    desk.pass_time(DEADLINE + 1)
    desk.emit(DEADLINE + 3 * PANE)
    desk.prediction(0, kafka=0)
    desk.emit(DEADLINE + 3 * PANE + 1)
    assert desk.successor(*order).sums() == {"late": 1}


def test_while_it_reads_again_a_successor_emits_no_open_pane() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.prediction(DEADLINE, request_id="open")
    desk.request(DEADLINE + 1)
    desk.feedback(DEADLINE + 1)
    desk.prediction(DEADLINE + 1, request_id="open too")
    later = desk.successor(REQUESTS, PREDICTIONS, FEEDBACK)
    later.join.advance(NOON + DEADLINE + 1)
    assert {pane.start for pane in later.join.final_snapshots(1)} == {NOON}


def test_an_offset_is_safe_once_nothing_that_is_open_rests_on_it() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.emit(DEADLINE)
    assert desk.join.safe(PREDICTIONS).offset == 0
    desk.emit(DEADLINE + 1)
    assert desk.join.safe(PREDICTIONS).offset == 1


def test_the_clock_before_the_safe_offset_goes_with_it() -> None:
    desk = Desk()
    desk.prediction(0)
    desk.prediction(SECOND, request_id="second")
    desk.prediction(5 * MINUTE, request_id="third")
    desk.emit(DEADLINE + 1)
    safe = desk.join.safe(PREDICTIONS)
    assert (safe.offset, safe.clock) == (2, NOON + SECOND)
