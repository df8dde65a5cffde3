"""Arrays of sums as text: exact, and small enough for a record.

Most sums are counts, so each array is written in the narrowest type that holds it without loss, and all of
them together are compressed.
"""

import base64
import binascii
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from schemas.records import BUCKETS
from streams.metrics.tallies import Floats

TYPES: tuple["np.dtype[Any]", ...] = (np.dtype("u1"), np.dtype("<u2"), np.dtype("<u4"), np.dtype("<f8"))
"""From the narrowest; one byte before each array says which, by its place here."""


def pack(arrays: Sequence[Floats]) -> str:
    """Arrays of shape (`BUCKETS`,), in their order."""
    return base64.b64encode(zlib.compress(b"".join(map(_bytes, arrays)))).decode()


def unpack(text: str, count: int) -> list[Floats]:
    """The `count` arrays of a text. Raises ValueError for one that is none, or not of so many."""
    try:
        data = zlib.decompress(base64.b64decode(text, validate=True))
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"found {text[:20]!r}…, expected compressed arrays in base64 ({error})") from error
    arrays: list[Floats] = []
    at = 0
    while at < len(data):
        if data[at] >= len(TYPES):
            raise ValueError(f"found an array of type {data[at]}, expected a type below {len(TYPES)}")
        type_ = TYPES[data[at]]
        end = at + 1 + BUCKETS * type_.itemsize
        if end > len(data):
            raise ValueError(f"found {len(data)} bytes, expected at least {end}")
        arrays.append(np.frombuffer(data[at + 1 : end], type_).astype(np.float64))
        at = end
    if len(arrays) != count:
        raise ValueError(f"found {len(arrays)} arrays, expected {count}")
    return arrays


def _bytes(array: Floats) -> bytes:
    for code, type_ in enumerate(TYPES):
        narrow = array if type_.kind == "f" else _narrow(array, type_)
        if narrow is not None:
            data: bytes = narrow.astype(type_).tobytes()
            return bytes([code]) + data
    raise AssertionError("the widest type holds every array")


def _narrow(array: Floats, type_: "np.dtype[Any]") -> Floats | None:
    """The array where all of it are whole numbers that fit."""
    largest = 256**type_.itemsize - 1
    fits = bool(array.min() >= 0 and array.max() <= largest and (array == np.floor(array)).all())
    return array if fits else None
