"""What the judge holds of panes: highest snapshots, sums over sources, clocks, and how long clicks take."""

import itertools

import numpy as np
import pytest

from schemas.policies import parse
from schemas.records import BUCKETS, Pane, Progress
from schemas.timeline import Timeline
from streams.judge.core import Judge
from streams.judge.facts.maturity import CLICKS, HOUR, Delays, maturity
from streams.judge.facts.panes import Clocks, Panes, Window
from streams.metrics import histogram
from tests.judging import PANE, START, pane, take


def clicks(panes: Panes) -> float:
    return sum(cell.sums.get("clicks", 0.0) for window in panes.all() for cell in window.cells.values())


def test_of_one_key_the_highest_snapshot_holds_in_whatever_order_they_come() -> None:
    snapshots = [pane("v1", START, number=n, sums={"clicks": n * 10}) for n in (1, 2, 3)]
    for order in itertools.permutations(snapshots):
        panes = Panes()
        for snapshot in order:
            take(panes, snapshot)
        assert clicks(panes) == 30


def test_sources_and_parts_add_up() -> None:
    panes = Panes()
    for partition, part in itertools.product((0, 1), (0, START + PANE)):
        take(panes, pane("v1", START, sums={"clicks": 1}, partition=partition, part=part))
    assert clicks(panes) == 4


def test_a_retracted_snapshot_voids_its_key_for_good() -> None:
    panes = Panes()
    take(panes, pane("v1", START, number=2, sums={"clicks": 5}))
    take(panes, pane("v1", START, number=3, retracted=True))
    take(panes, pane("v1", START, number=2, sums={"clicks": 5}))
    assert clicks(panes) == 0


def test_taking_a_snapshot_answers_by_how_much_it_raised_each_sum() -> None:
    panes = Panes()
    assert take(panes, pane("v1", START, number=1, sums={"clicks": 2})) == {"clicks": 2}
    assert take(panes, pane("v1", START, number=2, sums={"clicks": 5})) == {"clicks": 3}
    assert take(panes, pane("v1", START, number=2, sums={"clicks": 5})) == {}


def test_bucket_sums_add_up_by_bucket_number() -> None:
    panes = Panes()
    for partition, buckets in ((0, [3, 7]), (1, [7])):
        record = pane("v1", START, partition=partition)
        record.buckets, record.bucket_sums = buckets, {"clicks": [1.0] * len(buckets)}
        take(panes, record)
    (held,) = panes.all()
    (cell,) = held.cells.values()
    expected = np.zeros(BUCKETS)
    expected[[3, 7]] = 1, 2
    assert cell.bucketed["clicks"].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("buckets", "sums", "problem"),
    [([1, 2], [1.0], "bucket_sums.clicks"), ([BUCKETS], [1.0], "buckets")],
)
def test_a_snapshot_that_contradicts_itself_is_refused(
    buckets: list[int], sums: list[float], problem: str
) -> None:
    record = pane("v1", START)
    record.buckets, record.bucket_sums = buckets, {"clicks": sums}
    with pytest.raises(ValueError, match=problem):
        take(Panes(), record)


def test_a_window_is_final_once_its_deadline_is_before_the_time_of_all() -> None:
    panes = Panes()
    record = pane("v1", START)
    take(panes, record)
    assert panes.finish(record.deadline) == []
    assert [window.start for window in panes.finish(record.deadline + 1)] == [START]
    assert panes.finish(record.deadline + 2) == []


def test_what_is_not_final_is_not_forgotten() -> None:
    panes = Panes()
    take(panes, pane("v1", START))
    panes.forget(START + 10 * PANE)
    assert len(panes.all()) == 1
    panes.finish(START + 10 * PANE)
    panes.forget(START + 10 * PANE)
    assert len(panes.all()) == 0


def progress(
    partition: int, clock: int, *, time: int | None = None, number: int = 1, of: int = 2
) -> Progress:
    return Progress(
        partition=partition, partitions=of, time=clock if time is None else time, clock=clock, snapshot=number
    )


def test_nothing_is_known_of_the_clocks_until_all_sources_have_been_heard() -> None:
    clocks = Clocks()
    clocks.take(progress(0, START))
    assert (clocks.time, clocks.horizon) == (None, None)
    clocks.take(progress(1, START + 5))
    assert (clocks.time, clocks.horizon) == (START, START)


def test_a_source_without_data_holds_up_finality_but_not_the_horizon() -> None:
    clocks = Clocks()
    clocks.take(progress(0, START))
    clocks.take(progress(1, 0))
    assert (clocks.time, clocks.horizon) == (0, START)


def test_an_older_word_of_a_source_changes_nothing() -> None:
    clocks = Clocks()
    for partition in (0, 1):
        clocks.take(progress(partition, START + 100, number=2))
        clocks.take(progress(partition, START, number=1))
    assert clocks.horizon == START + 100


def window(start: int, delays_ms: list[int], arm: str = "stable") -> Window:
    counts: dict[int, int] = {}
    for delay in delays_ms:
        bin_ = histogram.bin_of(delay)
        counts[bin_] = counts.get(bin_, 0) + 1
    panes = Panes()
    record: Pane = pane("v1", start, arm=arm)
    record.click_delay = counts
    take(panes, record)
    (made,) = panes.all()
    return made


AUTO = parse({"model": "ranker", "attribution": {"window": "10m", "lateness": "1m"}})


def test_maturity_is_the_95th_percentile_of_the_stable_clicks_delays() -> None:
    delays = Delays()
    values = np.random.default_rng(0).exponential(20_000, CLICKS).astype(int) + 1
    delays.add(window(START, values.tolist()))
    delays.add(window(START + PANE, [500_000] * CLICKS, arm="candidate"))
    expected = np.quantile(values, 0.95, method="inverted_cdf")
    assert maturity(AUTO, delays) == pytest.approx(expected, rel=0.02)


def test_with_fewer_than_a_thousand_clicks_maturity_is_the_attribution_window() -> None:
    delays = Delays()
    delays.add(window(START, [10] * (CLICKS - 1)))
    assert maturity(AUTO, delays) == 600_000


def test_a_fixed_maturity_is_taken_at_its_word() -> None:
    assert maturity(parse({"model": "ranker", "maturity": "5s"}), Delays()) == 5_000


def test_delays_of_more_than_a_day_ago_are_forgotten() -> None:
    delays = Delays()
    delays.add(window(START, [10] * CLICKS))
    delays.add(window(START + 25 * HOUR, [10]))
    assert sum(delays.counts().values()) == 1


def test_a_window_is_counted_once_also_by_a_successor() -> None:
    delays = Delays()
    delays.add(window(START, [10] * 5))
    successor = Delays(delays.hours, delays.counted)
    successor.add(window(START, [10] * 5))
    assert sum(successor.counts().values()) == 5


@pytest.mark.parametrize(
    ("record", "mistake"),
    [
        (pane("v1", START + 86_400_001), "start: found 1800086400001, expected at most a day after the"),
        (pane("v1", START, end=START), "end: found 1800000000000, expected a time after the start"),
        (pane("v1", START, end=START + 3_600_001), "1800000000000, by an hour at most"),
        (
            pane("v1", START, deadline=START),
            "deadline: found 1800000000000, expected one from the end 18000000",
        ),
        (
            Progress(partition=0, partitions=1, time=START, clock=START + 86_400_001, snapshot=1),
            "clock: found 1800086400001, expected at most a day after",
        ),
        (
            Progress(partition=0, partitions=1, time=START + 86_400_001, clock=START, snapshot=1),
            "time: found 1800086400001, expected at most a day after",
        ),
    ],
)
def test_a_record_of_a_pane_that_cannot_be_is_refused_and_changes_nothing(
    record: Pane | Progress, mistake: str
) -> None:
    judge = Judge(0, Timeline())
    with pytest.raises(ValueError, match=mistake):
        judge.pane(record, START)
    assert (judge.models, judge.horizon) == (0, None)
