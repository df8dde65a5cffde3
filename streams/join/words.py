"""The words that the event records know: names of fields and of the values they choose from, told apart by
number.

The table is made from the record types, so it knows what they know.
"""

from typing import get_args

import msgspec
import numpy as np

from schemas.records import Arm, Feedback, Prediction, Request, Status
from streams.compiled import inlined, inner
from streams.join.machine import byte, constant

LONGEST = 16
"""Bytes of a word, at most."""

EVENTS = (Request, Prediction, Feedback)

WORDS: tuple[str, ...] = tuple(
    dict.fromkeys(
        [field.encode_name for type_ in EVENTS for field in msgspec.structs.fields(type_)]
        + [*get_args(Arm), *get_args(Status)]
    )
)
"""Each word's number is its place here."""

UNKNOWN = constant(-1)

_SLOTS = 256


def fields(type_: type[msgspec.Struct]) -> int:
    """A bit for each field of a record, by number."""
    return sum(1 << WORDS.index(field.encode_name) for field in msgspec.structs.fields(type_))


def required(type_: type[msgspec.Struct]) -> int:
    """A bit for each field that a record must have, by number."""
    return sum(1 << WORDS.index(f.encode_name) for f in msgspec.structs.fields(type_) if f.required)


def _multiplier() -> int:
    """The first odd number that gives each word a slot of its own."""
    rng = np.random.default_rng(0)
    while True:
        multiplier = int(rng.integers(1 << 63, dtype=np.uint64)) << 1 | 1
        if len({_slot(*_halves(each), multiplier) for each in WORDS}) == len(WORDS):
            return multiplier


def _halves(text: str) -> tuple[int, int]:
    encoded = text.encode()
    assert 0 < len(encoded) <= LONGEST, f"{text} does not fit into two machine words"
    return int.from_bytes(encoded[:8], "little"), int.from_bytes(encoded[8:], "little")


def _slot(head: int, tail: int, multiplier: int) -> int:
    return ((head ^ (tail << 1)) * multiplier & (1 << 64) - 1) >> 56


_MULTIPLIER = np.uint64(_multiplier())
_TABLE = np.zeros((_SLOTS, 2), np.uint64)
_NUMBERS = np.full(_SLOTS, UNKNOWN, np.int64)
for _number, _word in enumerate(WORDS):
    _place = _slot(*_halves(_word), int(_MULTIPLIER))
    _TABLE[_place] = _halves(_word)
    _NUMBERS[_place] = _number

_U0 = np.uint64(0)


@inlined
def number(head: np.uint64, tail: np.uint64) -> int:
    """The number of the word whose first eight bytes and next eight these are, the first lowest, zeros behind
    it; `UNKNOWN` for others.
    """
    slot = ((head ^ (tail << np.uint64(1))) * _MULTIPLIER) >> np.uint64(56)
    return _NUMBERS[slot] if _TABLE[slot, 0] == head and _TABLE[slot, 1] == tail else UNKNOWN


@inner
def number_at(base: int, start: int, stop: int) -> int:
    """The number of the word from `base + start` to `base + stop`, or `UNKNOWN`."""
    if stop - start > LONGEST:
        return UNKNOWN
    return number(_some(base, start, min(stop, start + 8)), _some(base, start + 8, stop))


@inner
def _some(base: int, start: int, stop: int) -> np.uint64:
    """Up to eight bytes, the first in the lowest place."""
    found = _U0
    for place in range(stop - start):
        found |= np.uint64(byte(base, start + place)) << np.uint64(8 * place)
    return found
