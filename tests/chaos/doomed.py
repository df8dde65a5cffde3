"""A judge that kills itself (`kill -9`) at one step of its work: what a test starts instead of the stage's
process.

Steps are what leaves the process: transactions with a decision in them, other transactions, and offsets; each
has a moment before and one after.
"""

import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from confluent_kafka import Producer

from streams import worker
from streams.driver import Driver
from streams.judge import writer
from streams.stage import Committed, TopicPartition

POINTS = tuple(
    f"{when} {what}" for what in ("a decision", "other records", "offsets") for when in ("before", "after")
)
"""Where it may end."""


def program(point: str, count: int) -> str:
    """The source of a process that ends at `point` when it gets there for the `count`-th time."""
    return f"from tests.chaos.doomed import main\nmain({point!r}, {count})\n"


def main(point: str, count: int) -> None:
    """Runs the judge until then."""
    fate = Fate(point, count)

    class Mortal(Producer):
        """Dies before or after it commits."""

        def begin_transaction(self) -> None:
            self.topics: set[str] = set()
            super().begin_transaction()

        def produce(self, topic: str, *arguments: Any, **named: Any) -> None:
            self.topics.add(topic)
            super().produce(topic, *arguments, **named)

        def commit_transaction(self, timeout: float = -1.0) -> None:
            decided = any(topic.endswith("control.releases") for topic in self.topics)
            what = "a decision" if decided else "other records"
            fate.meet(f"before {what}")
            super().commit_transaction(timeout)
            fate.meet(f"after {what}")

    due, committed = Driver.due, Driver.committed

    def dying_due(driver: Driver) -> dict[TopicPartition, Committed]:
        found = due(driver)
        if found:
            fate.meet("before offsets")
        return found

    def dying_committed(driver: Driver, commits: Mapping[TopicPartition, Committed]) -> None:
        fate.meet("after offsets")
        committed(driver, commits)

    patch = pytest.MonkeyPatch()
    patch.setattr(writer, "Producer", Mortal)
    patch.setattr(Driver, "due", dying_due)
    patch.setattr(Driver, "committed", dying_committed)
    sys.exit(worker.main("judge", os.getppid()))


class Fate:
    """Counts how often a point is met."""

    def __init__(self, point: str, count: int) -> None:
        self._point = point
        self._left = count

    def meet(self, point: str) -> None:
        """Ends the process where it is due."""
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
