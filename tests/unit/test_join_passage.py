"""How far event time has passed in a source partition: clocks, ends, idle and empty topics."""

from collections.abc import Mapping

import pytest

from schemas.timeline import BEGINNING
from schemas.topics import EVENTS, FEEDBACK, PREDICTIONS, REQUESTS, Topic
from streams.join.passage import IDLE, SETTLING, Passage
from streams.stage import Reading

NOON = 1_767_268_800_000
CREATE = dict.fromkeys(EVENTS, False)
APPEND = dict.fromkeys(EVENTS, True)


def clocks(requests: int, predictions: int, feedback: int) -> dict[Topic, int]:
    return {REQUESTS: NOON + requests, PREDICTIONS: NOON + predictions, FEEDBACK: NOON + feedback}


def readings(asked: int, *behind: Topic) -> Mapping[Topic, Reading]:
    """All read to the end that was asked for at `asked`, but for those that are behind."""
    return {topic: Reading(10, 20 if topic in behind else 10, NOON + asked) for topic in EVENTS}


def test_the_slowest_of_three_topics_that_are_behind_holds_all_back() -> None:
    passage = Passage(CREATE)
    assert passage.reached(clocks(5, 3, 4), readings(0, *EVENTS), NOON) == NOON + 3


def test_a_topic_that_is_read_to_its_end_stands_with_the_others() -> None:
    passage = Passage(CREATE)
    passage.reached(clocks(500, 400, 3), readings(1_000, FEEDBACK), NOON + 999)
    assert passage.reached(clocks(500, 400, 3), readings(1_000, PREDICTIONS), NOON + 1_100) == NOON + 400
    assert passage.reached(clocks(500, 400, 3), readings(1_000), NOON + 1_200) == NOON + 500


def test_it_stands_where_the_others_were_when_its_end_was_asked_for() -> None:
    passage = Passage(CREATE)
    passage.reached(clocks(500, 500, 3), readings(0), NOON + 900)
    assert passage.reached(clocks(800, 800, 3), readings(1_000), NOON + 1_500) == NOON + 500
    assert passage.reached(clocks(900, 900, 3), readings(2_000), NOON + 2_100) == NOON + 800


def test_a_topic_that_is_behind_holds_back_the_others_ends() -> None:
    passage = Passage(CREATE)
    passage.reached(clocks(500, 400, 3), readings(0), NOON)
    assert passage.reached(clocks(500, 400, 3), readings(0, FEEDBACK), NOON) == NOON + 3


@pytest.mark.parametrize(("idle", "passed"), [(IDLE - 1, 0), (IDLE, IDLE), (2 * IDLE, 2 * IDLE)])
def test_wall_time_passes_only_where_all_three_have_been_idle_for_a_minute(idle: int, passed: int) -> None:
    passage = Passage(CREATE)
    passage.reached(clocks(5, 5, 5), readings(0), NOON)
    assert passage.reached(clocks(5, 5, 5), readings(idle), NOON + idle) == NOON + 5 + passed


def test_under_log_append_time_a_topic_at_its_end_is_two_minutes_behind_the_wall() -> None:
    passage = Passage(APPEND)
    assert passage.reached(clocks(5, 5, 5), readings(600_000), NOON + 600_100) == NOON + 600_000 - SETTLING


def test_where_no_record_has_come_nothing_is_passed_so_that_recorded_data_may_come_with_its_own_times() -> (
    None
):
    passage = Passage(CREATE)
    nothing = dict.fromkeys(EVENTS, BEGINNING)
    assert passage.reached(nothing, readings(0), NOON) == BEGINNING


def test_where_no_record_has_come_it_holds_no_pane_of_the_others_back() -> None:
    passage = Passage(CREATE)
    nothing = dict.fromkeys(EVENTS, BEGINNING)
    assert passage.vacant(nothing, readings(600_000)) == NOON + 600_000 - SETTLING
    assert passage.vacant(nothing, readings(600_000, REQUESTS)) == BEGINNING
    assert passage.vacant(clocks(1, 1, 1), readings(600_000)) == BEGINNING
