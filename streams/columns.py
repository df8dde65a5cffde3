"""Records as columns: what was fetched of one topic partition together, without a Python object a record.

Compiled loops read the columns; whoever wants single records (a test, a dead letter, a stage with few of
them) iterates, and they are made on the way. Nothing here knows a broker; `wire.py` fills columns from what
one sends.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from streams.record import Record
from streams.varint import encoded, varint

Bytes: TypeAlias = NDArray[np.uint8]
Integers: TypeAlias = NDArray[np.int64]

NULL = -1
"""Start of a key or a value that is null."""


class Row(NamedTuple):
    """One of the `Records`, by itself."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Records(Sequence[Record]):
    """n records of one topic partition, in offset order, perhaps with gaps.

    - `data`, uint8, read-only: the bytes that the other columns point into, uncompressed, and others between
      them.
    - `offsets`, int64[n]; `timestamps`, int64[n], in ms.
    - `keys`, `values`, int64[n, 2]: start and end in `data`; a start of `NULL` (-1) is a null.
    - `headers`, int64[n, 2]: where in `data` a record's headers start, as they are on the wire, and how many
      there are.

    Slices are views of the same columns, and cost nothing.
    """

    __slots__ = ("data", "headers", "keys", "offsets", "timestamps", "values")

    def __init__(
        self,
        data: Bytes,
        offsets: Integers,
        timestamps: Integers,
        keys: Integers,
        values: Integers,
        headers: Integers,
    ) -> None:
        self.data = data
        self.offsets = offsets
        self.timestamps = timestamps
        self.keys = keys
        self.values = values
        self.headers = headers

    @staticmethod
    def of(records: Iterable[Record]) -> "Records":
        """The columns of single records."""
        data = bytearray()
        rows = list(records)
        keys = [_put(data, row.key) for row in rows]
        values = [_put(data, row.value) for row in rows]
        headers = [_put_headers(data, row.headers) for row in rows]
        return Records(
            np.frombuffer(bytes(data), np.uint8),
            np.array([row.offset for row in rows], np.int64),
            np.array([row.timestamp for row in rows], np.int64),
            *(np.array(column, np.int64).reshape(-1, 2) for column in (keys, values, headers)),
        )

    def since(self, offset: int) -> "Records":
        """The records from that offset on."""
        seen = int(np.searchsorted(self.offsets, offset))
        return self[seen:] if seen else self

    def part(self, which: slice) -> "Records":
        """Some of them, of the same kind."""
        return Records(
            self.data,
            self.offsets[which],
            self.timestamps[which],
            self.keys[which],
            self.values[which],
            self.headers[which],
        )

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> "Records": ...
    def __getitem__(self, index: int | slice) -> "Record | Records":
        if isinstance(index, slice):
            return self.part(index)
        key_start, key_end = self.keys[index].tolist()
        start, end = self.values[index].tolist()
        return Row(
            int(self.offsets[index]),
            int(self.timestamps[index]),
            None if key_start == NULL else self.data[key_start:key_end].tobytes(),
            None if start == NULL else self.data[start:end].tobytes(),
            _headers(self.data, *self.headers[index].tolist()),
        )

    def __iter__(self) -> Iterator[Record]:
        view = self.data.data
        columns = (self.offsets, self.timestamps, self.keys, self.values, self.headers)
        for offset, timestamp, (key_start, key_end), (start, end), headers in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            yield Row(
                offset,
                timestamp,
                None if key_start == NULL else view[key_start:key_end].tobytes(),
                None if start == NULL else view[start:end].tobytes(),
                _headers(self.data, *headers),
            )


def _put(data: bytearray, value: bytes | None) -> tuple[int, int]:
    """Appends a value; answers where it starts and ends."""
    if value is None:
        return NULL, NULL
    start = len(data)
    data += value
    return start, len(data)


def _put_headers(data: bytearray, headers: Sequence[tuple[str, bytes | None]]) -> tuple[int, int]:
    """Appends headers as they are on the wire; answers where they start, and how many there are."""
    start = len(data)
    for name, value in headers:
        key = name.encode()
        data += encoded(len(key)) + key
        data += encoded(NULL) if value is None else encoded(len(value)) + value
    return start, len(headers)


def _headers(data: Bytes, at: int, count: int) -> Sequence[tuple[str, bytes | None]]:
    """Reads `count` headers from `at` on. A broker takes any bytes for a header's key: what is not UTF-8 in
    it is replaced."""
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        length, at = varint(data, at, len(data))
        key = data[at : at + length].tobytes().decode("utf-8", "replace")
        at += length
        length, at = varint(data, at, len(data))
        if length < 0:
            headers.append((key, None))
            continue
        headers.append((key, data[at : at + length].tobytes()))
        at += length
    return headers
