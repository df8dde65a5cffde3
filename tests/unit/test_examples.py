"""Examples of raw records: which are in the sample, when any are wanted, and what may be seen of them."""

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest

from schemas import policies
from schemas.errors import HeadgateError
from schemas.records import ENCODER, PolicyRecord, Prediction, Request
from schemas.settings import Examples, Settings, load
from streams.columns import Records, Row
from streams.examples import ExamplesStage, Wanted
from streams.log import Entry
from streams.sampling import fractions
from streams.storage.examples import DIGITS, Veil

TS = 1_700_000_000_000
NOWHERE = Path("no-such-headgate.toml")
SECRET = "a key that nobody else has"
VEIL = Veil(SECRET)
ALL = policies.parse(
    {
        "model": "ranker",
        "segments": ["country"],
        "examples": {"share": 1, "inputs": ["dense"], "features": ["age", "who"]},
    }
)


def fractions_of(*keys: bytes | None) -> list[float]:
    records = Records.of([Row(offset, TS, key, b"{}", ()) for offset, key in enumerate(keys)])
    return [float(each) for each in fractions(records.data, records.keys)]


def policy(model: str, share: float | None, offset: int, timestamp: int = TS) -> Entry:
    value: dict[str, object] = {"model": model}
    if share is not None:
        value["examples"] = {"share": share}
    record = PolicyRecord(model=model, ts=TS, policy=msgspec.Raw(msgspec.json.encode(value)), actor="ann")
    return Entry(0, offset, timestamp, model.encode(), ENCODER.encode(record), ())


def request(**fields: object) -> Request:
    return Request(request_id="r", ts=TS, model="ranker", **fields)  # type: ignore[arg-type]


def prediction(**fields: object) -> Prediction:
    answer = {"version": "v1", "arm": "stable", "status": "ok", "latency_ms": 1.0}
    return Prediction(request_id="r", ts=TS, model="ranker", **answer, **fields)  # type: ignore[arg-type]


# Which


@pytest.mark.parametrize("name", [b"r-%d", b"%064d", b"user-%d-request"])
@pytest.mark.parametrize("share", [0.001, 0.1])
def test_the_sample_is_the_share_of_the_requests_whatever_their_ids_look_like(
    name: bytes, share: float
) -> None:
    count = 50_000
    found = np.array(fractions_of(*(name % number for number in range(count))))
    assert abs((found < share).sum() - count * share) < 5 * math.sqrt(count * share)


def test_a_key_is_where_it_is_in_every_process_and_on_every_machine() -> None:
    assert fractions_of(b"r-1", b"", "\u00fc\u6771".encode()) == pytest.approx(
        [0.3866412576124306, 0.37793626511706213, 0.3732340878002812]
    )


def test_a_record_without_a_key_is_in_no_sample() -> None:
    assert fractions_of(None, b"r-1")[0] == 1.0
    assert fractions_of(b"r-1")[0] < 1.0


# Whether


def test_nobody_wants_any_by_default() -> None:
    wanted = Wanted()
    wanted.take(policy("ranker", None, 0))
    assert wanted.share == 0


def test_what_is_read_is_the_largest_share_and_each_model_has_its_own() -> None:
    wanted = Wanted()
    for offset, (model, share) in enumerate([("a", 0.1), ("b", 0.5), ("c", 0)]):
        wanted.take(policy(model, share, offset))
    assert wanted.share == 0.5
    assert [wanted.policy(model).examples.share for model in ("a", "b", "c", "d")] == [0.1, 0.5, 0, 0]


def test_it_is_wanted_since_the_first_policy_in_a_row_that_asked() -> None:
    wanted = Wanted()
    for offset, share in enumerate([0.1, 0, 0.2, 0.3]):
        wanted.take(policy("ranker", share, offset, TS + offset))
    assert wanted.since == TS + 2


def test_the_last_policy_holds_and_a_record_that_is_none_changes_nothing() -> None:
    wanted = Wanted()
    wanted.take(policy("ranker", 0.1, 0))
    wanted.take(Entry(0, 1, TS, b"ranker", b"{", ()))
    assert wanted.share == 0.1
    wanted.take(policy("ranker", None, 2))
    assert wanted.share == 0


def test_without_a_secret_there_is_no_such_stage() -> None:
    with pytest.raises(
        HeadgateError, match="stage examples: no raw records are to be kept: set HEADGATE_EXAM"
    ):
        ExamplesStage(Settings())


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(
        HeadgateError, match="found 5 characters, expected at least 16; set HEADGATE_EXAMPLES"
    ):
        load(NOWHERE, {"HEADGATE_EXAMPLES_SECRET": "short"})


def test_the_secret_is_the_environments_and_a_childs_too() -> None:
    settings = load(NOWHERE, {"HEADGATE_EXAMPLES_SECRET": SECRET})
    assert settings.examples == Examples(SECRET)
    assert load(NOWHERE, settings.environment()).examples == settings.examples


# What is seen


def test_a_user_is_one_hash_for_one_key_and_another_for_another() -> None:
    hashed = VEIL.request(request(user=7), ALL).user
    assert isinstance(hashed, str)
    assert len(hashed) == DIGITS
    assert VEIL.prediction(prediction(user="7"), ALL).user == hashed
    assert VEIL.request(request(user=8), ALL).user != hashed
    assert Veil("another key altogether").request(request(user=7), ALL).user != hashed


def test_without_a_user_there_is_no_hash() -> None:
    assert VEIL.request(request(), ALL).user is None


def test_of_what_is_sent_along_just_what_the_policy_names_is_kept() -> None:
    seen = VEIL.request(
        request(
            inputs={"dense": msgspec.Raw(b"[[0.5,1]]"), "email": msgspec.Raw(b'["a@b"]')},
            features={"age": 40, "name": "Ann"},
            segments={"country": "se", "plan": "free"},
        ),
        ALL,
    )
    assert seen.inputs == {"dense": msgspec.Raw(b"[[0.5,1]]")}
    assert (seen.features, seen.segments) == ({"age": 40}, {"country": "se"})
    by_default = VEIL.request(seen, policies.default("ranker"))
    assert (by_default.inputs, by_default.features, by_default.segments) == ({}, {}, {})


@pytest.mark.parametrize("user", [4711, "4711", "ann@example.org"])
def test_a_users_id_is_hidden_wherever_it_stands_by_itself(user: str | int) -> None:
    inputs = {"dense": msgspec.Raw(msgspec.json.encode([[user, 1.5], {"of": [user], str(user): 2}]))}
    seen = VEIL.request(
        request(user=user, inputs=inputs, features={"who": user, "age": 40}, segments={"country": str(user)}),
        ALL,
    )
    hashed = VEIL.user(user)
    assert msgspec.json.decode(seen.inputs["dense"]) == [[hashed, 1.5], {"of": [hashed], hashed: 2}]  # type: ignore[index]
    assert seen.features == {"who": hashed, "age": 40}
    assert seen.segments == {"country": hashed}
    assert str(user) not in ENCODER.encode(seen).decode()


def test_a_number_that_is_no_more_than_like_the_users_id_stays() -> None:
    seen = VEIL.request(request(user=4711, features={"age": 47, "who": 4711.5}), ALL)
    assert seen.features == {"age": 47, "who": 4711.5}
    assert VEIL.request(request(user=4711, features={"who": 4711.0}), ALL).features == {
        "who": VEIL.user(4711)
    }


def test_true_is_not_user_1() -> None:
    assert VEIL.request(request(user=1, features={"who": True}), ALL).features == {"who": True}


def test_the_text_of_an_error_does_not_name_the_user() -> None:
    seen = VEIL.prediction(prediction(user="u7", error="no vector for u7, of u77"), ALL)
    assert seen.error == f"no vector for {VEIL.user('u7')}, of u77"
