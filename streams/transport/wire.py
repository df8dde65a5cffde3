"""From the bytes that a broker answers a fetch with to columns: Kafka's record batches, message format v2.

Pure: bytes in, `Records` out, as many a call as are asked for; what is not yet read stays compressed.
`fetch.py` puts this under aiokafka's fetcher. The format:
https://kafka.apache.org/documentation/#messageformat
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode
from aiokafka.record.util import calc_crc32c

from schemas.errors import HeadgateError
from streams.columns import NULL, Bytes, Integers, Records
from streams.compiled import compiled
from streams.varint import varint

MAGIC = 2
HEADER = struct.Struct(">qiibIhiqqqhii")
"""Base offset, length of all that follows it, leader epoch, magic, CRC, attributes, last offset delta, first
timestamp, greatest timestamp, producer id, producer epoch, base sequence, count of records."""
LENGTH = struct.Struct(">i")
LENGTH_AT, LENGTH_END, CHECKED_FROM = 8, 12, 21
"""Where in a batch its length is, from where that counts, and from where the CRC covers it."""
CODEC, LOG_APPEND_TIME, TRANSACTIONAL, CONTROL = 0x07, 0x08, 0x10, 0x20
"""Bits of a batch's attributes."""
PLAIN = 0
DECOMPRESS: Mapping[int, Callable[[memoryview], bytes]] = {
    1: gzip_decode,
    2: snappy_decode,
    3: lz4_decode,
    4: zstd_decode,
}
"""By codec; aiokafka's own. They raise what they like where the bytes are damaged."""
ABORT = b"\0\0"
"""The type of a control record that aborts a transaction, bytes 2 and 3 of its key.
https://kafka.apache.org/documentation/#controlbatch"""
SHORTEST = 7
"""Bytes of a record with nothing in it: length, attributes, two deltas, null key, null value, no headers."""
NONE = -1
"""No batch is damaged."""


class Batch(NamedTuple):
    """The header of a record batch; its records, perhaps compressed, are at `start` to `end` of what was
    fetched."""

    base: int
    following: int
    attributes: int
    first_timestamp: int
    max_timestamp: int
    producer: int
    records: int
    start: int
    end: int


class RecordBatches:
    """What one fetch brought of one partition, to be `read` piece by piece until all is `done`.

    Gives committed records only: none of transactions that were aborted, and no control records. Nor any
    below `position`, for a broker sends batches whole.
    """

    def __init__(self, place: str, data: bytes, aborted: Iterable[tuple[int, int]], position: int) -> None:
        """`place` names the partition in errors. `aborted`: producer id and first offset of each aborted
        transaction. Records from `position` on are wanted."""
        self.position = position
        """The offset after all that was read, be there a record or not."""
        self._place = place
        self._data = memoryview(data)
        self._at = 0
        self._aborted = sorted(aborted, key=lambda transaction: transaction[1], reverse=True)
        self._aborting: set[int] = set()

    @property
    def done(self) -> bool:
        """No whole batch is left. One that the fetch has cut off comes whole with the next."""
        left = len(self._data) - self._at
        return left < LENGTH_END or left < LENGTH_END + self._length()

    def read(self, records: int, size: int) -> Records:
        """Whole batches, until there are so many records or uncompressed bytes, or more; perhaps none.

        Raises `HeadgateError` where the log is damaged, or in the format before Kafka 0.11's.
        """
        batches: list[Batch] = []
        payloads: list[Bytes] = []
        following = self.position
        while not self.done and records > 0 and size > 0:
            batch = self._header()
            if self._is_committed(batch) and batch.following > self.position:
                batches.append(batch)
                payloads.append(self._payload(batch))
                records -= batch.records
                size -= len(payloads[-1])
            self._at = batch.end
            following = max(following, batch.following)
        found = self._columns(batches, payloads, self.position)
        self.position = following
        return found

    def _length(self) -> int:
        length: int = LENGTH.unpack_from(self._data, self._at + LENGTH_AT)[0]
        return length

    def _header(self) -> Batch:
        """The batch at hand, which is whole and undamaged."""
        start, end = self._at, self._at + LENGTH_END + self._length()
        if end < start + HEADER.size:
            raise self._damaged(self.position, f"its length is {self._length()}, less than its header's")
        base, _, _, magic, crc, attributes, last, first, latest, producer, _, _, count = HEADER.unpack_from(
            self._data, start
        )
        if magic != MAGIC:
            raise HeadgateError(
                f"{self._place}: found records in message format {magic} at offset {self.position}, expected "
                f"format {MAGIC}, as Kafka 0.11 and later write it; produce them anew, or delete the old ones"
            )
        found = calc_crc32c(self._data[start + CHECKED_FROM : end])
        if found != crc:
            raise self._damaged(base, f"its CRC is {found:#010x}, expected {crc:#010x}")
        return Batch(
            base, base + last + 1, attributes, first, latest, producer, count, start + HEADER.size, end
        )

    def _is_committed(self, batch: Batch) -> bool:
        """Whether its records are to be read; keeps the book of transactions that were aborted: from the
        first offset that the broker named to the producer's marker."""
        while self._aborted and self._aborted[-1][1] <= batch.base:
            self._aborting.add(self._aborted.pop()[0])
        if batch.attributes & CONTROL:
            markers = self._columns([batch], [self._payload(batch)], batch.base)
            if any((marker.key or b"")[2:4] == ABORT for marker in markers):
                self._aborting.discard(batch.producer)
            return False
        return not (batch.attributes & TRANSACTIONAL and batch.producer in self._aborting)

    def _payload(self, batch: Batch) -> Bytes:
        """The records' bytes, uncompressed."""
        payload, codec = self._data[batch.start : batch.end], batch.attributes & CODEC
        if codec == PLAIN:
            return np.frombuffer(payload, np.uint8)
        if codec not in DECOMPRESS:
            raise self._damaged(batch.base, f"its codec is {codec}, expected one of {sorted(DECOMPRESS)}")
        try:
            return np.frombuffer(DECOMPRESS[codec](payload), np.uint8)
        except Exception as error:
            raise self._damaged(batch.base, f"its records cannot be decompressed: {error}") from error

    def _columns(self, batches: Sequence[Batch], payloads: Sequence[Bytes], position: int) -> Records:
        """The records from offset `position` on."""
        for batch, payload in zip(batches, payloads, strict=True):
            if not 0 <= batch.records <= len(payload) // SHORTEST:
                raise self._damaged(batch.base, f"its {len(payload)} bytes cannot be {batch.records} records")
        if all(batch.attributes & CODEC == PLAIN for batch in batches):
            data, starts = np.frombuffer(self._data, np.uint8), [batch.start for batch in batches]
        else:
            data = np.concatenate(payloads)
            data.flags.writeable = False  # one type with what comes uncompressed, so nothing compiles twice
            starts = np.cumsum([0, *map(len, payloads)])[:-1].tolist()
        table = np.array(
            [
                (start, start + len(payload), batch.records, batch.base, *_time(batch))
                for batch, payload, start in zip(batches, payloads, starts, strict=True)
            ],
            np.int64,
        ).reshape(-1, ACROSS)
        size = sum(batch.records for batch in batches)
        rows = Records(
            data, *(np.empty(shape, np.int64) for shape in (size, size, (size, 2), (size, 2), (size, 2)))
        )
        count, damaged = _parse(
            data, table, position, rows.offsets, rows.timestamps, rows.keys, rows.values, rows.headers
        )
        if damaged != NONE:
            raise self._damaged(batches[damaged].base, "its bytes are not the records of its header")
        return rows[:count]

    def _damaged(self, offset: int, found: str) -> HeadgateError:
        return HeadgateError(
            f"{self._place}: the record batch at offset {offset} is damaged: {found}. It is fetched "
            "again after a new start; if it is so on the broker's disk, let another replica lead, or delete "
            "the records up to its end"
        )


def _time(batch: Batch) -> tuple[int, int]:
    """Base timestamp of a batch's records, and what their deltas count: nothing where the broker has stamped
    them, all with one time."""
    return (batch.max_timestamp, 0) if batch.attributes & LOG_APPEND_TIME else (batch.first_timestamp, 1)


ACROSS = 6
"""Columns of the table that `_parse` takes, a row a batch: start and end of its records in the data, their
count, base offset, and the two of `_time`."""


@compiled
def _span(data: Bytes, at: int, end: int) -> tuple[int, int, int]:
    """Start and end (NULL, NULL for null) of the bytes whose length is at `at`, and where the next thing
    starts: -1 where they do not end by `end`."""
    length, at = varint(data, at, end)
    if at < 0 or length > end - at:
        return NULL, NULL, -1
    if length < 0:
        return NULL, NULL, at
    return at, at + length, at + length


@compiled
def _parse(
    data: Bytes,
    batches: Integers,
    position: int,
    offsets: Integers,
    timestamps: Integers,
    keys: Integers,
    values: Integers,
    headers: Integers,
) -> tuple[int, int]:
    """Fills columns with the records from `position` on; answers how many there are, and which row of
    `batches` is damaged, `NONE` if none is."""
    found = 0
    for row in range(len(batches)):
        at, end, count, base, time, delta_counts = batches[row]
        for _ in range(count):
            length, at = varint(data, at, end)
            if at < 0 or length < 1 or length > end - at:
                return found, row
            stop = at + length
            time_delta, at = varint(data, at + 1, stop)
            if at < 0:
                return found, row
            offset_delta, at = varint(data, at, stop)
            if at < 0:
                return found, row
            key_start, key_end, at = _span(data, at, stop)
            if at < 0:
                return found, row
            value_start, value_end, at = _span(data, at, stop)
            if at < 0:
                return found, row
            header_count, at = varint(data, at, stop)
            if at < 0 or header_count < 0:
                return found, row
            headers_start = at
            for _ in range(header_count):
                name_start, _, at = _span(data, at, stop)
                if at < 0 or name_start == NULL:
                    return found, row
                _, _, at = _span(data, at, stop)
                if at < 0:
                    return found, row
            if at != stop:
                return found, row
            if base + offset_delta < position:
                continue
            offsets[found] = base + offset_delta
            timestamps[found] = time + delta_counts * time_delta
            keys[found, 0], keys[found, 1] = key_start, key_end
            values[found, 0], values[found, 1] = value_start, value_end
            headers[found, 0], headers[found, 1] = headers_start, header_count
            found += 1
        if at != end:
            return found, row
    return found, NONE
