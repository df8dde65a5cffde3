"""Work in two stages: what overlaps, what stays in order, and what is over when."""

import threading
from collections.abc import Iterator

import pytest

from serving.pipeline import Pipeline

PATIENCE = 10.0


class Line:
    """A pipeline of numbers. Odd ones wait in their run, those above 100 in their delivery, until `go`; a
    negative run fails."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.running = threading.Semaphore(0)
        self.delivering = threading.Semaphore(0)
        self.delivered: list[str] = []
        self.landed: list[str] = []
        self.pipeline = Pipeline(self.run, self.deliver)

    def run(self, number: int) -> int:
        if number < 0:
            raise ValueError(f"{number} fails")
        self.running.release()
        if number % 2:
            assert self.go.wait(PATIENCE)
        return number

    def deliver(self, number: int) -> None:
        self.delivering.release()
        if number > 100:
            assert self.go.wait(PATIENCE)
        self.delivered.append(f"delivered {number}")

    def put(self, *legs: int) -> None:
        self.pipeline.put(legs, lambda: self.landed.append(f"landed {[*legs]}"))


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.go.set()
    made.pipeline.close()


def test_what_ran_is_delivered_while_the_next_runs_and_the_caller_goes_on(line: Line) -> None:
    line.put(102)
    line.put(1)
    for happens in (line.delivering, line.running, line.running):
        assert happens.acquire(timeout=PATIENCE)  # 102 is being delivered, 1 runs
    line.pipeline.land(2)
    assert line.delivered == line.landed == []
    line.go.set()
    line.pipeline.land(0)
    assert line.delivered == ["delivered 102", "delivered 1"]
    assert line.landed == ["landed [102]", "landed [1]"]


def test_a_rest_lasts_until_nothing_runs_any_more_but_waits_for_no_delivery(line: Line) -> None:
    line.put(102)
    line.put(4)
    line.pipeline.rest()
    assert line.delivered == []
    assert not line.pipeline.rest()  # there was nothing to wait for


def test_a_rest_says_whether_anything_ran(line: Line) -> None:
    line.put(1)
    assert line.running.acquire(timeout=PATIENCE)
    threading.Timer(0.02, line.go.set).start()
    assert line.pipeline.rest()
    assert line.go.is_set()


def test_a_leg_is_delivered_before_the_next_of_its_batch_has_run(line: Line) -> None:
    line.put(2, 3)
    assert line.delivering.acquire(timeout=PATIENCE)
    assert not line.go.is_set()
    line.go.set()
    line.pipeline.land(0)
    assert line.delivered == ["delivered 2", "delivered 3"]
    assert line.landed == ["landed [2, 3]"]


def test_landing_waits_until_no_more_are_left_than_it_is_told(line: Line) -> None:
    for number in (2, 4, 3):
        line.put(number)
    line.pipeline.land(1)
    assert line.landed == ["landed [2]", "landed [4]"]


def test_what_follows_a_batch_is_done_after_it_and_before_the_next(line: Line) -> None:
    line.put(1)
    line.pipeline.follow(lambda: line.delivered.append("settled"), lambda _: None)
    line.put(2)
    line.go.set()
    line.pipeline.land(0)
    assert line.delivered == ["delivered 1", "settled", "delivered 2"]


def test_a_batch_of_nothing_lands_in_its_turn(line: Line) -> None:
    line.put(2)
    line.put()
    line.pipeline.land(0)
    assert line.landed == ["landed [2]", "landed []"]


def test_what_comes_after_a_failure_never_lands(line: Line) -> None:
    line.put(2)
    line.put(-1)
    line.put(4)
    with pytest.raises(ValueError, match="-1 fails"):
        line.pipeline.land(0)
    line.pipeline.land(0)
    assert line.landed == ["landed [2]"]
