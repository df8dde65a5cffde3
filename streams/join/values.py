"""What stands in the fields of events, compiled: each reader says where the value ends and what it is, or -1.

As in `grammar.py`: conservative, and the parameters mean the same.
"""

import numpy as np

from schemas.records import DAY, YEAR_2000, YEAR_2300
from streams.compiled import inlined
from streams.join.grammar import (
    AS_ENCODED,
    CLOSE_LIST,
    OPEN,
    OPEN_LIST,
    QUOTE,
    UNESCAPED,
    colon,
    comma,
    count,
    integer,
    marks,
    name,
    peek,
    real,
    space,
    string,
)
from streams.join.machine import byte, store, store_float, trailing_zeros, word
from streams.join.text import hash_at
from streams.join.words import UNKNOWN, number, number_at

_U0, _U1 = np.uint64(0), np.uint64(1)


@inlined
def opening(base: int, start: int, end: int) -> int:
    """Where the first member of a record starts, or its closing brace stands: behind Confluent framing, if
    any.
    """
    if end - start > 5 and byte(base, start) == 0:
        start += 5
    at = space(base, start, end)
    return space(base, at + 1, end) if peek(base, at, end) == OPEN else -1


@inlined
def member(base: int, at: int, end: int, form: int, known: int, seen: int) -> tuple[int, int]:
    """Reads a member's name: (the field's number, where the value starts); the number is `UNKNOWN` where the
    field is not among the `known`, the start is -1 where it is among the `seen`.
    """
    if peek(base, at, end) != QUOTE:
        return UNKNOWN, -1
    stop, field = _name(base, at + 1, end)
    if stop < 0:
        stop = string(base, at + 1, end, form)
        if stop < 0:
            return UNKNOWN, -1
        field = number_at(base, at + 1, stop)
    at = colon(base, stop + 1, end)
    if field == UNKNOWN or not (known >> field) & 1:
        return UNKNOWN, at
    return field, -1 if (seen >> field) & 1 else at


@inlined
def _name(base: int, at: int, end: int) -> tuple[int, int]:
    """(Where the closing quote of a plain name of less than 16 bytes is, the number of the word that it is);
    -1 for any other, or where not 16 bytes are left.
    """
    if at + 16 > end:
        return -1, UNKNOWN
    head, tail = word(base, at), _U0
    found = marks(head)
    bits = np.uint64(trailing_zeros(found) & 56)
    if found != _U0:
        stop = at + (trailing_zeros(found) >> 3)
        head &= (_U1 << bits) - _U1
    else:
        tail = word(base, at + 8)
        found = marks(tail)
        if found == _U0:
            return -1, UNKNOWN
        bits = np.uint64(trailing_zeros(found) & 56)
        stop = at + 8 + (trailing_zeros(found) >> 3)
        tail &= (_U1 << bits) - _U1
    return (stop, number(head, tail)) if byte(base, stop) == QUOTE else (-1, UNKNOWN)


@inlined
def text(base: int, at: int, end: int, form: int) -> int:
    """Where the closing quote of a string is that starts here and is not empty."""
    stop = name(base, at, end, form)
    return stop if stop > at + 1 else -1


@inlined
def key(base: int, at: int, end: int, form: int) -> int:
    """The same for a request_id, whose bytes are hashed as they are."""
    return text(base, at, end, AS_ENCODED if form == AS_ENCODED else UNESCAPED)


@inlined
def time(base: int, at: int, end: int, timestamp: int) -> tuple[int, int]:
    """(Where a time ends that may stand beside that Kafka timestamp, the time)."""
    stop, ts = count(base, at, end)
    return (stop, ts) if YEAR_2000 <= ts < YEAR_2300 and ts <= timestamp + DAY else (-1, ts)


@inlined
def choice(base: int, at: int, end: int) -> tuple[int, int]:
    """(Where a string ends, the number of the word that it is)."""
    if peek(base, at, end) != QUOTE:
        return -1, UNKNOWN
    stop, found = _name(base, at + 1, end)
    if stop < 0:
        stop = string(base, at + 1, end, UNESCAPED)
        found = number_at(base, at + 1, stop)
    return stop + 1, found


@inlined
def identifier(base: int, at: int, end: int, form: int) -> tuple[int, np.uint64]:
    """(Where a string or an integer ends, the hash of it as text)."""
    if peek(base, at, end) == QUOTE:
        stop = string(base, at + 1, end, form)
        return (stop + 1, hash_at(base, at + 1, stop)) if stop >= 0 else (-1, np.uint64(0))
    stop = integer(base, at, end, form)
    return stop, hash_at(base, at, stop) if stop >= 0 else np.uint64(0)


@inlined
def identifiers(base: int, at: int, end: int, form: int, items: int, first: int) -> tuple[int, int]:
    """(Where a list of them ends, how many they are); puts their hashes into the array at `items` from
    `first` on.
    """
    if peek(base, at, end) != OPEN_LIST:
        return -1, 0
    at = space(base, at + 1, end)
    length = 0
    while peek(base, at, end) != CLOSE_LIST:
        at, found = identifier(base, at, end, form)
        if at < 0:
            return -1, 0
        store(items, first + length, found)
        length += 1
        at = comma(base, at, end, CLOSE_LIST)
        if at < 0:
            return -1, 0
    return at + 1, length


@inlined
def floats(base: int, at: int, end: int, form: int, numbers: int, first: int) -> tuple[int, int]:
    """(Where a list of numbers ends, how many they are); puts them into the array at `numbers` from `first`
    on.
    """
    if peek(base, at, end) != OPEN_LIST:
        return -1, 0
    at = space(base, at + 1, end)
    length = 0
    while peek(base, at, end) != CLOSE_LIST:
        at, found = real(base, at, end, form)
        if at < 0:
            return -1, 0
        store_float(numbers, first + length, found)
        length += 1
        at = comma(base, at, end, CLOSE_LIST)
        if at < 0:
            return -1, 0
    return at + 1, length


@inlined
def milliseconds(base: int, at: int, end: int, form: int) -> tuple[int, float]:
    """(Where a number of at least 0 ends, the number)."""
    at, found = real(base, at, end, form)
    return (at, found) if found >= 0 else (-1, found)
