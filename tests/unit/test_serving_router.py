"""Routing: the contract's hash, by vectors that were made with `sha256sum`, not with our code."""

import json
from pathlib import Path
from typing import Any

import pytest

from schemas.records import Request
from serving import router

VECTORS: list[dict[str, Any]] = json.loads(
    Path(router.__file__).with_name("arm_vectors.json").read_text(encoding="utf-8")
)["vectors"]


def request(user: str | int | None) -> Request:
    return Request(request_id="r1", ts=1_700_000_000_000, model="ranker", user=user)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['salt']}:{vector['unit']}")
def test_the_arm_is_that_of_the_vectors(vector: dict[str, Any]) -> None:
    found = {
        weight: router.is_candidate(vector["salt"], vector["unit"], float(weight))
        for weight in vector["candidate"]
    }
    assert found == vector["candidate"]


def test_who_is_a_candidate_stays_one_as_the_weight_grows() -> None:
    units = [f"user-{n}" for n in range(2000)]
    shares = [
        {unit for unit in units if router.is_candidate("salt", unit, weight)} for weight in (0.1, 0.5, 0.9)
    ]
    assert shares[0] < shares[1] < shares[2]


def test_the_weight_is_the_share_of_units() -> None:
    inside = sum(router.is_candidate("salt", f"user-{n}", 0.3) for n in range(10_000))
    assert abs(inside / 10_000 - 0.3) < 0.02


def test_another_salt_draws_other_units() -> None:
    units = [f"user-{n}" for n in range(1000)]
    both = sum(router.is_candidate("a", u, 0.5) and router.is_candidate("b", u, 0.5) for u in units)
    assert 150 < both < 350


def test_the_unit_is_the_user() -> None:
    assert router.unit_of(request("anna"), "user") == "anna"


def test_a_user_who_is_a_number_is_the_same_as_one_who_is_text() -> None:
    assert router.unit_of(request(7), "user") == router.unit_of(request("7"), "user")


def test_the_unit_is_the_request_where_there_is_no_user() -> None:
    assert router.unit_of(request(None), "user") == "r1"


def test_the_unit_is_the_request_where_the_policy_says_so() -> None:
    assert router.unit_of(request("anna"), "request") == "r1"
