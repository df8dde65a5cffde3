"""What requests say of their predictions, as it came: surface, segments and features, one behind the other in
a blob, with their three lengths before them.

A length is one more than the bytes, 0 for what was not said, in groups of seven bits (LEB128): as a rule one
byte.
"""

from typing import Any

import numpy as np

from streams.compiled import inner
from streams.join.hashmap import NONE
from streams.join.layout import UNIT, Bytes, State
from streams.join.tables import give_blob, take_blob


@inner
def _length(start: int, end: int) -> int:
    return end - start + 1 if start >= 0 else 0


@inner
def _width(length: int) -> int:
    """Bytes that a length takes."""
    width = 1
    while length >= 128:
        length >>= 7
        width += 1
    return width


@inner
def _size(row: Any) -> int:
    """Bytes of the blob of a scanned request."""
    size = 0
    for start, end in (
        (row.surface_start, row.surface_end),
        (row.segments_start, row.segments_end),
        (row.features_start, row.features_end),
    ):
        length = _length(start, end)
        size += _width(length) + max(length - 1, 0)
    return size


@inner
def blob_units(row: Any) -> int:
    """Units that the blob of a scanned request takes; 0 where there is nothing to keep."""
    if row.surface_start < 0 and row.segments_start < 0 and row.features_start < 0:
        return 0
    return (_size(row) + UNIT - 1) // UNIT


@inner
def _put_length(data: Bytes, place: int, length: int) -> int:
    while length >= 128:
        data[place] = np.uint8(length & 127 | 128)
        length >>= 7
        place += 1
    data[place] = np.uint8(length)
    return place + 1


@inner
def _get_length(data: Bytes, place: int) -> tuple[int, int]:
    """A length, and where it ends."""
    length, shift = np.int64(0), 0
    while data[place] >= 128:
        length |= np.int64(data[place] & 127) << shift
        shift += 7
        place += 1
    return int(length | np.int64(data[place]) << shift), place + 1


@inner
def store(state: State, data: Bytes, row: Any) -> int:
    """Keeps what a scanned request says of its predictions; `NONE` where it says nothing."""
    units = blob_units(row)
    if units == 0:
        return NONE
    blob = take_blob(state, units)
    place = blob * UNIT
    place = _put_length(state.blobs, place, _length(row.surface_start, row.surface_end))
    place = _put_length(state.blobs, place, _length(row.segments_start, row.segments_end))
    place = _put_length(state.blobs, place, _length(row.features_start, row.features_end))
    place = _copy(state, data, row.surface_start, row.surface_end, place)
    place = _copy(state, data, row.segments_start, row.segments_end, place)
    _copy(state, data, row.features_start, row.features_end, place)
    return blob


@inner
def _copy(state: State, data: Bytes, start: int, end: int, place: int) -> int:
    if start < 0:
        return place
    for i in range(start, end):
        state.blobs[place + i - start] = data[i]
    return place + end - start


@inner
def read(state: State, blob: int) -> tuple[int, int, int, int, int]:
    """Where in `blobs` the surface begins and ends, where segments and features begin (`NONE`: not said), and
    where all ends.
    """
    surface, place = _get_length(state.blobs, blob * UNIT)
    segments, place = _get_length(state.blobs, place)
    features, place = _get_length(state.blobs, place)
    second = place + max(surface - 1, 0)
    third = second + max(segments - 1, 0)
    return (
        place if surface else NONE,
        second,
        second if segments else NONE,
        third if features else NONE,
        third + max(features - 1, 0),
    )


@inner
def forget_blob(state: State, blob: int) -> None:
    """Frees a blob, where there is one."""
    if blob >= 0:
        end = read(state, blob)[4]
        give_blob(state, blob, (end + UNIT - 1) // UNIT - blob)
