"""The view `evidence`: what each test said of a release, look by look, and what that is held against."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

import schemas
from schemas.records import Codec, Evidence, Release
from tests.contract.view_world import NOON, SECOND, Database

EXAMPLE = Path(schemas.__file__).parent / "examples" / "control.evidence" / "good" / "running.json"
FINDING: dict[str, object] = {
    "test": "ctr worse_by 0",
    "state": "proven",
    "statistic": 3.5,
    "boundary": 3.1,
    "effect": -0.2,
    "lower": -0.35,
    "upper": -0.05,
    "values": {"v2": 0.04, "v1": 0.05},
    "samples": {"v2": 2_000.0, "v1": 18_000.0},
    "alpha": 0.05,
    "limit": 0.0,
    "relative": True,
    "fails": "below",
    "needed": 1_000,
    "panes": {"first": NOON, "last": NOON + 60 * SECOND, "number": 6},
}


def look(at: int = NOON) -> Evidence:
    """What a judge has told of a running release at `at`: two tests, of the second too little is known."""
    codec: Codec[Evidence] = Codec(Evidence)
    record = codec.decode(EXAMPLE.read_bytes())
    assert record.outlook is not None
    record.outlook = msgspec.structs.replace(record.outlook, at=at)
    return record


def rows(database: Database, columns: str, where: str = "true") -> list[tuple[Any, ...]]:
    return database.read(f"SELECT {columns} FROM evidence WHERE {where} ORDER BY ts, test")


@pytest.fixture
def told(database: Database) -> Database:
    database.write(look())
    return database


def test_a_look_has_a_row_for_each_test(told: Database) -> None:
    assert rows(told, "model, generation, decided, outcome, metric, test") == [
        ("ranker", 5, False, "Running", "ctr", "ctr worse_by 0.05"),
        ("ranker", 5, False, "Running", "error_rate", "error_rate above 0.05"),
    ]


def test_it_says_the_effect_with_its_bounds_and_what_they_are_held_against(told: Database) -> None:
    found = rows(told, "effect, lower, upper, threshold, proof, side, statistic, boundary", "metric = 'ctr'")
    assert found == [(-0.01, -0.09, 0.07, -0.05, "rollback", "below", 0.4, 3.1)]


def test_it_says_who_is_judged_against_whom_on_how_many_samples(told: Database) -> None:
    columns = "judged, value, samples, reference, reference_value, reference_samples, needed"
    assert rows(told, columns, "metric = 'ctr'") == [("v2", 0.0495, 12_000, "v1", 0.05, 108_000, 1_000)]


def test_what_is_not_known_yet_is_null(told: Database) -> None:
    found = rows(told, "state, effect, lower, upper, reference_value", "metric = 'error_rate'")
    assert found == [("too few samples", None, None, None, None)]


def test_a_look_that_is_written_again_counts_once(told: Database) -> None:
    told.write(look(), first=1)
    assert len(rows(told, "test")) == 2


def test_a_decision_has_what_all_tests_said_at_that_moment(told: Database) -> None:
    evidence = {"outcome": "Failed", "cause": "guardrail", "findings": [FINDING]}
    told.write(
        Release(
            model="ranker", generation=6, ts=NOON + SECOND, stable="v1", decision_id="d", reason="proven",
            evidence=evidence,
        )
    )  # fmt: skip
    columns = (
        "ts = fromUnixTimestamp64Milli(1700049601000), generation, outcome, cause, verdict, state, effect"
    )
    assert rows(told, columns, "decided") == [(True, 6, "Failed", "guardrail", "proven", "proven", -0.2)]
    columns = (
        "lower, upper, threshold, proof, side, judged, value, samples, reference, reference_samples, alpha"
    )
    [found] = rows(told, columns, "decided")
    assert found == (-0.35, -0.05, 0.0, "rollback", "below", "v2", 0.04, 2_000, "v1", 18_000, 0.05)


def test_a_decision_that_rests_on_no_test_has_no_rows(database: Database) -> None:
    database.write(
        Release(model="ranker", generation=1, ts=NOON, stable="v1", decision_id="d", reason="start by ann")
    )
    assert rows(database, "test") == []
