"""How long to wait before a process that died is started again. Pure, but for the random numbers that come
in."""

import random

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds before a process that died is started again: from the first, doubled with every death in a row up
to the longest."""
HEALTHY = 60.0
"""A process that ran for so many seconds was well: its next death counts as the first."""


class Backoff:
    """How long to wait before the next start. Jittered, lest all processes storm a broker at once."""

    def __init__(self, rng: random.Random) -> None:
        self._random = rng
        self._longest = FIRST_PAUSE / 2

    def pause(self, lived: float) -> float:
        """Seconds to wait, after a process that lived for `lived` seconds has died; jittered downwards by up
        to a half."""
        self._longest = FIRST_PAUSE if lived >= HEALTHY else min(LONGEST_PAUSE, 2 * self._longest)
        return self._longest * (0.5 + self._random.random() / 2)
