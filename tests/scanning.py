"""What the scanners must find, from what msgspec decodes; and that against what they did find."""

import math
from collections.abc import Callable, Iterable
from typing import get_args

import msgspec
import numpy as np

from schemas import topics
from schemas.records import TYPES, Arm, Codec, Feedback, Prediction, Request, Status, problem
from schemas.topics import Topic
from streams.columns import Records, Row
from streams.join.grammar import END, FALSE, NULL, NUMBER, STRING, TRUE, next_member
from streams.join.numbers import number
from streams.join.rows import Scanned
from streams.join.scan import scan_feedback, scan_predictions, scan_requests
from streams.join.text import hash_of, text
from tests.oracle.log import partition_of

Event = Request | Prediction | Feedback

NOON = 1_767_268_800_000
SCANS: dict[Topic, Callable[[Records], Scanned]] = {
    topics.REQUESTS: scan_requests,
    topics.PREDICTIONS: scan_predictions,
    topics.FEEDBACK: scan_feedback,
}
CODECS: dict[Topic, Codec[Event]] = {topic: Codec(TYPES[topic]) for topic in SCANS}
PLACES = 1 << 31


def batch(values: Iterable[bytes | None], timestamp: int = NOON) -> Records:
    """Records with these values."""
    return Records.of(Row(offset, timestamp, b"", value, ()) for offset, value in enumerate(values))


def expected(topic: Topic, value: bytes | None, timestamp: int = NOON) -> Event | str:
    """The event that a value is, or why it is none."""
    try:
        event = CODECS[topic].decode(value)
    except msgspec.DecodeError as error:
        return str(error)
    return problem(event, timestamp) or event


def check(topic: Topic, values: list[bytes | None]) -> int:
    """That a batch of these is scanned as msgspec decodes it, every field; answers how many of them are
    events.
    """
    scanned = SCANS[topic](batch(values))
    assert len(scanned.rows) == len(values)
    good = 0
    for index, value in enumerate(values):
        wanted = expected(topic, value)
        if isinstance(wanted, str):
            assert scanned.rows[index]["fault"] == 1, f"{value!r} was taken for an event, but {wanted}"
            assert scanned.reasons[index] == wanted
        else:
            assert scanned.rows[index]["fault"] == 0, (
                f"{value!r} is an event, but {scanned.reasons.get(index)}"
            )
            assert index not in scanned.reasons
            assert found(topic, scanned, index) == columns(wanted), value
            good += 1
    return good


def columns(event: Event) -> dict[str, object]:
    """What a row holds of an event."""
    common: dict[str, object] = {
        "id": hash_of(event.request_id),
        "ts": event.ts,
        "place": partition_of(event.request_id.encode(), PLACES),
    }
    match event:
        case Feedback():
            return common | {
                "kind": hash_of(event.kind),
                "item": 0 if event.item is None else hash_of(str(event.item)),
                "event": 0 if event.event_id is None else hash_of(event.event_id),
                "value": event.value,
            }
        case Prediction() | Request():
            common |= {
                "model": hash_of(event.model),
                "model_text": event.model,
                "user": 0 if event.user is None else hash_of(str(event.user)),
                "surface": event.surface,
                "segments": event.segments,
                "features": event.features,
            }
    if isinstance(event, Request):
        return common
    length = len(event.items if event.items is not None else event.scores or [])
    return common | {
        "version": hash_of(event.version),
        "version_text": event.version,
        "arm": get_args(Arm).index(event.arm),
        "status": get_args(Status).index(event.status),
        "latency_ms": event.latency_ms,
        "generation": event.generation,
        "shown": event.shown,
        "has_items": event.items is not None,
        "has_scores": event.scores is not None,
        "items": [0] * length if event.items is None else [hash_of(str(item)) for item in event.items],
        "scores": [None] * length if event.scores is None else event.scores,
    }


def found(topic: Topic, scanned: Scanned, index: int) -> dict[str, object]:
    """What the scanners' row holds, in the same words."""
    row = {name: scanned.rows[index][name].item() for name in scanned.rows.dtype.names or ()}
    common: dict[str, object] = {name: row[name] for name in ("id", "ts", "place")}
    if topic is topics.FEEDBACK:
        value = None if math.isnan(row["value"]) else row["value"]
        return common | {"kind": row["kind"], "item": row["item"], "event": row["event"], "value": value}
    common |= {
        "model": row["model"],
        "model_text": _text(scanned, row, "model"),
        "user": row["user"],
        "surface": _text(scanned, row, "surface"),
        "segments": members(scanned, row["segments_start"]),
        "features": members(scanned, row["features_start"]),
    }
    if topic is topics.REQUESTS:
        return common
    flat = slice(row["first"], row["first"] + row["length"])
    scores = [None if math.isnan(score) else score for score in scanned.scores[flat].tolist()]
    return common | {
        "version": row["version"],
        "version_text": _text(scanned, row, "version"),
        "arm": row["arm"],
        "status": row["status"],
        "latency_ms": row["latency_ms"],
        "generation": None if row["generation"] == -1 else row["generation"],
        "shown": None if row["shown"] == -1 else row["shown"],
        "has_items": bool(row["has_items"]),
        "has_scores": bool(row["has_scores"]),
        "items": scanned.items[flat].tolist(),
        "scores": scores,
    }


def members(scanned: Scanned, start: int) -> dict[str, object] | None:
    """The object whose opening brace is at `start`, by the compiled iterator; None for -1."""
    if start == -1:
        return None
    result: dict[str, object] = {}
    position = start
    while True:
        name_start, name_end, kind, value_start, value_end, position = next_member(scanned.data, position)
        if kind == END:
            return result
        name = text(scanned.data, name_start, name_end)
        assert name not in result
        if kind == STRING:
            result[name] = text(scanned.data, value_start, value_end)
        elif kind == NUMBER:
            result[name] = number(scanned.data, value_start, value_end)
        else:
            result[name] = {TRUE: True, FALSE: False, NULL: None}[kind]


def _text(scanned: Scanned, row: dict[str, int], name: str) -> str | None:
    start, end = row[f"{name}_start"], row[f"{name}_end"]
    return None if start == -1 else text(scanned.data, start, end)


def array(text: str) -> "np.ndarray[tuple[int], np.dtype[np.uint8]]":
    """Its UTF-8, as the compiled functions take it."""
    return np.frombuffer(text.encode(), np.uint8)
