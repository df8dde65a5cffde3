"""Finds visits by request id, in four bytes a slot: a slot is the row of a visit, and the visit holds its id.

Open addressing with linear probing, and removal by shifting back, as in `hashmap.py`. In an index of 2ᵏ slots
a row takes the lower k bits. Up to five bits above them say how far it stands from the slot where probing for
it begins, and what is left are bits of its id, so that another visit's row is seldom looked up.
"""

import numpy as np
import numpy.typing as npt

from streams.compiled import compiled, inner
from streams.join.hashmap import NONE

Index = npt.NDArray[np.uint32]
Rows = npt.NDArray[np.void]

_FAR = 31
_ALL = 0xFFFFFFFF
_ID_BITS = np.uint64(40)


@inner
def _far(size: int) -> int:
    """At this distance and beyond, only the id says how far."""
    return _FAR if size <= (_ALL + 1) // (_FAR + 1) else (_ALL + 1) // size - 1


@inner
def _upper(size: int, id_: np.uint64, distance: int) -> int:
    """What stands above a row: bits of its id above its distance."""
    far = _far(size)
    return int((np.int64(id_ >> _ID_BITS) * (far + 1) + min(distance, far)) * size & _ALL)


@inner
def _home(size: int, id_: np.uint64) -> int:
    """Where probing for an id begins."""
    return int(np.int64(id_ & np.uint64(size - 1)))


@inner
def _place(index: Index, visits: Rows, id_: np.uint64) -> int:
    """The slot of an id; `NONE` where there is none."""
    size = len(index)
    mask = size - 1
    home, distance = _home(size, id_), 0
    while True:
        place = (home + distance) & mask
        slot = np.int64(index[place])
        if slot == 0:
            return NONE
        if slot & ~mask == _upper(size, id_, distance) and visits[(slot & mask) - 1].id == id_:
            return int(place)
        distance += 1


@inner
def find(index: Index, visits: Rows, id_: np.uint64) -> int:
    """The row of the visit of a request id; `NONE` where there is none."""
    place = _place(index, visits, id_)
    return int(np.int64(index[place]) & (len(index) - 1)) - 1 if place >= 0 else NONE


@inner
def put(index: Index, id_: np.uint64, row: int) -> None:
    """Puts the row of an id that is not there. The caller has seen to it that there is room."""
    size = len(index)
    mask = size - 1
    home, distance = _home(size, id_), 0
    while index[(home + distance) & mask] != 0:
        distance += 1
    index[(home + distance) & mask] = np.uint32(_upper(size, id_, distance) + row + 1)


@inner
def remove(index: Index, visits: Rows, id_: np.uint64) -> None:
    """Removes an id that is there; all visits still hold theirs."""
    size = len(index)
    mask = size - 1
    far = _far(size)
    gap = _place(index, visits, id_)
    place = gap
    while True:
        place = (place + 1) & mask
        slot = np.int64(index[place])
        if slot == 0:
            break
        back = (place - gap) & mask
        if slot & far * size < far * size:
            if slot & far * size >= back * size:  # its probing begins at the gap or before it
                index[gap] = np.uint32(slot - back * size)
                gap = place
            continue
        row = (slot & mask) - 1
        distance = (place - _home(size, visits[row].id)) & mask
        if distance >= back:
            index[gap] = np.uint32(_upper(size, visits[row].id, distance - back) + row + 1)
            gap = place
    index[gap] = 0


@compiled
def fill(index: Index, visits: Rows, used: int) -> None:
    """Puts all visits among the first `used` rows into an empty index."""
    for row in range(used):
        if visits[row].id != 0:
            put(index, visits[row].id, row)
