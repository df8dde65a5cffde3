"""The records, held against the contract: its fields, and the example payloads in `schemas/examples`.

Every example goes through the decoder, and independently through a JSON Schema validator with the exported
schema: both must agree. A bad example says `"schema": "cannot say"` where only the decoder can know.
"""

import base64
import json
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import schemas
from schemas import json_schema, topics
from schemas.records import ENCODER, TYPES, Alert, Codec, PolicyRecord, Prediction, Release, Request, problem
from schemas.timeline import Timeline
from schemas.topics import Topic

EXAMPLES = Path(schemas.__file__).parent / "examples"
TOPICS = {topic.name: topic for topic in TYPES}
NOW = 1_735_700_000_000
"""The Kafka timestamp (ms) of examples that do not name one."""

CONTRACT = {
    "inference.requests": (
        "request_id ts model",
        "items inputs features user surface segments k deadline_ms",
    ),
    "inference.predictions": (
        "request_id ts model version arm status latency_ms",
        "generation items scores shown propensities infer_ms queue_ms batch worker user surface segments "
        "features error",
    ),
    "feedback.events": ("request_id ts kind", "item value event_id"),
    "metrics.samples": ("model ts name value", "version phase labels"),
    "control.policies": ("model ts policy actor", ""),
    "control.commands": ("model ts command command_id actor", "version mode reason generation"),
    "control.releases": (
        "model generation ts stable decision_id reason",
        "candidate shadow weight phase salt evidence",
    ),
    "control.acks": ("model worker ts kind generation", "status loaded error available"),
    "alerts": (
        "alert_id model rule status severity starts_at",
        "ends_at value threshold labels annotations",
    ),
    "control.silences": ("model silence_id ts ends_at actor reason", "rule labels ended_by"),
    "dead.letters": ("ts topic partition offset stage reason", "key value"),
}
"""The contract's section 2: required (starred) and optional fields of each topic's records, and what has been
added since: a command's `generation`, an ack's `available`."""


class Good(NamedTuple):
    topic: Topic
    value: bytes


class Bad(NamedTuple):
    topic: Topic
    value: bytes
    reason: str
    in_schema: bool
    """Whether the schema can say what is wrong."""
    timestamp: int
    policy: bool
    """Whether the mistake is inside the policy that the record carries."""


def _cases(kind: str) -> list[Any]:
    paths = sorted(path for path in EXAMPLES.glob(f"*/{kind}/*") if path.is_file())
    load = _good if kind == "good" else _bad
    return [
        pytest.param(load(TOPICS[path.parts[-3]], path), id=f"{path.parts[-3]}-{path.stem}") for path in paths
    ]


def _good(topic: Topic, path: Path) -> Good:
    return Good(topic, path.read_bytes())


def _bad(topic: Topic, path: Path) -> Bad:
    example = json.loads(path.read_bytes())
    raw = (
        base64.b64decode(example["base64"]) if "base64" in example else json.dumps(example["value"]).encode()
    )
    in_schema = example.get("schema") != "cannot say"
    policy = example.get("read") == "policy"
    return Bad(topic, raw, example["reason"], in_schema, example.get("timestamp", NOW), policy)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _allowed_by_schema(topic: Topic, value: bytes) -> bool:
    framed = value[:1] == b"\0" and len(value) > 5
    try:
        document = json.loads((value[5:] if framed else value).decode("utf-8"), parse_constant=_refuse)
    except ValueError:
        return False
    return bool(Draft202012Validator(json_schema.schema(topic)).is_valid(document))


def _complaint(bad: Bad) -> str | None:
    codec: Codec[Any] = Codec(TYPES[bad.topic])
    try:
        record = codec.decode(bad.value)
        if bad.policy:
            Timeline().read(bad.value, bad.timestamp)
    except msgspec.DecodeError as error:
        return str(error)
    except Exception as error:
        return str(error) if bad.policy else pytest.fail(f"not a DecodeError: {error!r}")
    return problem(record, bad.timestamp)


def test_every_topic_with_a_public_record_has_good_and_bad_examples() -> None:
    for topic in TYPES:
        assert any((EXAMPLES / topic.name / "good").iterdir()), topic.name
        assert any((EXAMPLES / topic.name / "bad").iterdir()), topic.name


def test_no_examples_stand_for_a_topic_that_there_is_not() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} <= {topic.name for topic in topics.ALL}


@pytest.mark.parametrize("good", _cases("good"))
def test_a_good_example_decodes_and_the_schema_allows_it(good: Good) -> None:
    record = Codec[Any](TYPES[good.topic]).decode(good.value)
    timed = hasattr(record, "ts")
    assert not timed or problem(record, NOW) is None
    assert _allowed_by_schema(good.topic, good.value)


@pytest.mark.parametrize("good", _cases("good"))
def test_a_good_example_survives_being_written_again(good: Good) -> None:
    codec = Codec[Any](TYPES[good.topic])
    record = codec.decode(good.value)
    again = ENCODER.encode(record)
    assert codec.decode(again) == record
    assert _allowed_by_schema(good.topic, again)


@pytest.mark.parametrize("bad", _cases("bad"))
def test_a_bad_example_is_refused_for_the_reason_beside_it(bad: Bad) -> None:
    complaint = _complaint(bad)
    assert complaint is not None, "was taken for a good one"
    assert bad.reason in complaint


@pytest.mark.parametrize("bad", _cases("bad"))
def test_the_schema_refuses_a_bad_example_where_it_can(bad: Bad) -> None:
    assert _allowed_by_schema(bad.topic, bad.value) is not bad.in_schema


@pytest.mark.parametrize("name", CONTRACT)
def test_a_record_has_the_contracts_fields(name: str) -> None:
    required, optional = (set(fields.split()) for fields in CONTRACT[name])
    fields = {field.name: field for field in msgspec.structs.fields(TYPES[TOPICS[name]])}
    assert {name for name, field in fields.items() if field.required} == required
    assert fields.keys() - required == optional


@pytest.mark.parametrize("topic", TYPES, ids=lambda topic: topic.name)
def test_an_exported_schema_is_a_schema_that_explains_itself(topic: Topic) -> None:
    document = json_schema.schema(topic)
    Draft202012Validator.check_schema(document)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["$id"] == f"urn:headgate:{topic.name}"
    assert document["title"] == topic.name
    assert topic.name in document["description"]


def test_schemas_are_exported_one_file_a_topic(tmp_path: Path) -> None:
    paths = json_schema.export(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == [f"{topic.name}.schema.json" for topic in TYPES]
    for path, topic in zip(paths, TYPES, strict=True):
        assert json.loads(path.read_bytes()) == json_schema.schema(topic)


def test_no_value_at_all_is_a_mistake_with_a_reason() -> None:
    with pytest.raises(msgspec.DecodeError, match="found null, expected a JSON object"):
        Codec[Request](Request).decode(None)


def test_nesting_without_end_is_a_mistake_with_a_reason() -> None:
    nested = b'{"request_id":"r","ts":1735689600000,"model":"m","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(msgspec.DecodeError, match="nested too deeply"):
        Codec[Request](Request).decode(nested)


def test_a_value_of_a_mebibyte_is_only_large() -> None:
    value = json.dumps({"request_id": "r", "ts": NOW, "model": "m", "note": "x" * (1 << 20)}).encode()
    assert Codec[Request](Request).decode(value).request_id == "r"


@given(st.binary(max_size=300))
def test_any_bytes_decode_or_are_a_mistake_with_a_reason(value: bytes) -> None:
    codec = Codec[Prediction](Prediction)
    try:
        codec.decode(value)
    except msgspec.DecodeError as error:
        assert str(error)


def test_a_release_and_an_alert_are_written_with_all_their_fields() -> None:
    release = Release(model="m", generation=1, ts=NOW, stable="v1", decision_id="d", reason="first start")
    assert json.loads(ENCODER.encode(release)).keys() == set(Release.__struct_fields__)
    alert = Alert(alert_id="a", model="m", rule="r", status="firing", severity="page", starts_at=NOW)
    assert json.loads(ENCODER.encode(alert)).keys() == set(Alert.__struct_fields__)


def test_a_prediction_without_news_is_written_without_empty_fields() -> None:
    prediction = Prediction(
        request_id="r", ts=NOW, model="m", version="v", arm="stable", status="ok", latency_ms=1.5
    )
    assert json.loads(ENCODER.encode(prediction)).keys() == set(CONTRACT["inference.predictions"][0].split())


def test_a_policy_passes_through_its_record_untouched() -> None:
    value = b'{"model":"m","ts":1735689600000,"actor":"a","policy":{"model": "m",  "pane":"10s"}}'
    assert bytes(Codec[PolicyRecord](PolicyRecord).decode(value).policy) == b'{"model": "m",  "pane":"10s"}'
