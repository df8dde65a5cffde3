"""The loops over a batch's values, compiled: one for each of the three event topics.

Each reads n values of `data` into `rows`, and answers how many items and scores it has put into `room`. A row
that is not for it gets `fault` 1, and the rest of it means nothing.

Addresses are passed on, not arrays, so these arrays are their caller's: compiled code frees its own as soon
as it names them no more.
"""

import numpy as np

from schemas.records import Feedback, Prediction, Request
from streams.columns import Bytes, Integers
from streams.compiled import compiled, inlined
from streams.join.grammar import (
    CLOSE,
    OPEN,
    QUOTE,
    SCALARS,
    STRINGS,
    N,
    comma,
    count,
    flat,
    literal,
    name,
    peek,
    real,
    space,
    value,
)
from streams.join.machine import address, constant, store, store_float
from streams.join.murmur import place
from streams.join.rows import Room, Row, Rows
from streams.join.text import hash_at
from streams.join.values import (
    choice,
    floats,
    identifier,
    identifiers,
    key,
    member,
    milliseconds,
    opening,
    text,
    time,
)
from streams.join.words import WORDS, fields, required

_NO_ITEM = np.uint64(0)
_NONE = constant(0)


def _number(name: str) -> int:
    return constant(WORDS.index(name))


_REQUEST_ID = _number("request_id")
_TS = _number("ts")
_MODEL = _number("model")
_USER = _number("user")
_SURFACE = _number("surface")
_SEGMENTS = _number("segments")
_FEATURES = _number("features")
_ITEMS = _number("items")
_INPUTS = _number("inputs")
_K = _number("k")
_DEADLINE_MS = _number("deadline_ms")
_VERSION = _number("version")
_ARM = _number("arm")
_STATUS = _number("status")
_LATENCY_MS = _number("latency_ms")
_GENERATION = _number("generation")
_SCORES = _number("scores")
_SHOWN = _number("shown")
_PROPENSITIES = _number("propensities")
_INFER_MS = _number("infer_ms")
_QUEUE_MS = _number("queue_ms")
_BATCH = _number("batch")
_WORKER = _number("worker")
_ERROR = _number("error")
_KIND = _number("kind")
_ITEM = _number("item")
_VALUE = _number("value")
_EVENT_ID = _number("event_id")
_STABLE = _number("stable")
_CANDIDATE = _number("candidate")
_SHADOW = _number("shadow")
_OK = _number("ok")
_TIMEOUT = _number("timeout")
_SHED = _number("shed")


_REQUEST, _REQUEST_MUST = constant(fields(Request)), constant(required(Request))
_PREDICTION, _PREDICTION_MUST = constant(fields(Prediction)), constant(required(Prediction))
_FEEDBACK, _FEEDBACK_MUST = constant(fields(Feedback)), constant(required(Feedback))


@compiled
def scan_requests(
    data: Bytes, values: Integers, timestamps: Integers, rows: Rows, room: Room, form: int
) -> int:
    """Reads `inference.requests`; fills no `room`."""
    base, spare, names = address(data), address(room.spare), address(room.names)
    for index in range(len(rows)):
        row = rows[index]
        start, end = values[index, 0], values[index, 1]
        good = _request(base, start, end, timestamps[index], row, spare, names, index, form)
        row.fault = 0 if good else 1
    return 0


@compiled
def scan_predictions(
    data: Bytes, values: Integers, timestamps: Integers, rows: Rows, room: Room, form: int
) -> int:
    """Reads `inference.predictions`; fills `room` with their items and scores."""
    base, spare, names = address(data), address(room.spare), address(room.names)
    items, scores = address(room.items), address(room.scores)
    filled = 0
    for index in range(len(rows)):
        row = rows[index]
        start, end, timestamp = values[index, 0], values[index, 1], timestamps[index]
        row.first = filled
        good = _prediction(base, start, end, timestamp, row, items, scores, spare, names, index, form)
        row.fault = 0 if good else 1
        if good:
            filled += row.length
    return filled


@compiled
def scan_feedback(
    data: Bytes, values: Integers, timestamps: Integers, rows: Rows, room: Room, form: int
) -> int:
    """Reads `feedback.events`; fills no `room`."""
    base = address(data)
    for index in range(len(rows)):
        row = rows[index]
        start, end = values[index, 0], values[index, 1]
        row.fault = 0 if _feedback(base, start, end, timestamps[index], row, form) else 1
    return 0


@inlined
def _request(
    base: int, start: int, end: int, timestamp: int, row: Row, spare: int, names: int, index: int, form: int
) -> bool:
    row.user = 0
    row.surface_start = row.surface_end = -1
    row.segments_start = row.segments_end = -1
    row.features_start = row.features_end = -1
    seen = _NONE
    at = opening(base, start, end)
    if at < 0:
        return False
    while peek(base, at, end) != CLOSE:
        field, at = member(base, at, end, form, _REQUEST, seen)
        if at < 0:
            return False
        if field < 0:
            at = value(base, at, end, form)
        else:
            seen |= 1 << field
            if peek(base, at, end) == N and not (_REQUEST_MUST >> field) & 1:
                at = literal(base, at, end)
            elif field == _ITEMS:
                at = identifiers(base, at, end, form, spare, _NONE)[0]
            elif field == _INPUTS:
                at = value(base, at, end, form) if peek(base, at, end) == OPEN else -1
            elif field == _K:
                at = count(base, at, end)[0]
            elif field == _DEADLINE_MS:
                at = milliseconds(base, at, end, form)[0]
            else:
                at = _subject(field, base, at, end, timestamp, row, names, index, form)
        if at < 0:
            return False
        at = comma(base, at, end, CLOSE)
        if at < 0:
            return False
    return seen & _REQUEST_MUST == _REQUEST_MUST and space(base, at + 1, end) == end


@inlined
def _prediction(
    base: int, start: int, end: int, timestamp: int, row: Row, items: int, scores: int, spare: int,
    names: int, index: int, form: int,
) -> bool:  # fmt: skip
    row.user = 0
    row.surface_start = row.surface_end = -1
    row.segments_start = row.segments_end = -1
    row.features_start = row.features_end = -1
    row.generation = row.shown = -1
    first = row.first
    ranked, scored, weighed = -1, -1, -1  # how many items, scores and propensities; -1: absent
    seen = _NONE
    at = opening(base, start, end)
    if at < 0:
        return False
    while peek(base, at, end) != CLOSE:
        field, at = member(base, at, end, form, _PREDICTION, seen)
        if at < 0:
            return False
        if field < 0:
            at = value(base, at, end, form)
        else:
            seen |= 1 << field
            if peek(base, at, end) == N and not (_PREDICTION_MUST >> field) & 1:
                at = literal(base, at, end)
            elif field == _ITEMS:
                at, ranked = identifiers(base, at, end, form, items, first)
            elif field == _SCORES:
                at, scored = floats(base, at, end, form, scores, first)
            elif field == _PROPENSITIES:
                at, weighed = floats(base, at, end, form, spare, _NONE)
            elif field == _VERSION:
                stop = text(base, at, end, form)
                if stop < 0:
                    return False
                row.version = hash_at(base, at + 1, stop)
                row.version_start, row.version_end = at + 1, stop
                at = stop + 1
            elif field == _ARM:
                at, arm = choice(base, at, end)
                if arm == _STABLE:
                    row.arm = 0
                elif arm == _CANDIDATE:
                    row.arm = 1
                elif arm == _SHADOW:
                    row.arm = 2
                else:
                    return False
            elif field == _STATUS:
                at, status = choice(base, at, end)
                if status == _OK:
                    row.status = 0
                elif status == _ERROR:
                    row.status = 1
                elif status == _TIMEOUT:
                    row.status = 2
                elif status == _SHED:
                    row.status = 3
                else:
                    return False
            elif field == _LATENCY_MS:
                at, row.latency_ms = milliseconds(base, at, end, form)
            elif field == _GENERATION:
                at, row.generation = count(base, at, end)
            elif field == _SHOWN:
                at, row.shown = count(base, at, end)
            elif field == _BATCH:
                at = count(base, at, end)[0]
            elif field in (_INFER_MS, _QUEUE_MS):
                at = milliseconds(base, at, end, form)[0]
            elif field in (_WORKER, _ERROR):
                stop = name(base, at, end, form)
                at = stop + 1 if stop >= 0 else -1
            else:
                at = _subject(field, base, at, end, timestamp, row, names, index, form)
        if at < 0:
            return False
        at = comma(base, at, end, CLOSE)
        if at < 0:
            return False
    length = ranked if ranked >= 0 else scored
    if length >= 0 and (scored not in (-1, length) or weighed not in (-1, length)):
        return False
    row.length = max(length, 0)
    row.has_items, row.has_scores = ranked >= 0, scored >= 0
    for place_ in range(first, first + row.length):
        if ranked < 0:
            store(items, place_, _NO_ITEM)
        if scored < 0:
            store_float(scores, place_, np.nan)
    return seen & _PREDICTION_MUST == _PREDICTION_MUST and space(base, at + 1, end) == end


@inlined
def _feedback(base: int, start: int, end: int, timestamp: int, row: Row, form: int) -> bool:
    row.item = row.event = 0
    row.value = np.nan
    seen = _NONE
    at = opening(base, start, end)
    if at < 0:
        return False
    while peek(base, at, end) != CLOSE:
        field, at = member(base, at, end, form, _FEEDBACK, seen)
        if at < 0:
            return False
        if field < 0:
            at = value(base, at, end, form)
        else:
            seen |= 1 << field
            if peek(base, at, end) == N and not (_FEEDBACK_MUST >> field) & 1:
                at = literal(base, at, end)
            elif field == _KIND:
                stop = text(base, at, end, form)
                if stop < 0:
                    return False
                row.kind = hash_at(base, at + 1, stop)
                at = stop + 1
            elif field == _ITEM:
                at, row.item = identifier(base, at, end, form)
            elif field == _VALUE:
                at, row.value = real(base, at, end, form)
            elif field == _EVENT_ID:
                at, row.event = (
                    identifier(base, at, end, form) if peek(base, at, end) == QUOTE else (-1, np.uint64(0))
                )
            else:
                at = _place_and_time(field, base, at, end, timestamp, row, form)
        if at < 0:
            return False
        at = comma(base, at, end, CLOSE)
        if at < 0:
            return False
    return seen & _FEEDBACK_MUST == _FEEDBACK_MUST and space(base, at + 1, end) == end


@inlined
def _place_and_time(field: int, base: int, at: int, end: int, timestamp: int, row: Row, form: int) -> int:
    """Reads one of the fields that all events have; answers where it ends."""
    if field == _REQUEST_ID:
        stop = key(base, at, end, form)
        if stop < 0:
            return -1
        row.id = hash_at(base, at + 1, stop)
        row.place = place(base, at + 1, stop)
        return stop + 1
    if field == _TS:
        at, row.ts = time(base, at, end, timestamp)
        return at
    return -1


@inlined
def _subject(
    field: int, base: int, at: int, end: int, timestamp: int, row: Row, names: int, index: int, form: int
) -> int:
    """Reads one of the fields that requests and predictions share; answers where it ends."""
    start = at
    if field == _MODEL:
        stop = text(base, at, end, form)
        if stop < 0:
            return -1
        row.model = hash_at(base, at + 1, stop)
        row.model_start, row.model_end = at + 1, stop
        return stop + 1
    if field == _USER:
        at, row.user = identifier(base, at, end, form)
        return at
    if field == _SURFACE:
        stop = name(base, at, end, form)
        row.surface_start, row.surface_end = at + 1, stop
        return stop + 1 if stop >= 0 else -1
    if field == _SEGMENTS:
        at = flat(base, at, end, form, STRINGS, names, 2 * index + 1)
        row.segments_start, row.segments_end = start, at
        return at
    if field == _FEATURES:
        at = flat(base, at, end, form, SCALARS, names, 2 * index + 2)
        row.features_start, row.features_end = start, at
        return at
    return _place_and_time(field, base, at, end, timestamp, row, form)
