"""The items of predictions: blocks of an arena, one place an item, and what is known of each.

Of an item's hash 46 bits are kept, to find those that feedback names: an item that is not among ten is taken
for one of them once in 7·10¹² times. Whether a list repeats an item, whole hashes say when it is read.

Marks stand in two places. What is known from the beginning (`PAIR`, `OVER`) shares two bytes with 14 bits of
the hash; what feedback adds has a byte for each item in a blob, which few predictions need.
"""

import numpy as np

from streams.compiled import inner
from streams.join.hashmap import NONE
from streams.join.layout import ITEMS, SPARE, UNIT, USED, State
from streams.join.tables import give_blob, size_class, size_of, take_blob

PAIR, CLICKED, PURCHASED, IMPRESSED, RELEVANT, LABELLED, POSITIVE, OVER = 1, 2, 4, 8, 16, 32, 64, 128
"""Marks of an item: shown, first of its id, with a score in [0, 1]; what feedback said; score over the
threshold.
"""

_LOW, _WORD = np.uint64(0xFFFFFFFF), np.uint64(32)
_TAIL = np.uint64(0x3FFF)
_TAIL_PAIR, _TAIL_OVER = 1, 2


@inner
def take_items(state: State, length: int) -> int:
    """Where `length` items may stand; `NONE` for no items."""
    if length == 0:
        return NONE
    kind = size_class(length)
    start = state.free_items[kind]
    if start >= 0:
        state.free_items[kind] = np.int64(state.items[start]) - 1
        state.pools[ITEMS, SPARE] -= size_of(length)
        return int(start)
    start = state.pools[ITEMS, USED]
    state.pools[ITEMS, USED] = start + size_of(length)
    return int(start)


@inner
def give_items(state: State, start: int, length: int) -> None:
    """Frees them."""
    if length > 0:
        kind = size_class(length)
        state.items[start] = np.uint32(state.free_items[kind] + 1)
        state.free_items[kind] = start
        state.pools[ITEMS, SPARE] += size_of(length)


@inner
def put_item(state: State, place: int, item: np.uint64, score: float, pair: bool, over: bool) -> None:
    """Keeps an item, by its hash."""
    state.items[place] = np.uint32(item & _LOW)
    tail = np.int64((item >> _WORD) & _TAIL) << 2
    tail |= _TAIL_PAIR if pair else 0
    tail |= _TAIL_OVER if over else 0
    state.tails[place] = np.uint16(tail)
    state.scores[place] = score


@inner
def is_item(state: State, place: int, item: np.uint64) -> bool:
    """Whether that item stands there."""
    low = np.uint64(state.items[place]) == item & _LOW
    return bool(low and np.int64(state.tails[place]) >> 2 == np.int64((item >> _WORD) & _TAIL))


@inner
def unpair(state: State, place: int) -> None:
    """It has no truth, or stands in the list before."""
    state.tails[place] = np.uint16(np.int64(state.tails[place]) & (0xFFFF - _TAIL_PAIR))


@inner
def heard_at(state: State, row: int) -> int:
    """Where the bytes with what feedback said of a prediction's items begin in `blobs`; `NONE` where it said
    nothing.
    """
    answers = state.predictions[row].answers
    if answers < 0 or state.answers[answers].marks < 0:
        return NONE
    return int(state.answers[answers].marks) * UNIT


@inner
def marks_at(state: State, place: int, rank: int, heard: int) -> int:
    """All marks of the item at `place`, the one of that rank; `heard` is what `heard_at` says."""
    tail = np.int64(state.tails[place])
    marks = (PAIR if tail & _TAIL_PAIR else 0) | (OVER if tail & _TAIL_OVER else 0)
    return int(marks | np.int64(state.blobs[heard + rank]) if heard >= 0 else marks)


@inner
def marks_units(length: int) -> int:
    """Units that what feedback says of so many items takes."""
    return (length + UNIT - 1) // UNIT


@inner
def take_marks(state: State, length: int) -> int:
    """A blob for what feedback says of so many items: nothing yet."""
    units = marks_units(length)
    blob = take_blob(state, units)
    for i in range(blob * UNIT, (blob + units) * UNIT):
        state.blobs[i] = 0
    return blob


@inner
def give_marks(state: State, blob: int, length: int) -> None:
    """Frees it."""
    if blob >= 0:
        give_blob(state, blob, marks_units(length))
