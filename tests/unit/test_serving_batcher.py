"""Batching: what is collected in how much time, and what becomes of rows on the way through a run."""

import numpy as np

from serving import batcher


class Log:
    """A consumer of numbers, of which the first are there; notes what it is asked for."""

    def __init__(self, ready: int) -> None:
        self._left: list[int] = []
        self._next = 0
        self.asked: list[tuple[int, float]] = []
        self.add(ready)

    def add(self, count: int) -> None:
        self._left += range(self._next, self._next + count)
        self._next += count

    def consume(self, most: int, timeout: float) -> list[int]:
        self.asked.append((most, timeout))
        taken, self._left = self._left[:most], self._left[most:]
        return taken


def collect(log: Log, most: int = 8, age: float = 0.0, arriving: int = 0) -> list[int]:
    """`arriving`: how many come while an earlier batch runs; 0: none runs."""

    def rest() -> bool:
        log.add(arriving)
        return arriving > 0

    return batcher.collect(log.consume, most, wait=0.005, idle=0.1, age=lambda _: age, rest=rest)


def test_a_batch_is_the_first_message_and_what_comes_within_the_wait() -> None:
    log = Log(ready=3)
    assert collect(log) == [0, 1, 2]
    assert log.asked == [(1, 0.1), (7, 0.005)]


def test_a_batch_has_no_more_than_most() -> None:
    assert collect(Log(ready=100)) == list(range(8))


def test_the_wait_begins_with_the_first_message() -> None:
    log = Log(ready=0)
    assert collect(log) == []
    assert log.asked == [(1, 0.1)]


def test_what_the_first_message_has_waited_elsewhere_counts() -> None:
    log = Log(ready=3)
    assert collect(log, age=0.003) == [0, 1, 2]
    most, timeout = log.asked[1]
    assert (most, round(timeout, 9)) == (7, 0.002)


def test_a_batch_takes_along_what_comes_while_an_earlier_one_runs() -> None:
    log = Log(ready=2)
    assert collect(log, arriving=3) == [0, 1, 2, 3, 4]
    assert log.asked == [(1, 0.1), (7, 0.005), (6, 0.0)]
    assert collect(Log(ready=2), most=4, arriving=3) == [0, 1, 2, 3]


def test_a_batch_that_is_full_does_not_wait_for_an_earlier_one() -> None:
    log = Log(ready=8)
    assert collect(log, arriving=3) == list(range(8))
    assert len(log.asked) == 2


def test_a_message_that_is_old_takes_along_what_is_there_without_waiting() -> None:
    log = Log(ready=3)
    assert collect(log, age=60.0) == [0, 1, 2]
    assert log.asked[1] == (7, 0.0)


def test_a_clock_that_is_behind_does_not_prolong_the_wait() -> None:
    log = Log(ready=3)
    collect(log, age=-60.0)
    assert log.asked[1] == (7, 0.005)


def test_batches_of_one_do_not_wait_for_a_second() -> None:
    log = Log(ready=5)
    assert collect(log, most=1) == [0]
    assert log.asked == [(1, 0.1)]


def test_rows_of_requests_of_different_lengths_are_joined_in_order() -> None:
    joined = batcher.join([{"item": np.array([[1], [2]])}, {"item": np.array([[3]])}])
    assert joined["item"].tolist() == [[1], [2], [3]]


def test_scores_are_split_back_to_their_requests() -> None:
    parts = batcher.split(np.array([1.0, 2.0, 3.0, 4.0]), [1, 3])
    assert [part.tolist() for part in parts] == [[1.0], [2.0, 3.0, 4.0]]
