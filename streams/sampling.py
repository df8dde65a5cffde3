"""Which records of the event topics are in a sample, by their keys alone: what is not costs a hash, and is
never decoded.

All three are keyed by request_id, so a request is in the sample with all its predictions and feedback, on
every machine and after every restart, and nobody needs to remember which were.
"""

import numpy as np
from numpy.typing import NDArray

from streams.columns import NULL, Bytes, Integers
from streams.compiled import compiled
from streams.join.machine import address
from streams.join.text import hash_at

_DROPPED = np.uint64(11)
"""Bits of a hash beyond the 53 that a float64 holds."""


@compiled
def fractions(data: Bytes, keys: Integers) -> NDArray[np.float64]:
    """Where each key falls between 0 and 1, evenly: those below a share are its sample, and samples of
    smaller shares are in it. 1, which is in none, where there is no key. `keys`: int64[n, 2], start and end
    in `data`; the answer's shape is (n,).
    """
    base = address(data)
    found = np.empty(len(keys), np.float64)
    for index in range(len(keys)):
        start, end = keys[index, 0], keys[index, 1]
        found[index] = 1.0 if start == NULL else float(hash_at(base, start, end) >> _DROPPED) * 2.0**-53
    return found
