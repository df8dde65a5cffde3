"""Kafka's own partitioner (murmur2, seed 0x9747b28c, as `org.apache.kafka.common.utils.Utils.murmur2`)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streams.columns import Bytes, Integers
from streams.compiled import compiled, inlined
from streams.join.machine import address, byte, half, signed

_M = np.uint64(0x5BD1E995)
_SEED = np.uint64(0x9747B28C)
_32 = np.uint64(0xFFFFFFFF)
"""What keeps a product in 32 bits."""

_U13, _U15, _U24 = np.uint64(13), np.uint64(15), np.uint64(24)


@inlined
def place(base: int, start: int, end: int) -> int:
    """A key's hash, without its sign bit: modulo the number of partitions it is the key's partition."""
    length = end - start
    h = _SEED ^ np.uint64(length)
    at = start
    while end - at >= 4:
        k = half(base, at) * _M & _32
        k = (k ^ (k >> _U24)) * _M & _32
        h = (h * _M & _32) ^ k
        at += 4
    if at < end:
        for shift in range(end - at):
            h ^= np.uint64(byte(base, at + shift)) << np.uint64(8 * shift)
        h = h * _M & _32
    h = (h ^ (h >> _U13)) * _M & _32
    return signed((h ^ (h >> _U15)) & np.uint64(0x7FFFFFFF))


@compiled
def _places(data: Bytes, ends: Integers) -> Integers:
    base, start = address(data), 0
    found = np.empty(len(ends), np.int64)
    for index in range(len(ends)):
        found[index] = place(base, start, ends[index])
        start = ends[index]
    return found


def places(keys: Sequence[bytes]) -> NDArray[np.int64]:
    """`place` of each key. Shape (len(keys),)."""
    ends = np.cumsum(np.fromiter(map(len, keys), np.int64, len(keys)))
    return _places(np.frombuffer(b"".join(keys), np.uint8), ends)


def partitions(keys: Sequence[bytes], count: int) -> NDArray[np.int64]:
    """The partition of each key among `count`, as Kafka's Java clients and librdkafka's `murmur2_random`
    choose it. Shape (len(keys),).
    """
    return places(keys) % count
