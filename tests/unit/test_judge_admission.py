"""Which commands are listened to at all: genuine, new, of now, about what stands and about what exists."""

import pytest

from schemas.records import Command, CommandRecord, Release
from streams.judge.releases import admission, release
from streams.judge.releases.admission import PATIENCE, STALE, Known
from streams.judge.releases.commands import Order, RefusedError
from streams.judge.releases.release import Standing

NOW = 1_800_000_000_000
ALL: tuple[Command, ...] = ("start", "promote", "rollback", "pause", "resume", "abort")


def order(
    word: Command = "start",
    version: str | None = "v2",
    age: int = 0,
    forged: str | None = None,
    generation: int | None = None,
) -> Order:
    record = CommandRecord(
        model="ranker", ts=NOW - age, command=word, command_id="c7", actor="olga", version=version,
        generation=generation,
    )  # fmt: skip
    return Order(3, record, NOW - age, forged)


def standing(candidate: str | None = None, generation: int = 4) -> Standing:
    return release.read(
        Release(
            model="ranker", generation=generation, ts=NOW - 60_000, stable="v1", candidate=candidate,
            weight=0.1 if candidate else 0.0, phase="canary" if candidate else "stable",
            decision_id="d", reason="r",
        )
    )  # fmt: skip


def refused(given: Order, stands: Standing | None = None, known: Known | None = None) -> str:
    try:
        admission.check(given, stands, known or Known(), NOW)
    except RefusedError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("word", ALL)
def test_a_fresh_command_of_a_new_id_is_listened_to(word: Command) -> None:
    assert refused(order(word), standing()) == ""


@pytest.mark.parametrize("word", ALL)
def test_a_forged_command_is_refused_whatever_it_asks(word: Command) -> None:
    assert refused(order(word, forged="it is not signed"), standing()) == "it is not signed"


@pytest.mark.parametrize("word", ALL)
def test_a_repeated_command_is_refused_by_its_id(word: Command) -> None:
    assert "command c7 has been dealt with before" in refused(order(word), standing(), Known(seen={"c7"}))
    assert refused(order(word), standing(), Known(seen={"c8"})) == ""


@pytest.mark.parametrize(
    ("word", "age", "listened"),
    [
        ("start", STALE, True),
        ("start", STALE + 1, False),
        ("promote", STALE + 1, False),
        ("resume", STALE + 1, False),
        ("rollback", STALE + 1, True),
        ("abort", STALE + 1, True),
        ("pause", STALE + 1, True),
        ("rollback", 24 * 3_600_000, True),
        ("promote", -60_000, True),
    ],
)
def test_a_stale_command_is_refused_unless_it_goes_to_safety(word: Command, age: int, listened: bool) -> None:
    assert (refused(order(word, age=age), standing()) == "") == listened


def test_a_stale_command_is_told_its_age() -> None:
    assert "it is 90 min old, and promote is done within 10 min only" in refused(
        order("promote", age=90 * 60_000)
    )


@pytest.mark.parametrize(("meant", "stands", "listened"), [(4, 4, True), (3, 4, False), (5, 4, False)])
def test_a_command_that_names_a_generation_is_for_that_one_only(
    meant: int, stands: int, listened: bool
) -> None:
    said = refused(order("promote", generation=meant), standing("v2", stands))
    assert (said == "") == listened
    assert listened or said == f"it was meant for generation {meant}, found generation {stands}"


def test_generation_0_means_that_there_is_none_yet() -> None:
    assert refused(order(generation=0)) == ""
    assert "found generation 4" in refused(order(generation=0), standing())


def test_a_model_that_nobody_knows_is_refused_where_workers_serve_others() -> None:
    said = refused(order(), None, Known(elsewhere={"ranker-b", "other"}))
    assert "nothing is known of a model ranker" in said
    assert "other, ranker-b" in said


def test_a_model_that_nobody_knows_is_believed_where_nobody_can_be_asked() -> None:
    assert refused(order(), None, Known(elsewhere=())) == ""


def test_a_model_with_a_release_is_known() -> None:
    assert refused(order(), standing(), Known(elsewhere={"other"})) == ""


@pytest.mark.parametrize(
    ("word", "version", "candidate", "versions", "listened"),
    [
        ("start", "v2", None, {"v1", "v2"}, True),
        ("start", "v9", None, {"v1", "v2"}, False),
        ("start", "v9", None, set(), False),
        ("start", "v9", None, None, True),
        ("start", None, None, {"v1"}, True),
        # Outside a release, a rollback names a version that must be there.
        ("rollback", "v9", None, {"v1", "v2"}, False),
        ("rollback", "v2", None, {"v1", "v2"}, True),
        ("rollback", None, None, {"v1", "v2"}, True),
        # Within one it does not, and nothing may stand in its way.
        ("rollback", "v2", "v2", {"v1"}, True),
        ("promote", "v9", "v2", {"v1"}, True),
        ("abort", "v9", "v2", {"v1"}, True),
    ],
)
def test_a_version_that_no_live_worker_has_is_refused(
    word: Command, version: str | None, candidate: str | None, versions: set[str] | None, listened: bool
) -> None:
    said = refused(order(word, version), standing(candidate), Known(versions=versions))
    assert (said == "") == listened
    assert listened or f"no live worker has a version {version} of ranker" in said


def test_a_version_that_nobody_has_is_waited_for_a_little() -> None:
    known = Known(versions={"v1"})
    assert admission.waits([order(age=PATIENCE - 1)], standing(), known, NOW)
    assert not admission.waits([order(age=PATIENCE)], standing(), known, NOW)
    assert not admission.waits([order(version="v1")], standing(), known, NOW)
    assert not admission.waits([order()], standing(), Known(), NOW)


@pytest.mark.parametrize("word", ALL)
def test_nobody_waits_for_a_version_while_something_pressing_waits_behind_it(word: Command) -> None:
    known = Known(versions={"v1"})
    assert admission.waits([order(), order(word)], standing(), known, NOW) == (word not in admission.PRESSING)


def test_what_is_forged_is_said_before_anything_else() -> None:
    given = order("promote", age=STALE + 1, forged="it is not signed", generation=9)
    assert refused(given, None, Known(seen={"c7"}, elsewhere={"other"})) == "it is not signed"
