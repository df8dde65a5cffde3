"""A hash map from 64-bit keys to rows of a table, in one numpy array: open addressing with linear probing,
and removal by shifting back (Knuth, "The Art of Computer Programming", vol. 3, section 6.4, algorithm R), so
that it never fills with tombstones.

Keys are hashes already, well mixed, and stand for what was hashed: two things with one hash are one. Among n
of them that happens with probability n²/2⁶⁵: once in a million for six million.
"""

import numpy as np
import numpy.typing as npt

from streams.compiled import compiled, inner

SLOT = np.dtype([("key", "u8"), ("row", "i4")])  # 12 bytes: unaligned, but a quarter smaller
Slots = npt.NDArray[np.void]

VACANT = np.uint64(0)
"""No key is 0."""

NONE = -1
"""No row."""


def empty(capacity: int) -> Slots:
    """A map with room for at least `capacity` keys."""
    return np.zeros(size_for(capacity), SLOT)


def size_for(capacity: int) -> int:
    """How many slots, a power of two, a map for `capacity` keys has."""
    size = 64
    while fits(size) < capacity:
        size *= 2
    return size


def fits(size: int) -> int:
    """How many keys a map of `size` slots takes: more than three quarters make probing long."""
    return size * 3 // 4


@compiled
def find(slots: Slots, key: np.uint64) -> int:
    """The row of a key, or `NONE`."""
    mask = np.uint64(len(slots) - 1)
    place = key & mask
    while slots[place].key != VACANT:
        if slots[place].key == key:
            return int(slots[place].row)
        place = (place + np.uint64(1)) & mask
    return NONE


@compiled
def put(slots: Slots, key: np.uint64, row: int) -> None:
    """Puts a key that is not there. The caller has seen to it that there is room, and counts."""
    mask = np.uint64(len(slots) - 1)
    place = key & mask
    while slots[place].key != VACANT:
        place = (place + np.uint64(1)) & mask
    slots[place].key = key
    slots[place].row = row


@inner
def remove(slots: Slots, key: np.uint64) -> bool:
    """Removes a key; answers whether it was there."""
    mask = np.uint64(len(slots) - 1)
    gap = key & mask
    while slots[gap].key != key:
        if slots[gap].key == VACANT:
            return False
        gap = (gap + np.uint64(1)) & mask
    place = gap
    while True:
        place = (place + np.uint64(1)) & mask
        other = slots[place].key
        if other == VACANT:
            break
        # What stands at `place` may move back to the gap if its probing began at the gap or before it.
        if ((place - (other & mask)) & mask) >= ((place - gap) & mask):
            slots[gap].key = other
            slots[gap].row = slots[place].row
            gap = place
    slots[gap].key = VACANT
    return True


@compiled
def move(old: Slots, new: Slots) -> None:
    """Puts all keys of one map into another, empty one."""
    for i in range(len(old)):
        if old[i].key != VACANT:
            put(new, old[i].key, old[i].row)
