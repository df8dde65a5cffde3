"""Which offset a successor would have to read from: the oldest batch on which a verdict of a pane that is not
final rests.

Offsets are kept by batch, not by record: the commit falls on a batch's first offset, where the partition's
clock is known.
"""

from collections import deque
from typing import NamedTuple

from schemas.timeline import BEGINNING


class Batch:
    """Records that were read together: their first offset, the clock before it, and the deadline up to which
    any of them is needed.
    """

    __slots__ = ("clock", "offset", "until")

    def __init__(self, offset: int, clock: int) -> None:
        self.offset = offset
        self.clock = clock
        self.until = BEGINNING

    def need(self, deadline: int) -> None:
        """Some record of the batch is needed until `deadline` is passed."""
        self.until = max(self.until, deadline)


class Safe(NamedTuple):
    """A batch's first offset, and the partition's clock before it."""

    offset: int
    clock: int


class Ledger:
    """The batches of one topic partition that may still be needed, and how far it is read."""

    def __init__(self, position: int) -> None:
        self.position = position
        self._batches: deque[Batch] = deque()

    def open(self, first: int, last: int, clock: int) -> Batch:
        """A new batch of the records from offset `first` to `last`; `clock` is the partition's before
        them.
        """
        batch = Batch(first, clock)
        self._batches.append(batch)
        self.position = last + 1
        return batch

    def safe(self, reached: int, clock: int) -> Safe:
        """Forgets leading batches that are not needed any more, now that all deadlines before `reached` are
        passed.

        `clock` is the partition's as it is now.
        """
        while self._batches and self._batches[0].until < reached:
            self._batches.popleft()
        if self._batches:
            return Safe(self._batches[0].offset, self._batches[0].clock)
        return Safe(self.position, clock)
