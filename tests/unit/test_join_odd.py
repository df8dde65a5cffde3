"""Facts that are too large for the rows in which the join keeps what is usual count like all others."""

import pytest

from streams.join.facts import NARROW, SHORT
from tests.oracle.desk import MINUTE, NOON, PANE, SECOND, Desk, policy

DAY = 24 * 60 * MINUTE
PATIENT = policy(attribution={"window": "60d", "lateness": "1m"})


def test_late_means_later_than_a_row_has_room_for() -> None:
    assert NARROW < 30 * DAY


@pytest.mark.parametrize("late", [0, 30 * DAY])
def test_a_prediction_that_comes_a_month_late_counts_where_the_policy_waits_as_long(late: int) -> None:
    desk = Desk(PATIENT)
    desk.request(0, request_id="another", kafka=late)
    desk.prediction(0, kafka=late)
    desk.prediction(SECOND, kafka=late)
    desk.feedback(late, item="b")
    sums = desk.sums()
    assert (sums["predictions"], sums["clicks"], sums["duplicates"], sums["impressions"]) == (1, 1, 1, 4)


@pytest.mark.parametrize("late", [0, 30 * DAY])
def test_a_request_that_comes_a_month_late_describes_its_prediction_and_is_no_duplicate_of_itself(
    late: int,
) -> None:
    desk = Desk(PATIENT)
    desk.prediction(0)
    desk.request(0, kafka=late, surface="home")
    desk.request(0, kafka=late, surface="search")
    assert desk.sums(segment="surface", value="home")["predictions"] == 1
    assert desk.counts()["unanswered"] == 0


@pytest.mark.parametrize("length", [100, SHORT - 1, SHORT, SHORT + 1])
def test_the_last_item_of_a_list_counts_however_long_it_is(length: int) -> None:
    items = [f"i{i}" for i in range(length)]
    desk = Desk()
    desk.prediction(0, items=items, shown=3)
    desk.feedback(SECOND, item=items[-1], kind="relevant")
    desk.feedback(SECOND, item=items[2])
    desk.feedback(SECOND, item=items[3])
    sums = desk.sums()
    assert (sums["impressions"], sums["clicks"], sums["relevant"]) == (3, 1, 3)
    assert desk.join.pending == 0


def test_a_prediction_that_is_kept_for_its_duplicates_keeps_what_it_is() -> None:
    later = 5 * MINUTE
    desk = Desk()
    desk.prediction(0, items=list("abcdef"), shown=4)
    desk.prediction(later, kafka=later)
    desk.feedback(SECOND, kafka=later, item="d")
    desk.feedback(SECOND, kafka=later, item="e")
    sums = desk.sums()
    assert (sums["predictions"], sums["impressions"], sums["clicks"]) == (1, 4, 1)


def test_a_shadow_is_kept_for_its_duplicates_beyond_its_pane() -> None:
    desk = Desk()
    deadline = PANE + 6 * MINUTE
    desk.prediction(0, arm="shadow", version="v2")
    desk.prediction(deadline - 2 * MINUTE, arm="shadow", version="v2")
    desk.pass_time(deadline + SECOND)
    desk.prediction(deadline + 2 * SECOND, arm="shadow", version="v2")
    desk.prediction(deadline + 2 * SECOND, arm="shadow", version="v3")
    closed = desk.close()
    told = {
        (series.version, series.start): measured.sums
        for series, measured in closed.items()
        if series.arm == "shadow" and not series.segment
    }
    second, third = (deadline - 2 * MINUTE) // PANE * PANE, (deadline + 2 * SECOND) // PANE * PANE
    assert told["v2", 0]["predictions"] == 1
    assert told["v2", second]["duplicates"] == told["v2", third]["duplicates"] == 1
    assert told["v3", third]["predictions"] == 1
    assert NOON % PANE == 0
