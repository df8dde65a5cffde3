"""Text of JSON, where it lies: hashes of it, and Python's view of it.

Equal strings have equal bytes here, without the quotes: those that msgspec's encoder would write (`scan.py`
sees to that), so hashes of bytes are hashes of strings.
"""

import msgspec
import numpy as np

from schemas.records import ENCODER
from streams.columns import Bytes
from streams.compiled import compiled, inlined
from streams.join.machine import address, byte, half, high_product, word

# The constants of wyhash (https://github.com/wangyi-fudan/wyhash, final version 4), as is the construction.
_S0 = np.uint64(0xA0761D6478BD642F)
_S1 = np.uint64(0xE7037ED1A0B428DB)
_S2 = np.uint64(0x8EBC6AF09C88C6E3)
_S3 = np.uint64(0x589965CC75374CC3)

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_EIGHT = np.uint64(8)
_HALF = np.uint64(32)


@inlined
def _fold(a: np.uint64, b: np.uint64) -> np.uint64:
    """Both halves of a 128-bit product, laid over each other."""
    return (a * b) ^ high_product(a, b)


@compiled
def hash_at(base: int, start: int, end: int) -> np.uint64:
    """`text_hash` of the bytes from `base + start` to `base + end`."""
    length = end - start
    seed = _S0
    a = _ZERO
    b = _ZERO
    if length > 16:
        at = start
        while end - at > 16:
            seed = _fold(word(base, at) ^ _S1, word(base, at + 8) ^ seed)
            at += 16
        a = word(base, end - 16)
        b = word(base, end - 8)
    elif length >= 4:
        middle = (length >> 3) << 2
        a = (half(base, start) << _HALF) | half(base, start + middle)
        b = (half(base, end - 4) << _HALF) | half(base, end - 4 - middle)
    elif length > 0:
        a = np.uint64(
            (byte(base, start) << 16) | (byte(base, start + (length >> 1)) << 8) | byte(base, end - 1)
        )
    a ^= _S1
    b ^= seed
    found = _fold((a * b) ^ _S0 ^ np.uint64(length), high_product(a, b) ^ _S1)
    return found if found != _ZERO else _ONE


@compiled
def text_hash(data: Bytes, start: int, end: int) -> np.uint64:
    """64 bits of data[start:end], never 0; the same in every process and on every machine.

    Two texts collide by chance once in 2^64; against somebody who makes them collide it is no defence.
    """
    return hash_at(address(data), start, end)


@compiled
def mix(a: np.uint64, b: np.uint64) -> np.uint64:
    """One hash of two, never 0; `mix(a, b)` is not `mix(b, a)`."""
    found = _fold(_fold(a ^ _S2, b ^ _S3) ^ _S0, b ^ _S1)
    return found if found != _ZERO else _ONE


def hash_of(text: str) -> int:
    """`text_hash` of that string, where it stands in JSON."""
    canonical = np.frombuffer(ENCODER.encode(text), np.uint8)
    return int(text_hash(canonical, 1, len(canonical) - 1))


def text(data: Bytes, start: int, end: int) -> str:
    """The string whose JSON, without the quotes, is data[start:end]."""
    return msgspec.json.decode(b'"%b"' % data[start:end].tobytes(), type=str)
