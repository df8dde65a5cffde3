"""Batches that go into a join bit by bit, as a replay feeds them."""

import json

from schemas.records import ENCODER
from schemas.topics import EVENTS, FEEDBACK, PREDICTIONS, REQUESTS, Topic
from streams.columns import Records
from tests.oracle.desk import NOON, Desk
from tests.oracle.log import Raw

REQUESTED = 40


def value(topic: Topic, number: int) -> bytes:
    """A record of a request's; every seventh is none."""
    if number % 7 == 3:
        return b"{}"
    fields: dict[str, object] = {"request_id": f"r{number}", "ts": NOON + number * 100}
    if topic is FEEDBACK:
        return json.dumps(fields | {"kind": "click", "item": "b"}).encode()
    fields["model"] = "ranker" if number % 5 else "other"
    if topic is PREDICTIONS:
        arm = ("stable", "candidate")[number % 2]
        fields |= {"version": f"v{number % 3}", "arm": arm, "status": "ok", "latency_ms": number + 0.5}
        fields |= {"items": ["a", "b", "c"], "scores": [0.9, 0.5, 0.25], "user": f"u{number % 11}"}
    return json.dumps(fields).encode()


def batch(topic: Topic) -> Records:
    return Records.of(
        [
            Raw(number, NOON + number * 100, f"r{number}".encode(), value(topic, number))
            for number in range(REQUESTED)
        ]
    )


def told(desk: Desk) -> list[bytes]:
    """All snapshots once all is closed."""
    desk.close()
    return sorted(map(ENCODER.encode, desk.emitted))


def fed(by: int) -> Desk:
    """Reads a batch of each topic, in turns of `by` records."""
    desk = Desk()
    scanned = {topic: desk.join.scan(topic, batch(topic)) for topic in EVENTS}
    intakes = {topic: desk.join.begin(topic, batch(topic), scanned[topic]) for topic in EVENTS}
    for done in range(0, REQUESTED, by):
        for intake in intakes.values():
            desk.lost += desk.join.take(intake, min(REQUESTED, done + by))
    return desk


def whole() -> Desk:
    """Reads one topic's batch after the other's."""
    desk = Desk()
    for topic in EVENTS:
        desk.lost += desk.join.read(topic, batch(topic))
    return desk


def test_a_batch_that_goes_in_bit_by_bit_says_what_one_says_that_goes_in_at_once() -> None:
    expected = told(whole())
    for by in (1, 3, 17, REQUESTED):
        assert told(fed(by)) == expected


def test_what_is_no_event_is_answered_with_the_bit_that_it_stands_in() -> None:
    desk = Desk()
    intake = desk.join.begin(REQUESTS, batch(REQUESTS), desk.join.scan(REQUESTS, batch(REQUESTS)))
    offsets = [
        [lost.record.offset for lost in desk.join.take(intake, until)] for until in (3, 4, 4, 11, REQUESTED)
    ]
    assert offsets == [[], [3], [], [10], [17, 24, 31, 38]]


def test_the_clock_is_that_of_what_was_taken_in() -> None:
    desk = Desk()
    intake = desk.join.begin(REQUESTS, batch(REQUESTS), desk.join.scan(REQUESTS, batch(REQUESTS)))
    assert desk.join.clock(REQUESTS) < NOON
    desk.join.take(intake, 11)
    assert desk.join.clock(REQUESTS) == NOON + 900  # the eleventh is none
