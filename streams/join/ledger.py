"""Which offset a successor would have to read from: the oldest batch on which a verdict of a pane that is not
final rests.

Offsets are kept by batch, not by record: the commit falls on a batch's first offset, where the partition's
clock is known.
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from schemas.timeline import BEGINNING


class Safe(NamedTuple):
    """A batch's first offset, and what its topic partition said before it: the clock, and whose records were
    re-published there.
    """

    offset: int
    clock: int
    origins: Mapping[str, int] = {}


class Batch:
    """Records that were read together: where a successor would begin to read them, and the deadline up to
    which any of them is needed.
    """

    __slots__ = ("start", "until")

    def __init__(self, start: Safe) -> None:
        self.start = start
        self.until = BEGINNING

    def need(self, deadline: int) -> None:
        """Some record of the batch is needed until `deadline` is passed."""
        self.until = max(self.until, deadline)


class Ledger:
    """The batches of one topic partition that may still be needed, and how far it is read."""

    def __init__(self, position: int) -> None:
        self.position = position
        self._batches: deque[Batch] = deque()

    def open(self, start: Safe, last: int) -> Batch:
        """A new batch of the records from `start` to offset `last`."""
        batch = Batch(start)
        self._batches.append(batch)
        self.position = last + 1
        return batch

    def safe(self, reached: int, now: Safe) -> Safe:
        """Forgets leading batches that are not needed any more, now that all deadlines before `reached` are
        passed.

        `now` is where the partition is read to.
        """
        while self._batches and self._batches[0].until < reached:
            self._batches.popleft()
        return self._batches[0].start if self._batches else now
