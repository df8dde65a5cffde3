"""What a dead letter says: which field, what was found, what was expected."""

import json

import msgspec
import pytest

from schemas.reasons import LONGEST
from schemas.records import Codec, PaneRecord, Prediction

GOOD = {
    "request_id": "r", "ts": 1_767_268_800_000, "model": "ranker", "version": "v1", "arm": "stable",
    "status": "ok", "latency_ms": 1,
}  # fmt: skip


def reason(value: bytes, type_: object = Prediction) -> str:
    codec: Codec[object] = Codec(type_)
    with pytest.raises(msgspec.DecodeError) as caught:
        codec.decode(value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"ts": 0}, "ts: found 0, expected int >= 946684800000"),
        ({"latency_ms": "1"}, 'latency_ms: found "1", expected float'),
        ({"items": ["a", 1.5]}, "items[1]: found 1.5, expected int | str"),
        ({"arm": "blue"}, 'arm: found "blue", expected one of stable, candidate, shadow'),
        ({"features": {"age": []}}, "features[...]: found array, expected bool | float | str | null"),
        ({"generation": -1}, "generation: found -1, expected int >= 0"),
    ],
)
def test_a_wrong_field_is_named_with_what_it_holds_and_what_it_may_hold(
    change: dict[str, object], expected: str
) -> None:
    assert reason(json.dumps(GOOD | change).encode()) == expected


def test_a_missing_field_is_named() -> None:
    assert reason(b"{}") == "request_id: found nothing, expected this field, which is required"


def test_what_is_no_json_is_said_to_be_none() -> None:
    assert reason(b'{"a":').startswith("value: found no JSON (")


def test_json_that_is_no_object_is_said_to_be_none() -> None:
    assert reason(b"[1]") == "value: found array, expected object"


def test_a_long_value_is_cut() -> None:
    assert len(reason(json.dumps(GOOD | {"items": "x" * 1_000_000}).encode())) < 2 * LONGEST


def test_a_kind_of_record_that_is_none_is_told_the_kinds() -> None:
    assert reason(b'{"kind":"x"}', PaneRecord) == 'kind: found "x", expected one of pane, progress'
