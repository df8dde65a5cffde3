"""The lines of a recording as columns, compiled: `{"topic":…, "value":{…}, …}`, an object a line.

Conservative, as the event scanners are (`streams/join/grammar.py`): a line that is not plain is left to
`envelope.py`, which knows what is valid and says why something is not. The value is only skipped here, by its
brackets and strings: whoever reads it finds out what it holds.
"""

import numpy as np

from streams.columns import Bytes, Integers
from streams.compiled import compiled, inlined
from streams.join.grammar import (
    AS_ENCODED,
    CLOSE,
    CLOSE_LIST,
    OPEN,
    OPEN_LIST,
    QUOTE,
    UNESCAPED,
    colon,
    comma,
    count,
    name,
    peek,
    space,
    string,
)
from streams.join.machine import address, byte
from streams.join.rows import Hashes
from streams.join.text import hash_at, hash_of

TOPIC, VALUE, VALUE_END, KEY, KEY_END, TIMESTAMP, PARTITION, OFFSET = range(8)
"""The columns of a line: the number of its topic, where its value and its key stand, and its numbers."""

COLUMNS = 8

ABSENT = -1
"""What is not in the line."""

ODD = -2
"""As the topic: a line for `envelope.py`."""

FOREIGN = -1
"""As the topic: one that is not among those that were asked for."""

_TOPIC, _VALUE, _KEY, _TIMESTAMP, _PARTITION, _OFFSET = (
    np.uint64(hash_of(word)) for word in ("topic", "value", "key", "timestamp", "partition", "offset")
)
_FIRST = 1 << 3
"""The bit of the first number among those of the members that have been seen."""


@compiled
def scan_lines(data: Bytes, bounds: Integers, topics: Hashes, columns: Integers) -> None:
    """Reads the n lines at `bounds`, int64[n, 2], into `columns`, int64[n, COLUMNS]. `topics` are the hashes
    (`text_hash`) of the names that there may be.
    """
    base = address(data)
    for index in range(len(bounds)):
        row = columns[index]
        row[:] = ABSENT
        if not _line(base, bounds[index, 0], bounds[index, 1], topics, row):
            row[TOPIC] = ODD


@inlined
def _line(base: int, at: int, end: int, topics: Hashes, row: Integers) -> bool:
    at = space(base, at, end)
    if peek(base, at, end) != OPEN:
        return False
    at = space(base, at + 1, end)
    seen = 0
    while peek(base, at, end) != CLOSE:
        stop = name(base, at, end, UNESCAPED)
        if stop < 0:
            return False
        field = hash_at(base, at + 1, stop)
        at = colon(base, stop + 1, end)
        if at < 0:
            return False
        if field == _TOPIC:
            bit, stop = 1, name(base, at, end, UNESCAPED)
            if stop < 0:
                return False
            row[TOPIC] = _number_of(topics, hash_at(base, at + 1, stop))
            stop += 1
        elif field == _VALUE:
            bit, stop = 2, _object(base, at, end)
            row[VALUE], row[VALUE_END] = at, stop
        elif field == _KEY:
            bit, stop = 4, name(base, at, end, UNESCAPED)
            row[KEY], row[KEY_END] = at + 1, stop
            stop = stop + 1 if stop >= 0 else -1
        elif field in (_TIMESTAMP, _PARTITION, _OFFSET):
            place = 0 if field == _TIMESTAMP else 1 if field == _PARTITION else 2
            bit = _FIRST << place
            stop, row[TIMESTAMP + place] = count(base, at, end)
        else:
            return False
        if stop < 0 or seen & bit:
            return False
        seen |= bit
        at = comma(base, stop, end, CLOSE)
        if at < 0:
            return False
    return seen & 3 == 3 and space(base, at + 1, end) == end


@inlined
def _object(base: int, at: int, end: int) -> int:
    """Where an object ends, by its brackets; -1 for what is none."""
    if peek(base, at, end) != OPEN:
        return -1
    depth = 0
    while at < end:
        c = byte(base, at)
        if c == QUOTE:
            at = string(base, at + 1, end, AS_ENCODED)
            if at < 0:
                return -1
        elif c in (OPEN, OPEN_LIST):
            depth += 1
        elif c in (CLOSE, CLOSE_LIST):
            depth -= 1
            if depth == 0:
                return at + 1 if c == CLOSE else -1
        at += 1
    return -1


@inlined
def _number_of(topics: Hashes, hashed: np.uint64) -> int:
    for number in range(len(topics)):
        if topics[number] == hashed:
            return number
    return FOREIGN
