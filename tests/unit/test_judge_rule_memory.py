"""What rules remember: numbers by time, and that a judge who takes over goes on where the last one stopped,
without reading all of it again.
"""

from collections.abc import Mapping, Sequence
from math import nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records import ENCODER, Codec
from streams.judge.rules.memory import CHUNK, Grid, History, Memory, Remembered
from tests.rule_worlds import Feed, clicks, errors, told

# Grids

rows = st.lists(st.tuples(st.integers(0, 400), st.integers(-5, 5)), max_size=60)


@given(rows)
def test_what_is_added_is_found_in_the_total_of_its_time(added: list[tuple[int, int]]) -> None:
    grid = Grid(10, 2, 0.0)
    base = 7_000_000
    kept: dict[int, int] = {}
    for step, number in added:
        held = min(kept, default=step) // CHUNK
        if (base // 10 + step) // CHUNK < (base // 10 + held) // CHUNK:
            continue
        grid.add(base + 10 * step, [number, 2 * number])
    first = added[0][0] if added else 0
    floor = (base // 10 + first) // CHUNK * CHUNK - base // 10
    for start, end in ((0, 401), (10, 50), (100, 101)):
        expected = sum(number for step, number in added if max(start, floor) <= step < end)
        assert grid.total(base + 10 * start, base + 10 * end) == [expected, 2 * expected]


@given(rows)
def test_a_grid_is_rebuilt_from_its_records(put: list[tuple[int, int]]) -> None:
    grid = Grid(10, 1, nan)
    written: dict[str, History] = {}
    for step, number in put:
        grid.put(10 * (1_000_000 + step), [number])
        written |= {record.key: record for record in grid.news("m", "s", "about")}
    again = Grid(10, 1, nan)
    codec: Codec[Remembered] = Codec(Remembered)
    for record in written.values():
        decoded = codec.decode(ENCODER.encode(record))
        assert isinstance(decoded, History)
        again.recall(decoded)
    place = slice(1_000_000 - CHUNK, 1_000_500)
    np.testing.assert_equal(again.rows(place.start, place.stop), grid.rows(place.start, place.stop))
    assert list(again.news("m", "s", "about")) == []


def test_only_chunks_that_changed_are_news() -> None:
    grid = Grid(10, 1, nan)
    for number in range(3 * CHUNK):
        grid.put(10 * number, [1.0])
    assert [record.start for record in grid.news("m", "s", "a")] == [0, 10 * CHUNK, 20 * CHUNK]
    grid.put(10 * CHUNK, [1.0])
    assert list(grid.news("m", "s", "a")) == []
    grid.put(10 * CHUNK, [2.0])
    assert [record.start for record in grid.news("m", "s", "a")] == [10 * CHUNK]


def test_a_record_of_a_day_of_readings_is_small() -> None:
    grid = Grid(600_000, 2, 0.0)
    for number in range(CHUNK):
        grid.add(number * 600_000, [123_456.0, 7_890_123.0])
    (record,) = grid.news("ranker", "f" * 32, "sums of error_rate")
    assert len(ENCODER.encode(record)) < 4_000


def test_what_nobody_needs_any_more_is_deleted_from_the_topic() -> None:
    memory = Memory("ranker")
    grid, _ = memory.grid("one", "about", Grid(10, 1, nan))
    for number in range(3 * CHUNK):
        grid.put(10 * number, [1.0])
    memory.news()
    memory.trim("one", 10 * 2 * CHUNK)
    assert memory.news() == [("ranker/one/0", None), ("ranker/one/1", None)]
    memory.keep(set())
    assert memory.news() == [("ranker/one/2", None)]


# Taking over


def run(feed: Feed, panes: Sequence[Mapping[str, float]], restarts: set[int]) -> list[object]:
    """Feeds panes, writing each time what is to be written; answers the alerts, as they are told."""
    found: list[object] = []
    for number, sums in enumerate(panes):
        if number in restarts:
            feed.restart()
        found += feed.panes([sums])
        feed.write()
        feed.judge.forget(feed.now)
    return found


RULES: dict[str, dict[str, object]] = {
    "above": {"metric": "error_rate", "above": 0.05, "window": "1m", "for": "3m"},
    "votes": {"metric": "error_rate", "above": 0.05, "window": "1m", "for": {"of": 5, "at_least": 3}},
    "hour": {"metric": "error_rate", "above": 0.02, "window": "1h"},
    "burning": {
        "metric": "error_rate",
        "burn_rate": {"objective": 0.99, "factor": 1.5, "windows": ["6h", "5m"]},
    },
    "silent": {"metric": "error_rate", "no_data": "5m"},
    "unseen": {"metric": "error_rate", "no_data": "5m", "where": {"version": "v9"}},
}


@pytest.mark.parametrize("name", RULES)
def test_a_successor_fires_and_resolves_what_the_first_judge_would_have(name: str) -> None:
    random = np.random.default_rng(3)
    panes: list[Mapping[str, float]] = [errors(float(random.binomial(1_000, 0.01))) for _ in range(80)]
    panes += [errors(float(random.binomial(1_000, 0.2))) for _ in range(40)] + [{}] * 8
    panes += [errors(float(random.binomial(1_000, 0.01))) for _ in range(72)]
    alone = run(Feed(RULES[name], length="1m"), panes, set())
    assert alone
    restarts = {*range(3, 200, 40), 81, 83, 121, 125, 129}
    assert run(Feed(RULES[name], length="1m"), panes, restarts) == alone


def test_a_successor_has_the_baselines_of_its_predecessor() -> None:
    random = np.random.default_rng(3)
    panes = [clicks(float(random.binomial(10_000, 0.05))) for _ in range(60)]
    panes += [clicks(300), clicks(310), clicks(500)]
    rule = {"metric": "ctr", "baseline": {"of": "moving"}, "window": "10m"}
    alone = run(Feed(rule), panes, set())
    assert len(alone) == 2
    assert run(Feed(rule), panes, {30, 59, 60, 61, 62}) == alone


def test_an_alert_that_fires_for_days_holds_no_panes_back() -> None:
    feed = Feed({"metric": "error_rate", "above": 0.05, "window": "1m"}, length="1m")
    run(feed, [errors(100)] * 300, set())
    needed = feed.judge.needed()
    assert needed is not None and needed > feed.now - 5 * 60_000
    assert feed.restart() < 20
    assert told(feed.panes([errors(100)])) == []
    assert told(feed.panes([errors(0)])) == ["resolved"]


def test_windows_of_days_are_not_read_again_from_their_panes() -> None:
    burn = {"objective": 0.99, "factor": 2, "windows": ["3d", "1h"]}
    feed = Feed({"metric": "error_rate", "burn_rate": burn}, length="1m")
    run(feed, [errors(5)] * 1_000, set())
    assert feed.restart() < 2 * 60  # the panes of half an hour, and as many words of progress


def test_a_judge_without_what_was_written_says_nothing_before_it_knows_again() -> None:
    feed = Feed({"metric": "ctr", "baseline": {"of": "moving"}, "window": "10m"})
    random = np.random.default_rng(3)
    run(feed, [clicks(float(random.binomial(10_000, 0.05))) for _ in range(60)], set())
    feed.written.clear()
    feed.restart()
    assert feed.panes([clicks(100)]) == []


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([0.0, 30.0, 300.0, None]), min_size=10, max_size=40), st.data())
def test_wherever_it_is_restarted_the_alerts_are_the_same(
    panes: list[float | None], data: st.DataObject
) -> None:
    rules: list[dict[str, object]] = [
        {"metric": "error_rate", "above": 0.05, "window": "2m", "for": {"of": 3, "at_least": 2}},
        {"metric": "error_rate", "above": 0.02, "window": "5m", "for": "2m", "clear": 0.01},
        {"metric": "error_rate", "no_data": "3m"},
        {"metric": "error_rate", "burn_rate": {"objective": 0.9, "factor": 1, "windows": ["20m", "2m"]}},
    ]
    sums: list[Mapping[str, float]] = [errors(0), *({} if bad is None else errors(bad) for bad in panes)]
    restarts = data.draw(st.sets(st.integers(1, len(panes) - 1), max_size=3))
    alone = run(Feed(*rules, length="1m"), sums, set())
    assert run(Feed(*rules, length="1m"), sums, restarts) == alone


def test_a_successor_that_reads_older_panes_than_it_must_takes_no_reading_again() -> None:
    """The offsets of a judge that is killed may be older than what it has written, and the sums that those
    readings were taken from are forgotten.
    """
    feed = Feed({"metric": "ctr", "window": "10m", "baseline": {"of": "moving"}}, length="1m")
    feed.panes([clicks(500)])
    floor = feed.judge.needed()
    for minute in range(300):
        feed.panes([clicks(500 + 10 * (minute % 3))])
        feed.write()
    assert feed.restart(floor) > 600
    assert told(feed.panes([clicks(300)] * 10)) == ["firing"]


def test_of_what_has_been_forgotten_a_successor_says_that_it_does_not_know_it() -> None:
    grid = Grid(10, 1, 0.0)
    for step in range(3 * CHUNK):
        grid.add(10 * step, [1.0])
    grid.trim(10 * CHUNK)
    grid.add(10 * 3 * CHUNK, [1.0])
    successor = Grid(10, 1, 0.0)
    for record in grid.news("m", "s", "about"):
        successor.recall(record)
    assert successor.known == grid.known == 10 * CHUNK
    assert successor.total(10 * CHUNK, 20 * CHUNK) == [CHUNK]
