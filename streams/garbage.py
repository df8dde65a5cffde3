"""Python's cyclic garbage collector, for a process whose heap is large, long-lived and free of cycles:
rarely, and never by surprise.

Run by allocation counts, its full passes over a large join buffer took a third of the time. Reference counts
free nearly everything here; what cycles there are come from asyncio and exceptions, are young and small.
"""

import gc
from time import monotonic

YOUNG = 10.0
FULL = 600.0
"""Seconds between two passes over the objects made since the last one, and between two over all of them, at
least."""
SHARE = 1_000
"""A pass over all takes at most one part in so many of the time: of a judge with a thousand models it takes
seconds."""


class Garbage:
    """Takes the collector over from Python; `collect` is to be called every now and then, between two pieces
    of work."""

    def __init__(self) -> None:
        gc.collect()
        gc.freeze()
        gc.disable()
        self._young = self._full = 0.0
        self._rest = FULL

    def collect(self, now: float) -> None:
        """Collects where it is time to, at monotonic time `now` (seconds)."""
        if now - self._full > self._rest:
            self._full = self._young = now
            began = monotonic()
            gc.collect()
            self._rest = max(FULL, SHARE * (monotonic() - began))
        elif now - self._young > YOUNG:
            self._young = now
            gc.collect(1)
