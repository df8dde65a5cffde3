"""Kafka's own partitioner (murmur2, seed 0x9747b28c, as `org.apache.kafka.common.utils.Utils.murmur2`), over
many keys at once.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_M = np.uint32(0x5BD1E995)
_SEED = np.uint32(0x9747B28C)


def partitions(keys: Sequence[bytes], count: int) -> npt.NDArray[np.int64]:
    """The partition of each key among `count`, as Kafka's Java clients and librdkafka's `murmur2_random`
    choose it. Shape (len(keys),).
    """
    lengths = np.fromiter(map(len, keys), np.int64, len(keys))
    width = max(4, -(-int(lengths.max(initial=0)) // 4) * 4)
    padded = np.frombuffer(b"".join([key.ljust(width, b"\0") for key in keys]), np.uint8).reshape(-1, width)
    words = np.ascontiguousarray(padded).view("<u4")
    whole = lengths // 4
    with np.errstate(over="ignore"):
        h = _SEED ^ lengths.astype(np.uint32)
        for i in range(int(whole.max(initial=0))):
            k = words[:, i] * _M
            k = (k ^ (k >> np.uint32(24))) * _M
            h = np.where(whole > i, (h * _M) ^ k, h)
        rest = lengths % 4
        tail = words[
            np.arange(len(keys)), np.minimum(whole, words.shape[1] - 1)
        ]  # padding is zero: exactly the bytes left
        h = np.where(rest > 0, (h ^ tail) * _M, h)
        h = (h ^ (h >> np.uint32(13))) * _M
        h ^= h >> np.uint32(15)
    return (h & np.uint32(0x7FFFFFFF)).astype(np.int64) % count
