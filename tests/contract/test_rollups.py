"""Minutes and hours are rolled up from final panes, as often as one likes, and views cannot tell."""

import random
from collections.abc import Iterator

import pytest

from schemas.records import Pane
from schemas.settings import Settings
from tests.contract.test_views import SNAPSHOTS
from tests.contract.view_world import DAY, HOUR, MINUTE, NOON, SECOND, Database, opened, pane, progress

VIEWS = ("metrics_1m", "metrics_by_segment_1h", "drift_1m", "latencies_1h", "reliability_1m")
LATER = NOON + 3 * HOUR


def rows(database: Database, table: str) -> list[tuple[object, ...]]:
    """What holds in a table, but for when it was written."""
    return database.read(
        f"SELECT * EXCEPT (written) FROM {table} FINAL WHERE NOT retracted"
        " ORDER BY model, segment, start, segment_value, version, arm, end"
    )


def roll(database: Database, *partitions: int) -> None:
    assert database.writer.roll(partitions or (0,), 60.0)


@pytest.fixture(scope="module")
def recorded(settings: Settings) -> Iterator[Database]:
    """Two hours of two models, all of it final."""
    with opened(settings) as database:
        database.write(*(one.pane for one in SNAPSHOTS[::3]), progress(NOON + DAY))
        yield database


def test_a_view_shows_the_same_from_panes_and_from_rollups(recorded: Database) -> None:
    def shown() -> dict[str, list[tuple[object, ...]]]:
        return {view: sorted(recorded.read(f"SELECT * FROM {view}"), key=repr) for view in VIEWS}

    before = shown()
    assert recorded.read("SELECT count() FROM rolled") == [(0,)]
    roll(recorded)
    assert recorded.read("SELECT count() FROM panes WHERE start >= (SELECT max(until) FROM rolled)") == [(0,)]
    recorded.client.command("TRUNCATE TABLE panes")
    after = shown()
    for view in VIEWS:
        assert len(after[view]) == len(before[view])
        for found, expected in zip(after[view], before[view], strict=True):
            assert list(found) == [
                pytest.approx(value, rel=1e-9) if isinstance(value, float) else value for value in expected
            ]


# When, and from what


def test_a_minute_is_rolled_up_when_all_of_it_is_final_and_not_before(database: Database) -> None:
    database.write(pane(), pane(NOON + MINUTE), progress(NOON + 2 * MINUTE))
    roll(database)
    assert rows(database, "panes_1m") == []
    database.write(progress(NOON + 2 * MINUTE + 1, snapshot=2))
    roll(database)
    assert database.read("SELECT start, sums['predictions'] FROM panes_1m") == database.read(
        f"SELECT fromUnixTimestamp64Milli(toInt64({NOON}), 'UTC'), 10."
    )


def test_an_hour_is_rolled_up_from_its_minutes(database: Database) -> None:
    database.write(*(pane(NOON + number * 10 * SECOND) for number in range(720)), progress(LATER))
    roll(database)
    database.client.command("TRUNCATE TABLE panes")
    assert database.read("SELECT sums['predictions'] FROM panes_1h FINAL") == [(3_600.0,), (3_600.0,)]
    assert (
        database.read("SELECT value, final FROM metrics_1h WHERE metric = 'predictions'")
        == [(3_600.0, True)] * 2
    )


def test_panes_longer_than_a_minute_are_rolled_up_as_they_are(database: Database) -> None:
    database.write(pane(length=5 * MINUTE), progress(LATER))
    roll(database)
    assert database.read("SELECT seconds, value FROM metrics_1m WHERE metric = 'predictions'") == [
        (300.0, 10.0)
    ]
    assert database.read("SELECT seconds, value FROM metrics_1h WHERE metric = 'predictions'") == [
        (3600.0, 10.0)
    ]


def test_what_is_not_final_yet_is_shown_all_the_same(database: Database) -> None:
    database.write(pane(), pane(NOON + 10 * MINUTE), progress(NOON + 5 * MINUTE))
    roll(database)
    query = "SELECT value, final FROM metrics_1m WHERE metric = 'predictions' ORDER BY pane"
    assert database.read(query) == [(10.0, True), (10.0, False)]
    assert database.value("predictions", "metrics_1h") == 20


def test_a_partition_that_has_not_rolled_up_yet_keeps_all_of_its_panes_in_the_views(
    database: Database,
) -> None:
    database.write(pane(), progress(LATER))
    database.write(pane(model="other"), progress(LATER), topic_partition=1)
    roll(database, 0)
    query = "SELECT model, value FROM metrics_1m WHERE metric = 'predictions' ORDER BY model"
    assert database.read(query) == [("other", 10.0), ("ranker", 10.0)]
    roll(database, 1)
    assert database.read(query) == [("other", 10.0), ("ranker", 10.0)]


def test_years_without_data_are_passed_over(database: Database) -> None:
    database.write(pane(), pane(NOON + 700 * DAY), progress(NOON + 701 * DAY))
    roll(database)
    assert database.read("SELECT count() FROM panes_1h") == [(2,)]


def test_cut_offs_that_change_within_an_hour_have_a_denominator_each(database: Database) -> None:
    sums = {"predictions": 2.0, "relevant": 4.0, "relevant_predictions": 2.0}
    five = sums | {"hits@5": 4.0, "places@5": 10.0, "hit_predictions@5": 2.0}
    ten = sums | {"hits@10": 3.0, "places@10": 20.0, "hit_predictions@10": 1.0}
    database.write(pane(sums=five), pane(NOON + 10 * MINUTE, sums=ten), progress(LATER))
    expected = [("hit_rate@10", 0.5), ("hit_rate@5", 1.0), ("recall@10", 0.75), ("recall@5", 1.0)]
    query = "SELECT metric, value FROM metrics_1h WHERE match(metric, '^(hit_rate|recall)@') ORDER BY metric"
    assert database.read(query) == expected
    roll(database)
    assert database.read(query) == expected


# Again


def test_rolling_up_again_gives_the_same_rows(database: Database) -> None:
    database.write(*(pane(NOON + number * 10 * SECOND, partition=number % 3) for number in range(720)))
    database.write(progress(LATER))
    roll(database)
    before = [rows(database, table) for table in ("panes_1m", "panes_1h")]
    database.client.command("TRUNCATE TABLE rolled")
    database.writer.forget([0])
    roll(database)
    assert [rows(database, table) for table in ("panes_1m", "panes_1h")] == before
    assert database.read("SELECT count() > 120 FROM panes_1m") == [(1,)]


def test_a_pane_that_is_published_again_late_repairs_its_minute_and_its_hour(database: Database) -> None:
    database.write(pane(), pane(partition=1), progress(LATER))
    roll(database)
    database.write(pane(partition=1, snapshot=2, sums={"predictions": 30.0}))
    assert database.value("predictions", "metrics_1m") == 40
    assert database.value("predictions", "metrics_1h") == 40
    assert database.read("SELECT count() FROM panes_1m FINAL") == [(1,)]


def test_a_pane_that_is_retracted_late_is_gone_from_its_minute_and_its_hour(database: Database) -> None:
    database.write(pane(), pane(partition=1), progress(LATER))
    roll(database)
    database.write(pane(snapshot=2, retracted=True, sums={}))
    assert database.value("predictions", "metrics_1m") == 10
    database.write(pane(partition=1, snapshot=2, retracted=True, sums={}))
    assert database.read("SELECT value FROM metrics_1m") == []
    assert database.read("SELECT value FROM metrics_1h") == []


def test_a_late_part_counts_in_its_minute_and_its_wait_does_not(database: Database) -> None:
    database.write(pane(), progress(LATER))
    roll(database)
    database.write(pane(part=LATER, deadline=LATER + DAY, sums={"late": 3.0}))
    assert database.read("SELECT value, final FROM metrics_1m WHERE metric = 'late'") == [(3.0, True)]


def test_a_rollup_made_from_less_loses_whenever_it_comes(database: Database) -> None:
    """A zombie's, or one made after panes have been removed for their age."""
    database.write(pane(), pane(partition=1), progress(LATER))
    roll(database)
    database.client.command("ALTER TABLE panes DELETE WHERE partition = 1 SETTINGS mutations_sync = 1")
    database.write(pane())
    assert database.value("predictions", "metrics_1m") == 20


def test_a_successor_goes_on_from_the_mark_and_repairs_what_is_below_it(
    database: Database, settings: Settings
) -> None:
    database.write(pane(), progress(LATER))
    roll(database)
    database.writer.forget([0])
    database.write(pane(partition=1))
    assert database.value("predictions", "metrics_1m") == 20


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.soak) for n in range(1, 9))])
def test_however_writes_and_rolling_up_alternate_the_views_show_all_panes(
    database: Database, seed: int
) -> None:
    chance = random.Random(seed)
    total: dict[tuple[int, int], float] = {}
    reached = NOON
    for snapshot in range(1, 30):
        written: list[Pane] = []
        for _ in range(chance.randrange(4)):
            key = (NOON + chance.randrange(3 * HOUR) // MINUTE * MINUTE, chance.randrange(3))
            total[key] = float(chance.randrange(1, 100))
            written.append(
                pane(key[0], partition=key[1], snapshot=snapshot, sums={"predictions": total[key]})
            )
        database.write(*written)
        if chance.random() < 0.3:
            reached += chance.randrange(2 * HOUR)
            database.write(progress(reached, snapshot=snapshot))
            roll(database)
    for view in ("metrics_1m", "metrics_1h"):
        query = f"SELECT sum(value) FROM {view} WHERE metric = 'predictions'"
        assert database.read(query) == [(sum(total.values()),)]
