"""The three event topics' JSON, as columns: compiled loops read what is plain, msgspec what is not.

A loop takes a record only where msgspec would take it too, and with the same meaning; of every other it says
no more than "not by me". Those go to the record types (`schemas/records.py`), which alone know what is valid
and say why something is not. What is valid after all is encoded again, plainly, and read by the same loop: so
all columns come from one place. That costs about 5 µs a record, and takes strings with `\\u` escapes, names
that come twice, numbers of more than 19 digits.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np

from schemas.records import ENCODER, Codec, Feedback, Prediction, Request, problem
from streams.columns import Bytes, Integers, Records
from streams.join.grammar import AS_ENCODED, AS_SENT, NAMES
from streams.join.loops import scan_feedback as _feedback
from streams.join.loops import scan_predictions as _predictions
from streams.join.loops import scan_requests as _requests
from streams.join.murmur import places
from streams.join.rows import ELEMENT, FEEDBACK, PREDICTION, REQUEST, Floats, Hashes, Room, Rows, Scanned

Loop = Callable[[Bytes, Integers, Integers, Rows, Room, int], int]
EventCodec = Codec[Request] | Codec[Prediction] | Codec[Feedback]

_REQUEST: Codec[Request] = Codec(Request)
_PREDICTION: Codec[Prediction] = Codec(Prediction)
_FEEDBACK: Codec[Feedback] = Codec(Feedback)


def scan_requests(records: Records) -> Scanned:
    """Records of `inference.requests`, as rows of `REQUEST`."""
    return _scan(records, _requests, REQUEST, _REQUEST)


def scan_predictions(records: Records) -> Scanned:
    """Records of `inference.predictions`, as rows of `PREDICTION`, with their items and scores."""
    return _scan(records, _predictions, PREDICTION, _PREDICTION)


def scan_feedback(records: Records) -> Scanned:
    """Records of `feedback.events`, as rows of `FEEDBACK`."""
    return _scan(records, _feedback, FEEDBACK, _FEEDBACK)


class Plain(NamedTuple):
    """Events that a loop has left to msgspec: where they stood in the batch, and their JSON, written anew."""

    indices: list[int]
    ids: list[bytes]
    values: list[bytes]


def _scan(records: Records, loop: Loop, dtype: np.dtype[np.void], codec: EventCodec) -> Scanned:
    data = _read_only(records.data)
    values = np.ascontiguousarray(records.values)
    timestamps = np.ascontiguousarray(records.timestamps)
    rows, items, scores = _read(loop, data, values, timestamps, dtype, AS_SENT)
    odd = np.flatnonzero(rows["fault"])
    if not len(odd):
        return Scanned(data, rows, items, scores, {})
    rows[odd] = np.zeros(1, dtype)
    rows["fault"][odd] = 1
    plain, reasons = _decode(records, odd.tolist(), codec)
    if not plain.indices:
        return Scanned(data, rows, items, scores, reasons)
    ends = len(data) + np.cumsum([len(value) for value in plain.values])
    bounds = np.column_stack([np.concatenate([[len(data)], ends[:-1]]), ends]).astype(np.int64)
    data = _read_only(np.concatenate([data, np.frombuffer(b"".join(plain.values), np.uint8)]))
    again, more_items, more_scores = _read(loop, data, bounds, timestamps[plain.indices], dtype, AS_ENCODED)
    if again["fault"].any():
        left = plain.values[int(again["fault"].argmax())]
        raise AssertionError(f"scanner: found {left!r}, which msgspec has written, expected to read it")
    again["place"] = places(plain.ids)  # what Kafka hashes is the text itself, not its JSON
    if dtype is PREDICTION:
        again["first"] += len(items)
    rows[plain.indices] = again
    items, scores = np.concatenate([items, more_items]), np.concatenate([scores, more_scores])
    return Scanned(data, rows, items, scores, reasons)


def _decode(records: Records, indices: list[int], codec: EventCodec) -> tuple[Plain, dict[int, str]]:
    """Which of these records are events after all, and why the others are none."""
    plain, reasons = Plain([], [], []), dict[int, str]()
    for index in indices:
        found = records[index]
        try:
            event = codec.decode(found.value)
        except msgspec.DecodeError as error:
            reasons[index] = str(error)
            continue
        wrong = problem(event, found.timestamp)
        if wrong is not None:
            reasons[index] = wrong
            continue
        if isinstance(event, Request):
            event.inputs = None  # raw: they would be written as they came, and nobody reads them here
        plain.indices.append(index)
        plain.ids.append(event.request_id.encode())
        plain.values.append(ENCODER.encode(event))
    return plain, reasons


def _read(
    loop: Loop, data: Bytes, values: Integers, timestamps: Integers, dtype: np.dtype[np.void], form: int
) -> tuple[Rows, Hashes, Floats]:
    """What a loop makes of values: rows, items and scores."""
    rows = np.empty(len(values), dtype)
    lengths = values[:, 1] - values[:, 0]
    every = int(lengths.sum()) // ELEMENT + 1 if dtype is PREDICTION else 0
    longest = int(lengths.max(initial=0)) // ELEMENT + 1
    room = Room(
        np.empty(every, np.uint64),
        np.empty(every, np.float64),
        np.zeros(NAMES, np.uint64),
        np.empty(longest, np.uint64),
    )
    filled = loop(data, values, timestamps, rows, room, form)
    return rows, room.items[:filled], room.scores[:filled]


def _read_only(data: Bytes) -> Bytes:
    """The same bytes, in the one type that the loops are compiled for."""
    if len(data) > np.iinfo(np.int32).max:
        raise ValueError(f"batch: found {len(data)} bytes, expected at most 2 GiB")
    view = data.view()
    view.flags.writeable = False
    return view
