"""The grammar of JSON, compiled: where strings, members, integers and whole values end.

Conservative: -1 says "not by me", for what is no JSON as for what is merely odd, and somebody slower decides.
What is let pass, msgspec lets pass too, with the same meaning.

`base` is an address, positions count from there, `end` is the first that may not be read. `form` says who
wrote the JSON: anybody (`AS_SENT`), or msgspec's encoder (`AS_ENCODED`), whose word is taken for what it
encoded. The escapes that anybody may use are those that the encoder writes for the same characters, so that
equal strings have equal bytes; `UNESCAPED` are strings without any.
"""

import numpy as np

from streams.columns import Bytes
from streams.compiled import compiled, inlined, inner
from streams.join.machine import address, byte, constant, signed, store, trailing_zeros, word
from streams.join.numbers import SAFE, decimal, digits, double
from streams.join.text import hash_at

UNESCAPED, AS_SENT, AS_ENCODED = map(constant, range(3))

DEEPEST = 32
"""Arrays and objects within each other, at most."""

MEMBERS = 512
"""Of an object whose names are told apart, at most."""

_SLOTS = 2 * MEMBERS

NAMES = 2 * _SLOTS
"""64-bit integers, zero at first, in the table that tells an object's names apart: hashes and marks in turn.
"""

END, STRING, NUMBER, TRUE, FALSE, NULL = range(6)
"""What `next_member` found."""

QUOTE, BACKSLASH, COMMA, COLON, MINUS, ZERO = (constant(ord(c)) for c in '"\\,:-0')
OPEN, CLOSE, OPEN_LIST, CLOSE_LIST = (constant(ord(c)) for c in "{}[]")
B, F, N, R, T, U = (constant(ord(c)) for c in "bfnrtu")

STRINGS, SCALARS = map(constant, range(2))
"""What the values of a `flat` object may be: strings alone, or numbers, true, false and null too."""

_ONES = np.uint64(0x0101010101010101)
_HIGHS = np.uint64(0x8080808080808080)
_SPACES = np.uint64(0x2020202020202020)
_QUOTES = np.uint64(0x2222222222222222)
_BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
_U0 = np.uint64(0)


@inlined
def peek(base: int, at: int, end: int) -> int:
    """The byte there; 0, which is nowhere right, from `end` on."""
    return byte(base, at) if at < end else 0


@inlined
def space(base: int, at: int, end: int) -> int:
    """Where white space ends."""
    while at < end and byte(base, at) <= 32:
        c = byte(base, at)
        if c not in (32, 10, 13, 9):
            break
        at += 1
    return at


@inlined
def marks(eight: np.uint64) -> np.uint64:
    """The high bit of each byte that is a quote, a backslash, a control character or not ASCII; above the
    first such byte there may be others.
    """
    quotes = eight ^ _QUOTES
    backslashes = eight ^ _BACKSLASHES
    low = ((eight - _SPACES) & ~eight) | ((quotes - _ONES) & ~quotes) | ((backslashes - _ONES) & ~backslashes)
    return (low | eight) & _HIGHS


@inlined
def string(base: int, at: int, end: int, form: int) -> int:
    """From behind its opening quote, where a string's closing one is."""
    while at < end:
        if at + 8 <= end:
            found = marks(word(base, at))
            if found == _U0:
                at += 8
                continue
            at += trailing_zeros(found) >> 3
        c = byte(base, at)
        if c == QUOTE:
            return at
        if c == BACKSLASH:
            at = _escape(base, at + 1, end, form)
        elif c >= 0x80:
            at = _character(base, at, end)
        elif c < 32:
            return -1
        else:
            at += 1
        if at < 0:
            return -1
    return -1


@inner
def _escape(base: int, at: int, end: int, form: int) -> int:
    """Where the escape ends whose letter this is."""
    c = peek(base, at, end)
    if c in (QUOTE, BACKSLASH, B, F, N, R, T) and form != UNESCAPED:
        return at + 1
    return at + 5 if c == U and form == AS_ENCODED else -1


@inner
def _character(base: int, at: int, end: int) -> int:
    """Where a character of two to four bytes ends (the Unicode Standard, table 3-7)."""
    c = byte(base, at)
    lowest, highest = 0x80, 0xBF
    if 0xC2 <= c <= 0xDF:
        more = 1
    elif 0xE0 <= c <= 0xEF:
        more = 2
        if c == 0xE0:
            lowest = 0xA0
        elif c == 0xED:
            highest = 0x9F
    elif 0xF0 <= c <= 0xF4:
        more = 3
        if c == 0xF0:
            lowest = 0x90
        elif c == 0xF4:
            highest = 0x8F
    else:
        return -1
    if at + more >= end or not lowest <= byte(base, at + 1) <= highest:
        return -1
    for next_ in range(at + 2, at + more + 1):
        if byte(base, next_) & 0xC0 != 0x80:
            return -1
    return at + more + 1


@inlined
def literal(base: int, at: int, end: int) -> int:
    """Where `true`, `false` or `null` ends."""
    if at + 4 <= end:
        c, rest = byte(base, at), (byte(base, at + 1) << 16) | (byte(base, at + 2) << 8) | byte(base, at + 3)
        if (c == T and rest == 0x727565) or (c == N and rest == 0x756C6C):
            return at + 4
        if c == F and rest == 0x616C73 and peek(base, at + 4, end) == 101:
            return at + 5
    return -1


@inlined
def integer(base: int, at: int, end: int, form: int) -> int:
    """Where an integer ends that is written as Python writes it, of 18 digits at most unless an encoder wrote
    it.
    """
    start = at + 1 if peek(base, at, end) == MINUS else at
    stop = digits(base, start, end, _U0)[0]
    length = stop - start
    if length == 0 or (length > 18 and form == AS_SENT):
        return -1
    if byte(base, start) == ZERO and (length > 1 or start > at):
        return -1
    return stop


@inlined
def count(base: int, at: int, end: int) -> tuple[int, int]:
    """(Where an integer of at least 0 ends, what it is)."""
    stop, value = digits(base, at, end, _U0)
    length = stop - at
    if length == 0 or length > 19 or (length > 1 and byte(base, at) == ZERO) or value > np.uint64(2**63 - 1):
        return -1, 0
    return stop, signed(value)


@inlined
def colon(base: int, at: int, end: int) -> int:
    """From behind a name's closing quote, where its value starts."""
    at = space(base, at, end)
    return space(base, at + 1, end) if peek(base, at, end) == COLON else -1


@inlined
def name(base: int, at: int, end: int, form: int) -> int:
    """Where the closing quote of the name is whose opening one this should be."""
    return string(base, at + 1, end, form) if peek(base, at, end) == QUOTE else -1


@inlined
def comma(base: int, at: int, end: int, close: int) -> int:
    """From behind a value, where the next starts: behind a comma; or where `close` stands."""
    at = space(base, at, end)
    c = peek(base, at, end)
    if c == COMMA:
        at = space(base, at + 1, end)
        return at if peek(base, at, end) != close else -1
    return at if c == close else -1


@inner
def value(base: int, at: int, end: int, form: int) -> int:
    """Where any value ends."""
    depth = 0
    objects = 0  # a bit for each level, the innermost lowest: is it an object?
    while True:
        c = peek(base, at, end)
        opened = c in (OPEN, OPEN_LIST)
        if opened:
            if depth == DEEPEST:
                return -1
            depth += 1
            objects = (objects << 1) | (c == OPEN)
            at = space(base, at + 1, end)
        elif c == QUOTE:
            at = string(base, at + 1, end, form) + 1
            if at == 0:
                return -1
        elif c in (T, F, N):
            at = literal(base, at, end)
        else:
            at = decimal(base, at, end)[0]
        if at < 0:
            return -1
        while depth > 0:
            close = CLOSE if objects & 1 else CLOSE_LIST
            if not opened:
                at = comma(base, at, end, close)
                if at < 0:
                    return -1
            opened = False
            if peek(base, at, end) != close:
                break
            at += 1
            depth -= 1
            objects >>= 1
        if depth == 0:
            return at
        if objects & 1:
            at = name(base, at, end, form)
            if at < 0:
                return -1
            at = colon(base, at + 1, end)
            if at < 0:
                return -1


@inlined
def real(base: int, at: int, end: int, form: int) -> tuple[int, float]:
    """(Where a number ends that is surely finite as a double, the number)."""
    at, negative, mantissa, power = decimal(base, at, end)
    if at < 0 or (power > SAFE and form == AS_SENT):
        return -1, 0.0
    return at, double(negative, mantissa, power)


@inlined
def flat(base: int, at: int, end: int, form: int, kind: int, names: int, mark: int) -> int:
    """Where an object ends whose names differ and whose values are of a kind (`STRINGS`, `SCALARS`).

    `names`: the address of a table of `NAMES`, which tells names apart; `mark`, above 0, is the caller's for
    this object alone, so that the table need not be emptied.
    """
    if peek(base, at, end) != OPEN:
        return -1
    at = space(base, at + 1, end)
    members = 0
    while peek(base, at, end) != CLOSE:
        stop = name(base, at, end, form)
        if stop < 0:
            return -1
        if form == AS_SENT:
            members += 1
            if members > MEMBERS or not _new(names, hash_at(base, at + 1, stop), np.uint64(mark)):
                return -1
        at = colon(base, stop + 1, end)
        if at < 0:
            return -1
        c = peek(base, at, end)
        if c == QUOTE:
            at = string(base, at + 1, end, form)
            at = at + 1 if at >= 0 else -1
        elif kind == STRINGS:
            return -1
        elif c in (T, F, N):
            at = literal(base, at, end)
        else:
            at = real(base, at, end, form)[0]
        if at < 0:
            return -1
        at = comma(base, at, end, CLOSE)
        if at < 0:
            return -1
    return at + 1


@inlined
def _new(names: int, found: np.uint64, mark: np.uint64) -> bool:
    """Notes a name under its mark; False where it is noted already."""
    slot = signed(found) & (_SLOTS - 1)
    while word(names, 16 * slot + 8) == mark:
        if word(names, 16 * slot) == found:
            return False
        slot = (slot + 1) & (_SLOTS - 1)
    store(names, 2 * slot, found)
    store(names, 2 * slot + 1, mark)
    return True


@compiled
def next_member(data: Bytes, position: int) -> tuple[int, int, int, int, int, int]:
    """The member at `position` of an object that a scanner let pass: (start and end of its name without
    quotes, kind, start and end of its value, where to go on).

    Start with the position of its opening brace. A string's value is without quotes; at the kind `END` there
    are no more, and the rest is 0.
    """
    base, end = address(data), len(data)
    at = space(base, position, end)
    if byte(base, at) != CLOSE:
        at = space(base, at + 1, end)
    if byte(base, at) == CLOSE:
        return 0, 0, END, 0, 0, 0
    start = at + 1
    stop = string(base, start, end, AS_ENCODED)
    at = colon(base, stop + 1, end)
    c = byte(base, at)
    if c == QUOTE:
        last = string(base, at + 1, end, AS_ENCODED)
        return start, stop, STRING, at + 1, last, last + 1
    if c in (T, F, N):
        kind = TRUE if c == T else FALSE if c == F else NULL
        last = literal(base, at, end)
    else:
        kind = NUMBER
        last = decimal(base, at, end)[0]
    return start, stop, kind, at, last, last
