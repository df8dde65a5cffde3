"""Which offset a successor would have to read from: the oldest batch on which a verdict of a pane that is not
final rests.

Offsets are kept by batch, not by record: the commit falls on a batch's first offset, where the partition's
clock is known. Until when a batch is needed, compiled code notes (`State.batches`), in a ring.
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from streams.join.layout import Integers


class Safe(NamedTuple):
    """A batch's first offset, and what its topic partition said before it: the clock, and whose records were
    re-published there.
    """

    offset: int
    clock: int
    origins: Mapping[str, int] = {}


class Ledger:
    """The batches of one topic partition that may still be needed, and how far it is read."""

    def __init__(self, position: int) -> None:
        self.position = position
        self._first = 0
        self._starts: deque[Safe] = deque()

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def numbers(self) -> range:
        """Of the batches that may still be needed."""
        return range(self._first, self._first + len(self._starts))

    def open(self, start: Safe, last: int) -> int:
        """A new batch of the records from `start` to offset `last`; answers its number."""
        self._starts.append(start)
        self.position = last + 1
        return self._first + len(self._starts) - 1

    def safe(self, reached: int, untils: Integers, now: Safe) -> Safe:
        """Forgets leading batches that are not needed any more, now that all deadlines before `reached` are
        passed: batch b is needed up to `untils[b % len(untils)]`.

        `now` is where the partition is read to.
        """
        while self._starts and untils[self._first % len(untils)] < reached:
            self._starts.popleft()
            self._first += 1
        return self._starts[0] if self._starts else now
