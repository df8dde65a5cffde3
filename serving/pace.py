"""How work on large files spares what serves beside it: between pieces it rests."""

import time
from collections.abc import Callable
from pathlib import Path

Rest = Callable[[], None]
"""Called between pieces of work."""

PIECE = 2 << 20
"""Bytes of a file that are worked on at a time: a huge page, which the system clears as a whole."""

SHARE = 0.1
"""Of a processor, that work takes which rests."""

MOST = 4.0
"""Seconds of rests as a file is gone through: somebody may wait for it."""


def restless() -> None:
    """For work beside which nothing serves."""


class Pace:
    """The rests of one thread that works on `file`: after each piece so long that this takes its `share` of a
    processor, but all together at most `most` seconds, evenly spread. Raises `OSError` where there is no
    file."""

    def __init__(self, file: Path, share: float = SHARE, most: float = MOST) -> None:
        self._ratio = 1 / share - 1
        self._longest = most / (1 + file.stat().st_size // PIECE)
        self._spent = time.thread_time()

    def rest(self) -> None:
        """Between two pieces."""
        time.sleep(min(self._longest, self._ratio * (time.thread_time() - self._spent)))
        self._spent = time.thread_time()
