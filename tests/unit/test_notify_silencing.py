"""Which alerts a silence is about, and when it holds."""

import pytest

from schemas.records import DAY, ENCODER, Alert, Silence
from schemas.signing import Key, Keyring
from streams.notify.plans import LATER
from streams.notify.silencing import Silences, ended, key, matches
from tests.receiving import NOW, alert

HOUR = 3_600_000


def silence(**fields: object) -> Silence:
    """An hour of all that is about `ranker`, but for what is named."""
    known: dict[str, object] = {
        "model": "ranker",
        "silence_id": "s1",
        "ts": NOW,
        "ends_at": NOW + HOUR,
        "actor": "ada",
        "reason": "maintenance",
    }
    return Silence(**(known | fields))  # type: ignore[arg-type]


def reading(*silences: Silence) -> Silences:
    found = Silences(Keyring())
    for one in silences:
        found.read(key(one).encode(), ENCODER.encode(one), NOW, ())
    return found


@pytest.mark.parametrize(
    ("silenced", "alerted", "matching"),
    [
        ({}, {}, True),
        ({"model": "other"}, {}, False),
        ({"model": ""}, {}, False),
        ({"model": ""}, {"model": ""}, True),
        ({"rule": "slow"}, {}, True),
        ({"rule": "ctr"}, {}, False),
        ({"labels": {"arm": "candidate"}}, {}, True),
        ({"labels": {"arm": "stable"}}, {}, False),
        ({"labels": {"arm": "candidate", "team": "x"}}, {}, False),
        ({"labels": {"arm": "candidate", "team": "x"}}, {"labels": {"arm": "candidate", "team": "x"}}, True),
        ({"labels": {"severity": "page"}}, {}, True),
        ({"labels": {"severity": "warning"}}, {}, False),
        ({"rule": "slow", "labels": {"arm": "stable"}}, {}, False),
        ({"labels": {}}, {}, True),
    ],
)
def test_a_silence_is_about_a_model_a_rule_and_labels_as_far_as_it_names_them(
    silenced: dict[str, object], alerted: dict[str, object], matching: bool
) -> None:
    found: Alert = alert(**alerted)
    assert matches(silence(**silenced), found) is matching


def test_it_holds_from_its_time_on_and_not_at_its_end() -> None:
    silences = reading(silence())
    for now, holds in ((NOW - 1, False), (NOW, True), (NOW + HOUR - 1, True), (NOW + HOUR, False)):
        assert bool(silences.in_force(now)) is holds


def test_of_one_id_the_last_record_holds() -> None:
    silences = reading(silence(), ended(silence(), "bob", NOW + 5))
    assert silences.in_force(NOW + 4)[0].ended_by == "bob"
    assert silences.in_force(NOW + 5) == []


def test_two_silences_of_a_model_stand_side_by_side() -> None:
    silences = reading(silence(), silence(silence_id="s2", ends_at=NOW + 2 * HOUR), silence(model="other"))
    assert [one.silence_id for one in silences.in_force(NOW, "ranker")] == ["s1", "s2"]
    assert len(silences.in_force(NOW)) == 3


def test_a_record_without_value_is_forgotten() -> None:
    silences = reading(silence(), silence(model="a/b"))
    silences.read(b"a/b/s1", None, NOW, ())
    assert [one.model for one in silences.in_force(NOW)] == ["ranker"]
    silences.read(b"ranker/s1", None, NOW, ())
    silences.read(None, None, NOW, ())
    assert silences.in_force(NOW) == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"ends_at": NOW}, "ends_at: found 1735700000000, expected later than ts 1735700000000"),
        ({"ends_at": NOW - HOUR}, "expected later than ts"),
        ({"ends_at": NOW + 30 * DAY + 1}, "ends_at: found 30.0 days after ts, expected at most 30"),
        ({"ends_at": NOW + 90 * DAY}, "ends_at: found 90.0 days after ts, expected at most 30"),
        ({"ts": NOW + 2 * DAY, "ends_at": NOW + 3 * DAY}, "expected at most a day after the Kafka timestamp"),
    ],
)
def test_one_that_cannot_be_silences_nothing_and_says_why(fields: dict[str, object], reason: str) -> None:
    silences = reading(silence())
    with pytest.raises(ValueError, match=reason):
        silences.read(b"ranker/s1", ENCODER.encode(silence(**fields)), NOW, ())
    assert silences.in_force(NOW) == [silence()]


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b'{"model":"ranker"}', b"\xff"])
def test_what_is_no_silence_is_a_value_error(value: bytes) -> None:
    with pytest.raises(ValueError, match="expected"):
        Silences(Keyring()).read(b"ranker/s1", value, NOW, ())


def test_the_next_change_is_the_next_beginning_or_end() -> None:
    silences = reading(silence(), silence(silence_id="s2", ts=NOW + 10, ends_at=NOW + 20))
    times = [silences.next_change(now) for now in (NOW, NOW + 10, NOW + 20, NOW + HOUR)]
    assert times == [NOW + 10, NOW + 20, NOW + HOUR, LATER]


def test_those_that_ended_are_forgotten() -> None:
    silences = reading(silence(), silence(silence_id="s2", ends_at=NOW + 1))
    assert [one.silence_id for one in silences.ended(NOW + 2)] == ["s2"]
    silences.forget(NOW + 2)
    assert silences.ended(NOW + 2) == []
    assert len(silences.in_force(NOW + 2)) == 1


def test_one_that_is_ended_in_the_moment_in_which_it_began_is_still_a_silence() -> None:
    assert ended(silence(), "bob", NOW).ends_at == NOW + 1


def test_where_a_key_is_configured_only_what_is_signed_with_it_silences() -> None:
    keys = Keyring([Key("2026-11", b"k" * 32)])
    value = ENCODER.encode(silence())
    silences = Silences(keys)
    for headers, reason in (
        ([], "it is not signed"),
        (Keyring([Key("2026-11", b"x" * 32)]).sign(value), "its signature does not fit"),
        (keys.sign(value + b" "), "its signature does not fit"),
    ):
        with pytest.raises(ValueError, match=reason):
            silences.read(b"ranker/s1", value, NOW, headers)
        assert silences.in_force(NOW) == []
    silences.read(b"ranker/s1", value, NOW, keys.sign(value))
    assert silences.in_force(NOW) == [silence()]
