"""Python's cyclic garbage collector, for a process whose heap is large, long-lived and free of cycles:
rarely, and never by surprise.

Run by allocation counts, its full passes over a large join buffer took a third of the time. Reference counts
free nearly everything here; what cycles there are come from asyncio and exceptions, are young and small.
"""

import gc

YOUNG = 10.0
FULL = 600.0
"""Seconds between two passes over the objects made since the last one, and between two over all of them."""


class Garbage:
    """Takes the collector over from Python; `collect` is to be called every now and then, between two pieces
    of work."""

    def __init__(self) -> None:
        gc.collect()
        gc.freeze()
        gc.disable()
        self._young = self._full = 0.0

    def collect(self, now: float) -> None:
        """Collects where it is time to, at monotonic time `now` (seconds)."""
        if now - self._full > FULL:
            self._full = self._young = now
            gc.collect()
        elif now - self._young > YOUNG:
            self._young = now
            gc.collect(1)
