"""Kafka's variable-length integers: zigzag (0, -1, 1, -2, …), seven bits a byte, least significant first.

Kafka writes lengths, deltas and counts inside of record batches so; see
https://protobuf.dev/programming-guides/encoding/#signed-ints, whose `sint64` they are.
"""

import numpy as np
from numpy.typing import NDArray

from streams.compiled import compiled

SEVEN_BITS = 0x7F
MORE = 0x80
LONGEST = 10
"""Bytes that 64 bits may take."""


@compiled
def varint(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """The integer at `at`, and where the next one starts: -1 where this one does not end before `end`."""
    value = np.uint64(0)
    shift = np.uint64(0)
    for position in range(at, min(end, at + LONGEST)):
        byte = data[position]
        value |= np.uint64(byte & SEVEN_BITS) << shift
        if byte < MORE:
            return int(np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1))), position + 1
        shift += np.uint64(7)
    return 0, -1


def encoded(value: int) -> bytes:
    """The bytes of an integer of up to 64 bits, signed."""
    rest = (value << 1) ^ (value >> 63)
    written = bytearray()
    while rest >= MORE:
        written.append(rest & SEVEN_BITS | MORE)
        rest >>= 7
    written.append(rest)
    return bytes(written)
