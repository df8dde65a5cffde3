"""Several logs as one: topic partitions side by side, their records in the order of Kafka's timestamps, and
of topic, partition and offset where these are equal. Pure.

Within a partition the log's order holds: a record whose timestamp is lower than one before it comes right
behind that.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from schemas.topics import Topic
from streams.columns import Integers, Records

LAST = 1 << 62

FEW = 5_000
"""Of a stream with no more records waiting, more is read before the next are merged: streams that end at
about the same time go on together."""


class Part(NamedTuple):
    """n records of one topic partition and their places in the whole, int64[n], ascending."""

    topic: Topic
    partition: int
    records: Records
    ranks: Integers


class Stream:
    """One topic partition: what has been read of it and not been handed on. `done`: there is no more."""

    def __init__(self, topic: Topic, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.done = False
        self._highest = -LAST
        self._waiting: list[tuple[Integers, Records]] = []

    def put(self, records: Records) -> None:
        """The next records."""
        if len(records):
            times = np.maximum(np.maximum.accumulate(records.timestamps), self._highest)
            self._highest = int(times[-1])
            self._waiting.append((times, records))

    @property
    def known(self) -> int:
        """All records with an earlier place in time (ms) have been read."""
        return LAST if self.done else self._highest

    @property
    def wanting(self) -> bool:
        """Whether little of it waits, and there may be more."""
        return not self.done and sum(len(times) for times, _ in self._waiting) <= FEW

    def take(self, before: int) -> list[tuple[Integers, Records]]:
        """The records that come before that time, with their places in time."""
        taken, waiting = [], []
        for times, records in self._waiting:
            count = int(np.searchsorted(times, before))
            if count:
                taken.append((times[:count], records[:count]))
            if count < len(times):
                waiting.append((times[count:], records[count:]))
        self._waiting = waiting
        return taken


def merge(streams: Sequence[Stream]) -> list[Part]:
    """What is known to come next, of all streams together, in their order. Where that is nothing, more has to
    be read of the one that is `known` least.
    """
    before = min((stream.known for stream in streams), default=LAST)
    taken = [(n, *each) for n, stream in enumerate(streams) for each in stream.take(before)]
    if not taken:
        return []
    order = np.argsort(np.concatenate([times for _, times, _ in taken]), kind="stable")  # `taken` is in order
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    ends = np.cumsum([len(times) for _, times, _ in taken]).tolist()
    return [
        Part(streams[n].topic, streams[n].partition, records, ranks[end - len(times) : end])
        for (n, times, records), end in zip(taken, ends, strict=True)
    ]
