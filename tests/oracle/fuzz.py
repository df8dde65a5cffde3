"""Records that something went wrong with: bits that flipped, bytes that got lost, producers with bugs. Of
the same random numbers always the same.
"""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from random import Random
from typing import Any

from schemas.records import Codec, Feedback, Prediction, Request
from schemas.topics import EVENTS, FEEDBACK, PREDICTIONS, REQUESTS, Topic
from tests.oracle import random_records
from tests.oracle.log import Raw, valid
from tests.oracle.random_streams import BASE

ODD = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e400", "9" * 400, "-0", "1.0", "1e5", "1E-7", "01", "+1",
    "18446744073709551616", "9223372036854775808", "-9223372036854775809", "1767225600000.0", ".5", "1.",
    "0.1234567890123456789012345678901234567890", "4.9406564584124654e-324", "1e300", "3e38",
    "null", "true", "false", "[]", "{}", '""', '"x"', "[1]", '{"a":1}', '"\\ud800"', '"\\u0000"', '"\\"',
    "'x'",
    '"\\u00e9"', '"é😀"', "[" * 40 + "]" * 40, '{"a":' * 40 + "1" + "}" * 40, "1767225600000", "-5",
    '["x","y","z"]', "[7,7,7]", "[0.5,0.5]", '[null,"x"]', '{"age":[1]}', '{"age":{}}', "1767225600000000",
)  # fmt: skip
"""Values that stand where others are expected, as JSON or nearly so."""


CODECS: dict[Topic, Codec[Any]] = {
    REQUESTS: Codec(Request),
    PREDICTIONS: Codec(Prediction),
    FEEDBACK: Codec(Feedback),
}


def records(seed: int, count: int) -> dict[Topic, list[Raw]]:
    """So many records of all three topics together, 5 ms between them, most of them mutated, some out of
    order, some without a key."""
    rng = Random(seed)
    found: dict[Topic, list[Raw]] = {topic: [] for topic in EVENTS}
    for number, (topic, fields) in enumerate(islice(visits(rng, count), count)):
        now = BASE + 5 * number
        value = json.dumps(fields | {"ts": now - rng.choice([0, 0, 0, 20, 900, 5_000])}).encode()
        if rng.random() < 0.75:
            value = mutated(rng, value)
        key = str(fields["request_id"]).encode() if rng.random() < 0.98 else None
        found[topic].append(Raw(len(found[topic]), now, key, value))
    return found


def is_event(topic: Topic, raw: Raw) -> bool:
    """Whether it is one, by the types of the records alone."""
    return valid(CODECS[topic], raw) is not None


def visits(rng: Random, count: int) -> Iterator[tuple[Topic, dict[str, object]]]:
    """Records of `count` visits, each of a request id of its own, and as they should be."""
    for number in range(count):
        for topic, fields in random_records.visit(rng):
            given = {name: value for name, value in fields.items() if value is not None}
            yield topic, given | {"request_id": f"r{number}"}


def mutated(rng: Random, value: bytes) -> bytes:
    """The record with one to three things wrong; sometimes it is still one."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        value = rng.choice(_MUTATIONS)(rng, value)
    return value


def _flip(rng: Random, value: bytes) -> bytes:
    changed = bytearray(value or b"?")
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncate(rng: Random, value: bytes) -> bytes:
    return value[: rng.randrange(len(value) + 1)]


def _overwrite(rng: Random, value: bytes) -> bytes:
    place = rng.randrange(len(value) + 1)
    return value[:place] + rng.randbytes(rng.randrange(1, 5)) + value[place + rng.randrange(5) :]


def _insert(rng: Random, value: bytes) -> bytes:
    place = rng.randrange(len(value) + 1)
    odd = rng.choice(
        [b'"', b"\\", b",", b":", b"{", b"]", b"\0", b"\x7f", b"\xc3", b"\xed\xa0\x80", b" ", b"\t", b"1"]
    )
    return value[:place] + odd + value[place:]


def _retype(rng: Random, value: bytes) -> bytes:
    """Another value for a field."""
    return _rewritten(value, lambda names: {rng.choice(names): rng.choice(ODD)}, again=False)


def _repeat(rng: Random, value: bytes) -> bytes:
    """A field that is there twice: the same, or with another value."""
    return _rewritten(value, lambda names: {rng.choice(names): rng.choice(ODD)}, again=True)


def _add(rng: Random, value: bytes) -> bytes:
    """A field that nobody knows, or that others know."""
    name = rng.choice(
        ["x", "", "scores", "value", "features", "shown", "generation", "propensities", "\\u0074s"]
    )
    return _rewritten(value, lambda _: {name: rng.choice(ODD)}, again=True)


def _remove(rng: Random, value: bytes) -> bytes:
    fields = _fields(value)
    if not fields:
        return value
    fields.pop(rng.choice(list(fields)))
    return json.dumps(fields).encode()


def _nest(rng: Random, value: bytes) -> bytes:
    depth = rng.choice([10, 33, 200, 5_000])
    return _rewritten(value, lambda _: {"inputs": "[" * depth + "1" + "]" * depth}, again=True)


def _frame(rng: Random, value: bytes) -> bytes:
    return b"\0" + rng.randbytes(rng.choice([4, 4, 3, 5])) + value


def _restyle(rng: Random, value: bytes) -> bytes:
    """The same, written otherwise: spaces, escapes, another order."""
    fields = _fields(value)
    names = list(fields)
    rng.shuffle(names)
    return json.dumps(
        {name: fields[name] for name in names}, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1])
    ).encode(errors="surrogatepass")


_MUTATIONS: tuple[Callable[[Random, bytes], bytes], ...] = (
    _flip, _flip, _truncate, _overwrite, _insert, _retype, _retype, _repeat, _add, _remove, _nest, _frame,
    _restyle,
)  # fmt: skip


def _rewritten(value: bytes, change: Callable[[list[str]], dict[str, str]], *, again: bool) -> bytes:
    fields = _fields(value)
    if not fields:
        return value
    changes = change(list(fields))
    kept = [
        f"{json.dumps(name)}: {json.dumps(field)}"
        for name, field in fields.items()
        if again or name not in changes
    ]
    added = [f'"{name}": {odd}' for name, odd in changes.items()]
    return ("{" + ", ".join([*kept, *added]) + "}").encode(errors="surrogatepass")


def _fields(value: bytes) -> dict[str, object]:
    """What is left of the record's fields; nothing where it is no object any more."""
    try:
        fields = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}
