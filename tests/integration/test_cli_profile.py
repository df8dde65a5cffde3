"""`headgate profile` on a real broker: what it makes of files and of the log, and one profile a version."""

import json
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from infra.topics import create
from schemas import topics
from schemas.records import ENCODER, Distribution, Prediction, Profile, Request
from schemas.settings import Settings
from serving.repository import Repository
from streams.log import Follower, Output
from tests import serving_models
from tests.integration.headgate_command import Headgate

NOON = 1_735_732_800_000
"""2025-01-01 12:00 UTC."""
HOUR = 3_600_000


@pytest.fixture(scope="module")
def headgate(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Headgate:
    create(settings, forever=True)
    return Headgate(settings, tmp_path_factory.mktemp("headgate"))


@pytest.fixture
def model() -> str:
    """A model that no other test has."""
    return f"ranker-{uuid4().hex[:8]}"


def request(model: str, number: int, ts: int = NOON, **features: float | str) -> Request:
    return Request(request_id=f"{model} {number}", ts=ts, model=model, features=dict(features))


def prediction(model: str, number: int, ts: int = NOON, **fields: object) -> Prediction:
    plain: dict[str, object] = {
        "request_id": f"{model} {number}", "ts": ts, "model": model, "version": "v1", "arm": "stable",
        "status": "ok", "latency_ms": 1.0, "items": ["a", "b"], "scores": [0.75, 0.25],
    }  # fmt: skip
    return Prediction(**(plain | fields))  # type: ignore[arg-type]


def produce(settings: Settings, *records: Request | Prediction) -> None:
    output = Output(settings)
    for record in records:
        topic = topics.REQUESTS if isinstance(record, Request) else topics.PREDICTIONS
        output.send(topic, record.request_id, ENCODER.encode(record), timestamp=record.ts)
    output.flush()


def events(headgate: Headgate, *records: Request | Prediction) -> str:
    """A file of records as JSON lines."""
    return headgate.file("events.jsonl", "".join(f"{ENCODER.encode(one).decode()}\n" for one in records))


def published(settings: Settings, model: str) -> list[Profile]:
    """A model's profiles in `control.profiles`."""
    follower = Follower(settings, topics.PROFILES)
    try:
        profiles = [msgspec.json.decode(entry.value or b"", type=Profile) for entry in follower.refresh()]
    finally:
        follower.close()
    return [profile for profile in profiles if profile.model == model]


def made(headgate: Headgate, *arguments: str) -> Profile:
    """The profile that a command prints."""
    done = headgate("profile", *arguments, "--json")
    assert done.status == 0, done.err
    return msgspec.json.decode(done.out, type=Profile)


# From files


def test_a_prediction_without_features_has_those_of_its_request(headgate: Headgate, model: str) -> None:
    file = events(
        headgate,
        request(model, 1, age=20.0),
        prediction(model, 1),
        request(model, 2, age=20.0),
        prediction(model, 2, features={"age": 30.0}),
    )
    assert made(headgate, model, "v1", file).features == {
        "age": Distribution(counts=[1, 1], edges=[30.0], lowest=20.0, highest=30.0, deviation=5.0)
    }


def test_scores_are_those_of_ok_predictions(headgate: Headgate, model: str) -> None:
    file = events(headgate, prediction(model, 1), prediction(model, 2, status="error", scores=[0.5, 0.5]))
    score = made(headgate, model, "v1", file).score
    assert score is not None
    assert (score.counts, score.edges) == ([1, 1], [0.75])


def test_other_models_other_versions_and_repeats_are_left_out(headgate: Headgate, model: str) -> None:
    file = events(
        headgate,
        prediction(model, 1, features={"age": 1.0}),
        prediction(model, 1, features={"age": 2.0}),
        prediction(model, 2, features={"age": 3.0}, version="v2"),
        prediction("other", 3, features={"age": 4.0}),
    )
    assert made(headgate, model, "v1", file).features["age"].highest == 1.0


def test_recorded_events_of_replay_are_read_too(headgate: Headgate, model: str) -> None:
    records = [request(model, 1, country="nz"), prediction(model, 1)]
    names = ("inference.requests", "inference.predictions")
    lines = [
        json.dumps(
            {"topic": name, "value": json.loads(ENCODER.encode(one)), "timestamp": NOON, "partition": 0}
        )
        for name, one in zip(names, records, strict=True)
    ]
    lines.append(json.dumps({"topic": "feedback.events", "value": {"request_id": "r"}}))
    file = headgate.file("recorded.jsonl", "\n".join(lines))
    assert made(headgate, model, "v1", file).features["country"].categories == ["nz"]


def test_a_table_has_a_column_a_feature(headgate: Headgate, model: str) -> None:
    file = headgate.file("table.csv", "age,zip,new,score\n1,007,true,0.5\n,8a,false,0.25\n3,007,,\n")
    found = made(headgate, model, "v1", file)
    assert found.features["age"].highest == 3.0
    assert found.features["zip"].categories == ["007", "8a"]
    assert found.features["new"].categories == ["false", "true"]
    assert found.score is not None and found.score.highest == 0.5


def test_people_are_told_what_is_in_it_and_what_is_not(headgate: Headgate, model: str) -> None:
    file = headgate.file("table.csv", "age,city,gone\n1,nz,\n,nz,\n3,,\n")
    done = headgate("profile", model, "v1", file)
    assert done.out.splitlines() == [
        "age: numbers from 1 to 3 in 2 bins, 1 of 3 missing",
        "city: 1 categories, 1 of 3 missing",
        "gone is left out: it has no values",
        "not kept: --out FILE writes it, --publish publishes it",
    ]


def test_records_that_cannot_be_read_are_counted(headgate: Headgate, model: str) -> None:
    good = ENCODER.encode(prediction(model, 1, features={"age": 1.0})).decode()
    file = headgate.file("events.jsonl", f'{good}\n{{"status": "ok", "request_id": 5}}\nno JSON\n')
    done = headgate("profile", model, "v1", file)
    assert "records that could not be read: 2; the first: events.jsonl:2: request_id: found 5" in done.out


def test_a_written_profile_is_what_a_serving_worker_takes(headgate: Headgate, tmp_path: Path) -> None:
    folder = serving_models.add_version(tmp_path, "v1")
    file = events(headgate, prediction(serving_models.MODEL, 1, features={"age": 1.0}))
    done = headgate("profile", serving_models.MODEL, "v1", file, "--out", str(folder / "profile.json"))
    assert (done.status, done.err) == (0, "")
    package = Repository(tmp_path).open(serving_models.MODEL, "v1")
    assert package.profile is not None
    assert package.profile.features["age"].lowest == 1.0


# From the log


def test_a_stretch_of_the_log_has_the_predictions_of_its_time(
    headgate: Headgate, settings: Settings, model: str
) -> None:
    for hour, age in enumerate((10.0, 20.0, 30.0)):
        ts = NOON + hour * HOUR
        produce(settings, request(model, hour, ts, age=age), prediction(model, hour, ts + 5))
    found = made(headgate, model, "v1", "--from", "2025-01-01T13:00", "--to", "2025-01-01T14:00")
    assert (found.features["age"].lowest, found.features["age"].highest) == (20.0, 20.0)


def test_the_last_hours_are_those_before_now(headgate: Headgate, settings: Settings, model: str) -> None:
    produce(settings, prediction(model, 1, features={"age": 1.0}))
    done = headgate("profile", model, "v1", "--last", "1h")
    assert done.status == 1
    assert done.err.startswith(f"found no predictions of {model}/v1, expected at least one")


def test_another_versions_predictions_can_stand_for_a_new_ones(
    headgate: Headgate, settings: Settings, model: str
) -> None:
    produce(settings, prediction(model, 1, features={"age": 1.0}))
    refused = headgate("profile", model, "v2", "--from", "2025-01-01")
    assert "other versions there are v1" in refused.err
    assert made(headgate, model, "v2", "--of", "v1", "--from", "2025-01-01").version == "v2"


# Published


def test_a_published_profile_is_in_the_log_once(headgate: Headgate, settings: Settings, model: str) -> None:
    file = events(headgate, prediction(model, 1, features={"age": 1.0}))
    done = headgate("profile", model, "v1", file, "--publish")
    assert done.status == 0, done.err
    assert f"published: {model}/v1 is measured against it from now on" in done.out
    again = headgate("profile", model, "v1", file, "--publish")
    assert again.status == 1
    (line,) = again.err.splitlines()
    assert line.startswith(f"{model}/v1 has a profile already")
    (profile,) = published(settings, model)
    assert profile.features["age"].lowest == 1.0


# Mistakes


@pytest.mark.parametrize(
    "arguments", [[], ["t.csv", "--last", "7d"], ["--last", "7d", "--from", "2025-01-01"]], ids=str
)
def test_there_is_one_thing_to_make_it_from(headgate: Headgate, arguments: list[str]) -> None:
    done = headgate("profile", "ranker", "v1", *arguments)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("expected one thing to make the profile from")


def test_a_table_with_a_row_of_another_length_is_refused(headgate: Headgate) -> None:
    done = headgate("profile", "ranker", "v1", headgate.file("t.csv", "a,b\n1,2\n3\n"))
    assert done.err == "t.csv:3: found 1 cells, expected 2, one a column\n"
