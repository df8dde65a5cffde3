"""Kafka timestamps for records that were recorded without: the running maximum of sane `ts`.

A `ts` more than a day ahead of that maximum is sane where most of the records after it are as far: so a
recording may have a gap of any length, while one wrong clock does not make all that follows late.
"""

from typing import NamedTuple

import numpy as np

from schemas.records import DAY, YEAR_2000
from streams.columns import Integers

ABSENT = -1
"""In place of a `ts` that cannot be read."""

WITNESSES = 10
"""So many of the records after it, at most, say whether a `ts` that is far ahead is sane."""


class Stamped(NamedTuple):
    """Of the first records as many `stamps` as are decided, int64; the others wait for what comes after
    them."""

    stamps: Integers
    undecided: int


class Stamps:
    """Goes along a recording."""

    def __init__(self) -> None:
        self._highest = ABSENT

    def stamp(self, times: Integers, *, last: bool) -> Stamped:
        """The running maxima of the next records' `ts` (ms), `ABSENT` where a record has none. Those that are
        undecided come again, with what follows them; where nothing does, these are the `last`.

        Records before the first sane `ts` are stamped with the year 2000.
        """
        stamps = np.empty(len(times), np.int64)
        done = 0
        while done < len(times):
            rest = times[done:]
            running = np.maximum.accumulate(np.maximum(rest, self._highest))
            before = np.concatenate([[self._highest], running[:-1]])
            ahead = np.flatnonzero((rest > before + DAY) & (rest != ABSENT))
            stop = int(ahead[0]) if len(ahead) else len(rest)
            stamps[done : done + stop] = running[:stop]
            if stop:
                self._highest = int(running[stop - 1])
            done += stop
            if done == len(times):
                break
            sane = self._is_sane(times, done, last)
            if sane is None:
                break
            if sane:
                self._highest = int(times[done])
            stamps[done] = self._highest
            done += 1
        return Stamped(np.maximum(stamps[:done], YEAR_2000), len(times) - done)

    def _is_sane(self, times: Integers, index: int, last: bool) -> bool | None:
        """Whether a `ts` that is far ahead is; None where that is not known yet."""
        after = times[index + 1 :]
        witnesses = after[after != ABSENT][:WITNESSES]
        if len(witnesses) < WITNESSES and not last:
            return None
        if not len(witnesses):
            return self._highest == ABSENT
        return 2 * int(np.count_nonzero(witnesses >= times[index] - DAY)) > len(witnesses)
