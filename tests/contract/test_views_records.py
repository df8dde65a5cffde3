"""The views of records show the records, each once, as they stand last."""

import json
from datetime import UTC, datetime

import msgspec
import pytest

from schemas.records import Ack, Alert, CommandRecord, DeadLetter, PolicyRecord, Release, Sample, Silence
from tests.contract.view_world import NOON, Database


def policy(psi: float) -> PolicyRecord:
    text = json.dumps({"model": "ranker", "drift": {"psi": psi}})
    return PolicyRecord(model="ranker", ts=NOON, policy=msgspec.Raw(text.encode()), actor="ann")


def alert(status: str, **fields: object) -> Alert:
    values = {"alert_id": "a1", "model": "ranker", "rule": "slow", "severity": "page", "starts_at": NOON}
    return Alert(**values, status=status, **fields)  # type: ignore[arg-type]


SENT: dict[str, msgspec.Struct] = {
    "alerts": alert("resolved", ends_at=NOON + 5, value=1.5, threshold=1.0, labels={"a": "b"}),
    "releases": Release(
        model="ranker", generation=3, ts=NOON, stable="v1", decision_id="d", reason="r", evidence={"x": [1]}
    ),
    "acks": Ack(
        model="ranker", worker="w", ts=NOON, kind="ack", generation=3, status="applied", loaded=["v1"]
    ),
    "commands": CommandRecord(
        model="ranker", ts=NOON, command="start", command_id="c", actor="ann", version="v2"
    ),
    "policies": policy(0.3),
    "samples": Sample(model="ranker", ts=NOON, name="loss", value=0.25, phase="training", labels={"a": "b"}),
    "silences": Silence(
        model="ranker", silence_id="s", ts=NOON, ends_at=NOON + 9, actor="ann", reason="r", labels={"a": "b"}
    ),
    "dead_letters": DeadLetter(
        ts=NOON, topic="acks", partition=1, offset=2, stage="sink", reason="no", key="k"
    ),
}


@pytest.mark.parametrize("view", SENT)
def test_a_records_view_has_the_records_fields_and_nothing_else(database: Database, view: str) -> None:
    record = SENT[view]
    database.write(record)
    result = database.client.query(f"SELECT * FROM {view}")
    assert set(result.column_names) == set(record.__struct_fields__)
    [row] = result.result_rows
    assert [plain(value) for value in row] == [plain(getattr(record, name)) for name in result.column_names]


def plain(value: object) -> object:
    """A value as the view and the record can both be put: times in ms, objects from JSON text, what is absent
    as None."""
    if isinstance(value, datetime):
        return round(value.replace(tzinfo=UTC).timestamp() * 1000)
    if isinstance(value, msgspec.Raw):
        return json.loads(bytes(value))
    if isinstance(value, str) and value.startswith("{"):
        return json.loads(value)
    return value or None


def test_an_alert_is_shown_as_it_stands_last(database: Database) -> None:
    database.write(alert("firing"), alert("resolved", ends_at=NOON + 1))
    database.write(alert("firing"))  # read again, from offset 0
    assert database.read("SELECT status FROM alerts") == [("resolved",)]


def test_a_silence_is_shown_as_it_stands_last(database: Database) -> None:
    made = Silence(model="ranker", silence_id="s", ts=NOON, ends_at=NOON + 9, actor="ann", reason="r")
    database.write(made, msgspec.structs.replace(made, ends_at=NOON + 5, ended_by="bob"))
    assert database.read("SELECT ended_by FROM silences") == [("bob",)]


def test_a_dead_letter_is_shown_once_per_stage_and_place(database: Database) -> None:
    letters = [
        DeadLetter(ts=NOON + i, topic="t", partition=0, offset=7, stage=stage, reason="r")
        for i, stage in enumerate(["join", "join", "sink"])
    ]
    database.write(*letters)
    assert database.read("SELECT stage FROM dead_letters ORDER BY stage") == [("join",), ("sink",)]


def test_heartbeats_of_one_instant_are_all_shown_and_repeats_once(database: Database) -> None:
    beat = Ack(model="ranker", worker="w", ts=NOON, kind="heartbeat", generation=1)
    database.write(beat, beat)
    database.write(beat, beat)
    assert database.read("SELECT count() FROM acks") == [(2,)]
