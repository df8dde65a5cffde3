"""When a row of a view is final."""

from tests.contract.view_world import MINUTE, NOON, Database, pane, progress


def final(database: Database, view: str = "metrics") -> object:
    [[found]] = database.read(f"SELECT final FROM {view} WHERE metric = 'predictions'")
    return found


DEADLINE = pane().deadline


def test_nothing_is_final_before_anybody_has_reported(database: Database) -> None:
    database.write(pane())
    assert final(database) is False


def test_a_pane_is_final_once_the_progress_is_beyond_its_deadline(database: Database) -> None:
    database.write(pane(), progress(DEADLINE))
    assert final(database) is False
    database.write(progress(DEADLINE + 1, snapshot=2))
    assert final(database) is True


def test_a_pane_is_not_final_while_one_source_partition_lags(database: Database) -> None:
    database.write(pane(), progress(DEADLINE + 1, 0, 2), progress(DEADLINE, 1, 2))
    assert final(database) is False


def test_a_pane_is_not_final_until_every_source_partition_has_reported(database: Database) -> None:
    database.write(pane(), progress(DEADLINE + 1, 0, 2))
    assert final(database) is False
    database.write(progress(DEADLINE + 1, 1, 2))
    assert final(database) is True


def test_progress_in_one_topic_partition_says_nothing_of_the_panes_in_another(database: Database) -> None:
    database.write(pane(), topic_partition=1)
    database.write(progress(DEADLINE + 1), topic_partition=0)
    assert final(database) is False
    database.write(progress(DEADLINE + 1), topic_partition=1)
    assert final(database) is True


def test_an_older_progress_that_comes_late_loses(database: Database) -> None:
    database.write(pane(), progress(DEADLINE + 1, snapshot=9))
    database.write(progress(DEADLINE - 1, snapshot=8))
    assert final(database) is True


def test_a_late_record_counts_in_its_pane_and_does_not_open_it_again(database: Database) -> None:
    late = pane(part=NOON + MINUTE, deadline=DEADLINE + MINUTE, sums={"late": 1})
    database.write(pane(), late, progress(DEADLINE + 1))
    assert final(database) is True


def test_a_minute_is_final_when_its_last_possible_pane_is(database: Database) -> None:
    database.write(pane(), progress(DEADLINE + 1))
    assert (final(database), final(database, "metrics_1m")) == (True, False)
    database.write(progress(NOON + 2 * MINUTE + 1, snapshot=2))
    assert (final(database, "metrics_1m"), final(database, "metrics_1h")) == (True, False)
