"""The driver's book of positions and commits, without Faust or a broker."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest

from schemas import topics
from schemas.topics import Topic
from streams.columns import Records, Row
from streams.driver import Batch, Driver, LostRecordsError, Survey
from streams.stage import Assigned, Committed, Reading, TopicPartition

P0, P1 = TopicPartition("inference.requests", 0), TopicPartition("inference.requests", 1)


class Recorder:
    """A stage that writes down what it is told, and calls safe what it is told to."""

    name = "recorder"
    topics: Sequence[Topic] = (topics.REQUESTS,)

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.safes: dict[TopicPartition, Committed] = {}
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.holds: set[TopicPartition] = set()

    def assigned(self, partitions: Mapping[TopicPartition, Assigned]) -> None:
        self.told.append(("assigned", dict(partitions)))

    def revoked(self, partitions: Collection[TopicPartition]) -> None:
        self.told.append(("revoked", set(partitions)))

    async def process(self, partition: TopicPartition, records: Records) -> None:
        self.told.append(("process", partition, records.offsets.tolist()))
        await self.go_on.wait()

    def held(self) -> Collection[TopicPartition]:
        return self.holds

    async def tick(self, readings: Mapping[TopicPartition, Reading], now: int) -> None:
        self.told.append(("tick", dict(readings)))

    def safe(self, partition: TopicPartition) -> Committed | None:
        return self.safes.get(partition)

    def vitals(self) -> dict[str, float]:
        return {}

    async def close(self) -> None:
        self.told.append(("close",))


def fresh(offset: int | None = None, start: int = 0, end: int = 100) -> Assigned:
    return Assigned(None if offset is None else Committed(offset, "note"), start, end)


@pytest.fixture
def stage() -> Recorder:
    return Recorder()


@pytest.fixture
def driver(stage: Recorder) -> Driver:
    """Owns partition 0 from its start, in generation 1; its log ends at 100."""
    driver = Driver(stage)
    driver.assign((), {P0: fresh()}, 1, asked=1)
    stage.told.clear()
    return driver


def batch(first: int, last: int, *, end: int | None = None, stamp: int = 0, of: TopicPartition = P0) -> Batch:
    records = Records.of(Row(offset, 0, None, None, ()) for offset in range(first, last + 1))
    return Batch(of, records, first, last + 1 if end is None else end, stamp)


def given(driver: Driver, *batches: Batch) -> None:
    async def run() -> None:
        for one in batches:
            await driver.process(one)

    asyncio.run(run())


def test_reading_starts_at_the_commit_or_else_at_the_start_of_the_log(stage: Recorder) -> None:
    driver = Driver(stage)
    driver.assign((), {P0: fresh(offset=7), P1: fresh(start=3)}, 1, asked=1)
    assert driver.positions() == {P0: 7, P1: 3}


def test_where_retention_overtook_the_commit_reading_starts_at_the_start_of_the_log(stage: Recorder) -> None:
    driver = Driver(stage)
    driver.assign((), {P0: fresh(offset=7, start=20)}, 1, asked=1)
    assert driver.positions() == {P0: 20}


def test_the_position_moves_past_gaps_at_the_end_of_a_batch(driver: Driver) -> None:
    given(driver, batch(0, 4, end=6))
    assert driver.positions() == {P0: 6}


def test_records_that_the_stage_has_seen_are_not_given_again(driver: Driver, stage: Recorder) -> None:
    given(driver, batch(0, 4), batch(0, 6), batch(2, 6))
    assert stage.told == [("process", P0, [0, 1, 2, 3, 4]), ("process", P0, [5, 6])]


def test_a_batch_that_leaves_out_records_is_an_error(driver: Driver) -> None:
    with pytest.raises(LostRecordsError, match="starts at offset 3, expected 0"):
        given(driver, batch(3, 4))


def test_batches_of_an_earlier_seek_are_dropped(driver: Driver, stage: Recorder) -> None:
    stamp = driver.discard_in_flight()
    given(driver, batch(5, 9, stamp=stamp - 1), batch(0, 1, stamp=stamp))
    assert stage.told == [("process", P0, [0, 1])]


def test_a_batch_is_current_until_the_next_seek(driver: Driver) -> None:
    one = batch(0, 4, stamp=driver.discard_in_flight())
    assert driver.is_current(one)
    driver.discard_in_flight()
    assert not driver.is_current(one)


def test_what_was_ours_in_the_generation_before_stays_and_the_stage_hears_of_the_rest_only(
    driver: Driver, stage: Recorder
) -> None:
    given(driver, batch(0, 4))
    stage.told.clear()
    assert driver.staying({P0, P1}, 2) == {P0}
    driver.assign({P0}, {P1: fresh()}, 2, asked=2)
    assert stage.told == [("assigned", {P1: fresh()})]
    assert driver.positions() == {P0: 5, P1: 0}


def test_after_a_gap_between_generations_nothing_stays(driver: Driver, stage: Recorder) -> None:
    assert driver.staying({P0}, 3) == set()
    driver.assign((), {P0: fresh(offset=2)}, 3, asked=2)
    assert stage.told == [("revoked", {P0}), ("assigned", {P0: fresh(offset=2)})]


def test_a_call_that_ends_after_its_partition_came_back_afresh_does_not_move_the_new_position(
    stage: Recorder,
) -> None:
    async def run() -> dict[TopicPartition, int]:
        driver = Driver(stage)
        driver.assign((), {P0: fresh()}, 1, asked=1)
        stage.go_on.clear()
        call = asyncio.ensure_future(driver.process(batch(0, 4)))
        await asyncio.sleep(0)
        driver.assign((), {P0: fresh()}, 5, asked=2)
        stage.go_on.set()
        await call
        return driver.positions()

    assert asyncio.run(run()) == {P0: 0}


def test_process_and_tick_are_never_under_way_together(stage: Recorder) -> None:
    async def run() -> None:
        driver = Driver(stage)
        driver.assign((), {P0: fresh()}, 1, asked=1)
        stage.go_on.clear()
        calls = [asyncio.ensure_future(driver.process(batch(0, 4))), asyncio.ensure_future(driver.tick())]
        await asyncio.sleep(0)
        assert [told[0] for told in stage.told] == ["assigned", "process"]
        stage.go_on.set()
        await asyncio.gather(*calls)

    asyncio.run(run())
    assert [told[0] for told in stage.told] == ["assigned", "process", "tick"]


def test_a_rebalance_waits_for_the_call_that_is_under_way_but_not_for_ever(
    stage: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.driver.GRACE", 0.01)

    async def run() -> list[bool]:
        driver = Driver(stage)
        driver.assign((), {P0: fresh()}, 1, asked=1)
        stage.go_on.clear()
        call = asyncio.ensure_future(driver.process(batch(0, 4)))
        await asyncio.sleep(0)
        async with driver.quiet():
            waited_in_vain = not call.done()
        stage.go_on.set()
        async with driver.quiet():
            return [waited_in_vain, call.done()]

    assert asyncio.run(run()) == [True, True]


def test_transaction_markers_at_the_end_count_as_read_once_all_before_them_is_processed(
    driver: Driver,
) -> None:
    driver.surveyed({P0: Survey(end=7, delivered=5, consumed=7)}, 0, asked=2)
    assert driver.positions() == {P0: 0}
    given(driver, batch(0, 4))
    driver.surveyed({P0: Survey(end=7, delivered=5, consumed=7)}, 0, asked=3)
    assert driver.positions() == {P0: 7}


def test_a_survey_from_before_a_seek_says_nothing(driver: Driver) -> None:
    driver.discard_in_flight()
    driver.surveyed({P0: Survey(end=7, delivered=0, consumed=7)}, 0, asked=2)
    assert driver.positions() == {P0: 0}


def test_a_tick_is_told_how_far_each_partition_is_read(driver: Driver, stage: Recorder) -> None:
    given(driver, batch(0, 4))
    driver.surveyed({P0: Survey(end=50, delivered=5, consumed=5)}, 0, asked=9)
    asyncio.run(driver.tick())
    assert stage.told[-1] == ("tick", {P0: Reading(position=5, end=50, asked=9)})


def test_a_stage_that_owns_nothing_is_not_ticked(stage: Recorder) -> None:
    asyncio.run(Driver(stage).tick())
    assert stage.told == []


def test_what_is_due_is_what_the_stage_calls_safe_where_the_broker_has_something_else(
    driver: Driver, stage: Recorder
) -> None:
    given(driver, batch(0, 4))
    assert driver.due() == {}
    stage.safes[P0] = Committed(4, "a")
    assert driver.due() == {P0: Committed(4, "a")}
    driver.committed({P0: Committed(4, "a")})
    assert driver.due() == {}
    stage.safes[P0] = Committed(4, "b")
    assert driver.due() == {P0: Committed(4, "b")}


def test_an_offset_that_was_not_read_cannot_be_safe(driver: Driver, stage: Recorder) -> None:
    stage.safes[P0] = Committed(1, "")
    with pytest.raises(ValueError, match="but has read up to 0"):
        driver.due()


def test_after_a_failure_nothing_is_processed_committed_or_closed(driver: Driver, stage: Recorder) -> None:
    stage.safes[P0] = Committed(0, "")
    driver.failure = ValueError()
    given(driver, batch(0, 4))
    asyncio.run(driver.tick())
    asyncio.run(driver.close())
    assert driver.due() == {}
    assert stage.told == []


def test_after_its_last_call_a_stage_hears_no_more_of_the_group_or_the_log(
    driver: Driver, stage: Recorder
) -> None:
    async def run() -> None:
        await driver.close()
        driver.assign({P0}, {P1: fresh()}, 2, asked=2)
        await driver.process(batch(0, 9, stamp=1))
        await driver.process(batch(0, 9, stamp=1, of=P1))
        await driver.tick()

    asyncio.run(run())
    assert stage.told == [("close",)]
    stage.safes[P0] = Committed(0, "last")
    assert driver.due() == {P0: Committed(0, "last")}


def test_the_lag_is_what_is_still_to_be_read(driver: Driver) -> None:
    given(driver, batch(0, 4))
    assert driver.lag == 95


def test_a_batch_of_a_partition_that_is_held_back_waits_and_comes_once_it_is_let_go(
    driver: Driver, stage: Recorder
) -> None:
    stage.holds = {P0}
    asyncio.run(driver.tick())
    given(driver, batch(0, 4), batch(5, 9))
    assert driver.positions() == {P0: 0}
    stage.told.clear()
    stage.holds = set()
    asyncio.run(driver.tick())
    given(driver, batch(10, 10))
    assert [told[2] for told in stage.told if told[0] == "process"] == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
        [10],
    ]


def test_what_is_let_go_by_a_call_for_another_partition_is_fed_at_the_next_tick(stage: Recorder) -> None:
    driver = Driver(stage)
    stage.holds = {P0}
    driver.assign((), {P0: fresh(), P1: fresh()}, 1, asked=1)
    given(driver, batch(0, 4))
    stage.holds = set()
    given(driver, batch(0, 1, of=P1))
    asyncio.run(driver.tick())
    assert driver.positions() == {P0: 5, P1: 2}


def test_a_stage_may_hold_a_partition_back_in_the_middle_of_a_batch(
    driver: Driver, stage: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.driver.FEWEST", 1)
    monkeypatch.setattr("streams.driver.MOST", 3)
    given(driver, batch(0, 0))
    stage.holds = {P0}
    given(driver, batch(1, 9))
    assert driver.positions() == {P0: 4}
    assert driver.held == {P0}
    stage.holds = set()
    asyncio.run(driver.tick())
    assert driver.positions()[P0] > 4


def test_after_a_seek_nothing_of_what_waited_is_given(driver: Driver, stage: Recorder) -> None:
    stage.holds = {P0}
    asyncio.run(driver.tick())
    given(driver, batch(0, 4))
    stamp = driver.discard_in_flight()
    stage.holds = set()
    asyncio.run(driver.tick())
    assert driver.positions() == {P0: 0}
    given(driver, batch(0, 2, stamp=stamp))
    assert driver.positions() == {P0: 3}


def test_a_partition_that_went_is_not_held_any_more(driver: Driver, stage: Recorder) -> None:
    stage.holds = {P0}
    asyncio.run(driver.tick())
    assert driver.held_back == 100
    driver.assign((), {P1: fresh()}, 5, asked=2)
    assert driver.held == set()
    assert driver.held_back == 0


def test_a_call_is_given_no_more_than_it_can_take_in_its_time_and_then_ticks_have_their_turn(
    stage: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.driver.FEWEST", 2)
    monkeypatch.setattr("streams.driver.FIRST", 4)
    monkeypatch.setattr("streams.driver.CALL", 0.0)

    async def run() -> None:
        driver = Driver(stage)
        driver.assign((), {P0: fresh()}, 1, asked=1)
        stage.go_on.clear()
        call = asyncio.ensure_future(driver.process(batch(0, 7)))
        await asyncio.sleep(0)
        tick = asyncio.ensure_future(driver.tick())
        await asyncio.sleep(0)
        stage.go_on.set()
        await asyncio.gather(call, tick)

    asyncio.run(run())
    assert [told[0] for told in stage.told] == ["assigned", "process", "tick", "process", "process"]
    assert [told[2] for told in stage.told if told[0] == "process"] == [[0, 1, 2, 3], [4, 5], [6, 7]]


def test_ticks_do_not_wait_for_partitions_of_which_nothing_waits(stage: Recorder) -> None:
    async def run() -> list[bool]:
        driver = Driver(stage)
        driver.assign((), {P0: fresh(), P1: fresh()}, 1, asked=1)
        stage.go_on.clear()
        tick = asyncio.ensure_future(driver.tick())
        call = asyncio.ensure_future(driver.process(batch(0, 4)))
        for _ in range(5):
            await asyncio.sleep(0)
        done = [tick.done(), call.done()]
        stage.go_on.set()
        await call
        return done

    assert asyncio.run(run()) == [True, False]
