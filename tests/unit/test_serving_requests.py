"""Messages of the requests topic: which become jobs, which are skipped, which are dead letters."""

import base64
import re

import pytest
from confluent_kafka import Message

from schemas.records import ENCODER, DeadLetter
from serving.jobs import Job
from serving.requests import Others, Reader, Repeated

NOW = 1_700_000_000_000
GOOD = {"request_id": "r1", "ts": NOW, "model": "ranker", "items": [1]}


def read(
    value: bytes | None, timestamp: int = NOW, headers: list[tuple[str, str | bytes | None]] | None = None
) -> Job | DeadLetter | Repeated | Others:
    message = Message(
        topic="inference.requests",
        partition=3,
        offset=42,
        key=b"r1",
        value=value,
        timestamp=(1, timestamp),
        headers=headers,
    )
    return Reader(lambda: NOW + 5, {"ranker"}.__contains__).read(message)


def test_a_request_keeps_its_kafka_timestamp() -> None:
    found = read(ENCODER.encode(GOOD), NOW - 77)
    assert isinstance(found, Job)
    assert (found.request.request_id, found.timestamp) == ("r1", NOW - 77)


def test_json_behind_confluent_framing_is_read() -> None:
    assert isinstance(read(b"\x00\x00\x00\x00\x07" + ENCODER.encode(GOOD)), Job)


def test_what_the_join_published_again_is_skipped() -> None:
    assert read(ENCODER.encode(GOOD), headers=[("headgate-origin", b"inference.requests/1/2")]) == Repeated()


def test_other_headers_do_not_matter() -> None:
    assert isinstance(read(ENCODER.encode(GOOD), headers=[("trace", b"1")]), Job)


def test_a_request_for_a_model_of_other_workers_is_skipped() -> None:
    assert read(ENCODER.encode(GOOD | {"model": "other"})) == Others("other")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "found null, expected a JSON object"),
        (b"", "found nothing, expected a JSON object"),
        (b"{", "truncated"),
        (b"\xff\xfe", "malformed"),
        (b"[" * 100_000, "."),
        (b'"text"', "found str, expected object"),
        (ENCODER.encode(GOOD | {"request_id": None}), "request_id"),
        (ENCODER.encode(GOOD | {"ts": 7}), "ts: found 7, expected"),
        (ENCODER.encode(GOOD | {"items": [{}]}), r"items\[0\]: found {}, expected"),
        (ENCODER.encode(GOOD | {"ts": NOW + 2 * 86_400_000}), "at most a day after"),
    ],
)
def test_what_is_no_request_is_a_dead_letter_with_the_reason(value: bytes | None, reason: str) -> None:
    found = read(value)
    assert isinstance(found, DeadLetter)
    assert re.search(reason, found.reason)


def test_a_dead_letter_says_where_the_record_lies_and_what_it_was() -> None:
    found = read(b"nonsense")
    assert isinstance(found, DeadLetter)
    assert (found.topic, found.partition, found.offset, found.stage) == ("inference.requests", 3, 42, "serve")
    assert (found.ts, found.key, base64.b64decode(found.value or "")) == (NOW + 5, "r1", b"nonsense")


def test_a_dead_letter_keeps_64_kib_of_the_value() -> None:
    found = read(b"x" * 1_000_000)
    assert isinstance(found, DeadLetter)
    assert len(base64.b64decode(found.value or "")) == 65_536
