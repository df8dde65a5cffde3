"""Laws of the scanners: whatever bytes come, they say what msgspec and `problem` say, field by field."""

import json
import random
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import topics
from schemas.records import ENCODER
from schemas.topics import Topic
from streams.join.numbers import number
from streams.join.text import hash_of
from tests.scanning import NOON, SCANS, array, check

DAY = 86_400_000

TEXT = st.text(max_size=12) | st.sampled_from(
    ["", "7", "é", "日本語", "\U0001f600", '"', "\\", "/", "\x00", "\x7f", "a\nb"]
)
NUMBER = (
    st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**25), 10**25) | st.integers(-9, 9)
)
SMALL = st.integers(0, 20)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NAME = st.text(min_size=1, max_size=12) | st.sampled_from(["ranker", "r-1", "ü", "tab\t"])
ITEM = st.text(max_size=6) | st.integers(-(10**22), 10**22) | SMALL
LISTS = st.integers(0, 4).flatmap(
    lambda n: st.tuples(*[st.lists(each, min_size=n, max_size=n) for each in (ITEM, NUMBER, NUMBER)])
)
MILLISECONDS = st.floats(0, allow_infinity=False) | st.integers(0, 10**6)
COUNT = st.integers(0, (1 << 63) - 1) | SMALL
FEATURES = st.dictionaries(TEXT, st.none() | st.booleans() | NUMBER | TEXT, max_size=5)
SEGMENTS = st.dictionaries(TEXT, TEXT, max_size=4)
TS = st.integers(NOON - DAY, NOON + DAY) | st.sampled_from(
    [NOON + DAY + 1, 946_684_800_000, 946_684_799_999, 10_413_792_000_000]
)

SUBJECT = {
    "user": TEXT | st.integers(-(10**20), 10**20),
    "surface": TEXT,
    "segments": SEGMENTS,
    "features": FEATURES,
}
FIELDS: dict[Topic, tuple[dict[str, st.SearchStrategy[object]], dict[str, st.SearchStrategy[object]]]] = {
    topics.REQUESTS: (
        {"request_id": NAME, "ts": TS, "model": NAME},
        {
            **SUBJECT,
            "items": st.lists(ITEM, max_size=4),
            "inputs": st.dictionaries(TEXT, JSON, max_size=3),
            "k": COUNT,
            "deadline_ms": MILLISECONDS,
        },
    ),
    topics.PREDICTIONS: (
        {
            "request_id": NAME, "ts": TS, "model": NAME, "version": NAME,
            "arm": st.sampled_from(["stable", "candidate", "shadow"]),
            "status": st.sampled_from(["ok", "error", "timeout", "shed"]),
            "latency_ms": MILLISECONDS,
        },
        {
            **SUBJECT,
            "generation": COUNT, "shown": COUNT, "infer_ms": MILLISECONDS, "queue_ms": MILLISECONDS,
            "batch": COUNT, "worker": TEXT, "error": TEXT,
            "items": st.lists(ITEM, max_size=3), "scores": st.lists(NUMBER, max_size=3),
            "propensities": st.lists(NUMBER, max_size=3),
        },
    ),
    topics.FEEDBACK: (
        {"request_id": NAME, "ts": TS, "kind": NAME},
        {"item": ITEM, "value": NUMBER, "event_id": TEXT},
    ),
}  # fmt: skip

WRITERS: list[Callable[[object], str]] = [
    json.dumps,
    lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")),
    lambda value: json.dumps(value, ensure_ascii=False, indent=1),
    lambda value: json.dumps(value, separators=(" ,\r\n\t", " : ")).replace("/", "\\/"),
]
"""Ways to write the same object."""


@st.composite
def valid(draw: st.DrawFn, topic: Topic) -> dict[str, object]:
    """An object with all required fields and some of the others, nulls among them, in any order, beside
    unknown ones.
    """
    required, optional = FIELDS[topic]
    fields: dict[str, object] = {name: draw(strategy) for name, strategy in required.items()}
    for name in draw(st.sets(st.sampled_from(sorted(optional)))):
        fields[name] = draw(st.none() | optional[name])
    if topic is topics.PREDICTIONS and draw(st.booleans()):
        fields |= zip(("items", "scores", "propensities"), draw(LISTS), strict=True)
    fields |= draw(st.dictionaries(st.text(min_size=1, max_size=18), JSON, max_size=2))
    return dict(draw(st.permutations(sorted(fields.items(), key=lambda pair: pair[0]))))


@st.composite
def messy(draw: st.DrawFn, topic: Topic) -> bytes:
    """JSON of such an object where now and then a field is missing, of any type, or there twice."""
    fields = draw(valid(topic))
    written = draw(st.sampled_from(WRITERS))
    parts = []
    for name, right in fields.items():
        value = draw(st.sampled_from([right] * 9 + [draw(JSON)]))
        parts += [f"{written(name)}:{written(value)}"] * draw(st.sampled_from([1] * 20 + [0, 2]))
    return ("{" + ", ".join(parts) + "}").encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("topic", SCANS, ids=lambda topic: topic.name)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_event_is_scanned_as_it_is_decoded(topic: Topic, data: st.DataObject) -> None:
    written = data.draw(st.sampled_from(WRITERS))
    values = [
        written(fields).encode("utf-8", "surrogatepass")
        for fields in data.draw(st.lists(valid(topic), min_size=1, max_size=4))
    ]
    check(topic, [*values, b"\0\0\0\0\1" + values[0]])


@pytest.mark.parametrize("topic", SCANS, ids=lambda topic: topic.name)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_stands_in_a_field_is_judged_as_msgspec_judges_it(topic: Topic, data: st.DataObject) -> None:
    check(topic, data.draw(st.lists(messy(topic), min_size=1, max_size=4)))


SEEDS: dict[Topic, list[dict[str, object]]] = {
    topics.REQUESTS: [
        {
            "request_id": "request-000017", "ts": NOON, "model": "ranker", "items": [1, "b", 37],
            "inputs": {"x": [[1.5, -2], [0.25, 1e-7]], "n": None}, "user": "user-7", "surface": "home",
            "features": {"age": 31, "basket": 0.3017, "new": True, "tier": "gold", "none": None},
            "segments": {"country": "dé", "device": "phone"}, "k": 10, "deadline_ms": 50.5,
        },
        {"ts": NOON, "request_id": "r", "model": "m"},
    ],
    topics.PREDICTIONS: [
        {
            "request_id": "request-000017", "ts": NOON, "model": "ranker", "version": "v1", "arm": "stable",
            "status": "ok", "latency_ms": 7.25, "generation": 3, "items": [1, "b", 37],
            "scores": [0.9, 0.5, 1e-3], "shown": 2, "propensities": [0.5, 0.25, 0.25], "infer_ms": 1.25,
            "queue_ms": 3, "batch": 16, "worker": "w-1", "user": 7, "surface": "home",
            "segments": {"country": "de"}, "features": {"age": 31, "tier": "gold"},
            "error": 'line\n"quoted"',
        },
        {
            "request_id": "r2", "ts": NOON, "model": "ranker", "version": "v2", "arm": "candidate",
            "status": "timeout", "latency_ms": 200,
        },
    ],
    topics.FEEDBACK: [
        {"request_id": "request-000017", "ts": NOON, "kind": "click", "item": 37},
        {
            "request_id": "request-000018", "ts": NOON, "kind": "label", "item": "b", "value": -0.5,
            "event_id": "e-1", "page": [{"x": [1, {}]}],
        },
    ],
}  # fmt: skip

SPLINTERS = [
    b"null", b"true", b"0", b"-", b"-0", b"01", b"1e5", b"1E400", b"NaN", b"Infinity", b"1.", b".5",
    b"123456789012345678901234567890", b"9223372036854775808", b'"', b'""', b"\\", b"\\u0041", b"\\ud800",
    b"\\/", b"\\n", b"{", b"}", b"[", b"]", b",", b":", b" ", b"\n", b"\0", b"\x01", b"\x7f", b"\xff",
    b"\xc3\xa9", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"{}", b"[]", b'"a":1,', b'"ts":1,',
    b'"user":null,', b'{"a":1,"a":2}', b"[" * 40, b"[" * 40 + b"]" * 40, b"\xef\xbb\xbf", b"\0\0\0\0\1",
    b"/**/",
]  # fmt: skip
"""What is put into records, or over parts of them."""


def mutated(rng: random.Random, value: bytes) -> bytes:
    """The value with one to three wounds."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(value) + 1)
        match rng.randrange(6):
            case 0:
                value = (
                    value[:at] + bytes([value[at] ^ 1 << rng.randrange(8)]) + value[at + 1 :]
                    if at < len(value)
                    else value
                )
            case 1:
                value = value[:at] if rng.random() < 0.3 else value[:at] + value[at + rng.randrange(4) :]
            case 2:
                value = value[:at] + rng.choice(SPLINTERS) + value[at:]
            case 3:
                value = value[:at] + rng.choice(SPLINTERS) + value[at + rng.randrange(6) :]
            case 4:
                value = value[:at] + rng.randbytes(rng.randrange(1, 4)) + value[at:]
            case _:  # one piece of it twice
                until = at + rng.randrange(30)
                value = value[:until] + value[at:]
    return value


@pytest.mark.parametrize("topic", SCANS, ids=lambda topic: topic.name)
def test_wounded_records_are_judged_as_msgspec_judges_them(topic: Topic) -> None:
    rng = random.Random(topic.name)
    seeds = [ENCODER.encode(fields) for fields in SEEDS[topic]] + [
        json.dumps(fields).encode() for fields in SEEDS[topic]
    ]
    values: list[bytes | None] = [mutated(rng, rng.choice(seeds)) for _ in range(35_000)]
    good = check(topic, values)
    assert 1_000 < good < 30_000


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_the_double_that_python_reads(value: float) -> None:
    for written in (repr(value), ENCODER.encode(value).decode()):
        assert struct.pack("d", number(array(written), 0, len(written))) == struct.pack("d", value)


@given(st.integers(-(10**19) + 1, 10**19 - 1), st.integers(-400, 400))
def test_a_number_of_nineteen_digits_is_rounded_as_python_rounds_it(mantissa: int, power: int) -> None:
    written = f"{mantissa}e{power}"
    assert number(array(written), 0, len(written)) == float(written)


@given(st.lists(st.text(max_size=40), min_size=2, max_size=2, unique=True))
def test_different_texts_have_different_hashes_and_none_is_zero(texts: list[str]) -> None:
    one, other = map(hash_of, texts)
    assert one != other
    assert one and other
