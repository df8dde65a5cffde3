"""Records that are no events: dead letters with their reason, and records in the wrong partition."""

import json

import pytest

from schemas.records import ORIGIN
from schemas.topics import EVENTS, FEEDBACK, PREDICTIONS, REQUESTS, Topic
from streams.join.arrivals import ORIGINS, Fault
from tests.oracle.desk import DEADLINE, NOON, PANE, Desk
from tests.oracle.log import partition_of
from tests.oracle.truth import Series

DAY = 86_400_000
GOOD: dict[Topic, dict[str, object]] = {
    REQUESTS: {"request_id": "r", "ts": NOON, "model": "ranker"},
    PREDICTIONS: {
        "request_id": "r", "ts": NOON, "model": "ranker", "version": "v1", "arm": "stable", "status": "ok",
        "latency_ms": 1,
    },
    FEEDBACK: {"request_id": "r", "ts": NOON, "kind": "click"},
}  # fmt: skip


def without(fields: dict[str, object], name: str) -> bytes:
    return json.dumps({key: value for key, value in fields.items() if key != name}).encode()


def with_(fields: dict[str, object], **others: object) -> bytes:
    return json.dumps(fields | others).encode()


BAD = {
    "nothing": b"",
    "null": None,
    "no JSON": b"{",
    "no object": b"[1]",
    "two objects": with_(GOOD[FEEDBACK]) + b"," + with_(GOOD[FEEDBACK]),
    "no UTF-8": b'{"request_id": "\xff", "ts": 1767268800000, "kind": "click"}',
    "1 MiB of nothing": b"\0" * (1 << 20),
    "1 MiB of brackets": b"[" * (1 << 20),
    "framing alone": b"\0\0\0\0\1",
    "framing and no JSON": b"\0\0\0\0\1avro",
    "the year 1970": with_(GOOD[FEEDBACK], ts=1),
    "the year 3000": with_(GOOD[FEEDBACK], ts=32_503_680_000_000),
    "more than a day ahead": with_(GOOD[FEEDBACK], ts=NOON + DAY + 1),
    "a fractional time": with_(GOOD[FEEDBACK], ts=NOON + 0.5),
    "an item of another type": with_(GOOD[FEEDBACK], item=[1]),
    "a boolean item": with_(GOOD[FEEDBACK], item=True),
}
"""Values that are feedback of no kind."""


@pytest.mark.parametrize("value", BAD.values(), ids=BAD.keys())
def test_a_bad_record_is_a_dead_letter_and_the_good_ones_around_it_count(value: bytes | None) -> None:
    desk = Desk()
    desk.prediction(0)
    desk.raw(FEEDBACK, value)
    desk.feedback(1)
    assert desk.counts(model="") == {"dead_letters": 1}
    assert desk.sums()["clicks"] == 1
    assert [lost.fault for lost in desk.lost] == [Fault.UNREADABLE]


@pytest.mark.parametrize("value", BAD.values(), ids=BAD.keys())
def test_a_bad_record_between_good_ones_of_its_batch_takes_none_with_it(value: bytes | None) -> None:
    desk = Desk()
    values = [with_(GOOD[FEEDBACK], item="a"), value, with_(GOOD[FEEDBACK], item="b")]
    desk.batch(FEEDBACK, values)
    assert desk.counts(model="") == {"dead_letters": 1, "unmatched": 2}


@pytest.mark.parametrize(
    ("topic", "name"), [(topic, name) for topic in EVENTS for name in GOOD[topic]], ids=str
)
def test_a_record_that_misses_a_required_field_is_a_dead_letter_that_names_it(
    topic: Topic, name: str
) -> None:
    desk = Desk()
    desk.raw(topic, without(GOOD[topic], name))
    assert desk.lost[0].reason.startswith(f"{name}: found nothing")


@pytest.mark.parametrize("name", ["scores", "propensities"])
def test_lists_that_are_not_of_one_length_make_a_dead_letter(name: str) -> None:
    desk = Desk()
    desk.raw(PREDICTIONS, with_(GOOD[PREDICTIONS], items=["a", "b"], **{name: [0.5]}))
    assert desk.counts(model="") == {"dead_letters": 1}


def test_a_dead_letter_stands_in_the_pane_of_its_kafka_timestamp_and_moves_no_clock() -> None:
    desk = Desk()
    desk.raw(PREDICTIONS, with_(GOOD[PREDICTIONS], ts=NOON + 2 * DAY), kafka=DEADLINE + 1)
    desk.prediction(0, kafka=DEADLINE)
    assert desk.counts(start=DEADLINE + 1 - (DEADLINE + 1) % PANE, model="") == {"dead_letters": 1}
    assert desk.sums()["predictions"] == 1


def test_a_good_record_behind_confluent_framing_counts() -> None:
    desk = Desk()
    desk.raw(PREDICTIONS, b"\0\0\0\0\7" + with_(GOOD[PREDICTIONS]))
    assert desk.sums()["predictions"] == 1


def test_null_in_an_optional_field_is_as_if_it_were_absent() -> None:
    desk = Desk()
    desk.raw(PREDICTIONS, with_(GOOD[PREDICTIONS], items=None, shown=None, surface=None, segments=None))
    assert desk.sums() == {"predictions": 1}


def in_partition(number: int) -> str:
    """A request id of that partition of 2."""
    return next(f"r{i}" for i in range(100) if partition_of(f"r{i}".encode(), 2) == number)


def test_a_record_in_another_partition_than_its_request_ids_is_mispartitioned() -> None:
    desk = Desk(partition=0, count=2)
    desk.prediction(0, request_id=in_partition(1))
    assert desk.sums() == {"mispartitioned": 1}
    assert [lost.fault for lost in desk.lost] == [Fault.MISPLACED]


def test_a_record_without_a_key_is_mispartitioned_wherever_it_is() -> None:
    desk = Desk()
    desk.raw(PREDICTIONS, with_(GOOD[PREDICTIONS]), key=None)
    assert desk.sums() == {"mispartitioned": 1}


def test_a_mispartitioned_record_moves_the_clock_where_it_is() -> None:
    desk = Desk(partition=0, count=2)
    desk.prediction(DEADLINE + 1, request_id=in_partition(1))
    desk.prediction(0, kafka=DEADLINE, request_id=in_partition(0))
    assert desk.sums(start=DEADLINE)["late"] == 1


def test_a_re_published_record_counts_once_however_often_it_comes() -> None:
    desk = Desk()
    for _ in range(3):
        headers = ((ORIGIN, b"inference.predictions/5/17"),)
        desk.raw(PREDICTIONS, with_(GOOD[PREDICTIONS]), headers=headers)
    assert desk.sums() == {"predictions": 1}


def test_a_re_published_record_that_comes_again_after_long_is_ignored_by_a_successor_too() -> None:
    headers = ((ORIGIN, b"inference.predictions/5/17"),)
    first = Desk()
    first.raw(PREDICTIONS, with_(GOOD[PREDICTIONS]), headers=headers)
    first.pass_time(DEADLINE + 1)
    starts = {topic: first.join.safe(topic) for topic in EVENTS}
    second = Desk(starts=starts, time=first.join.time)
    second.pass_time(2 * DEADLINE)
    second.raw(PREDICTIONS, with_(GOOD[PREDICTIONS]), headers=headers)
    assert second.close() == {}


@pytest.mark.parametrize("origin", [None, b"", b"elsewhere", b"a/b/c", b"\xff", b"a/1/" + b"9" * 5_000])
def test_a_record_with_an_origin_of_somebody_elses_counts(origin: bytes | None) -> None:
    desk = Desk()
    desk.raw(PREDICTIONS, with_(GOOD[PREDICTIONS]), headers=((ORIGIN, origin),))
    assert desk.sums() == {"predictions": 1}


def test_what_is_kept_of_origins_of_somebody_elses_fits_into_a_commit() -> None:
    desk = Desk()
    for i in range(2 * ORIGINS):
        desk.raw(PREDICTIONS, with_(GOOD[PREDICTIONS]), headers=((ORIGIN, b"%d" % i + 60_000 * b"x"),))
    desk.pass_time(DEADLINE + 1)
    kept = json.dumps(dict(desk.join.safe(PREDICTIONS).origins))
    assert 0 < len(kept) < 4_000


def test_a_record_with_a_clock_too_far_ahead_is_skewed_under_its_own_name() -> None:
    desk = Desk()
    desk.request(10 * PANE * 60, kafka=0)
    desk.feedback(10 * PANE * 60, kafka=0)
    closed = desk.close()
    assert closed[Series("ranker", "", "", "", "", 0)].sums["skewed"] == 1
    assert closed[Series("", "", "", "", "", 0)].sums["skewed"] == 1
