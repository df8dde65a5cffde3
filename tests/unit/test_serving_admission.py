"""Deadlines and load: which requests are not worth a run any more, and how they are answered."""

import random

import pytest

from schemas.records import Request
from schemas.settings import Serving
from serving.admission import Admission

SENT = 1_700_000_000_000


def refused(
    settings: Serving, waited: float, surface: str | None = None, deadline_ms: float | None = None
) -> str | None:
    request = Request(request_id="r", ts=SENT, model="m", surface=surface, deadline_ms=deadline_ms)
    found = Admission(settings, lambda: SENT + waited).refusal(request, SENT)
    return None if found is None else found.status


def test_by_default_a_request_may_wait_for_ever() -> None:
    assert refused(Serving(), waited=1e9) is None


@pytest.mark.parametrize(("waited", "status"), [(50, None), (50.1, "timeout")])
def test_past_its_own_deadline_it_is_a_timeout(waited: float, status: str | None) -> None:
    assert refused(Serving(), waited, deadline_ms=50) == status


@pytest.mark.parametrize(("waited", "status"), [(60_000, None), (60_001, "timeout")])
def test_past_the_largest_age_it_is_a_timeout(waited: float, status: str | None) -> None:
    assert refused(Serving(max_age_ms=60_000), waited) == status


@pytest.mark.parametrize(("waited", "status"), [(200, None), (201, "shed")])
def test_beyond_the_bound_of_the_queue_it_is_shed(waited: float, status: str | None) -> None:
    assert refused(Serving(shed_ms=200), waited, surface="search") == status


def test_surfaces_with_a_smaller_bound_are_shed_first() -> None:
    settings = Serving(shed_ms=500, shed_surface_ms={"email": 100, "search": 5_000})
    by_wait = {
        waited: [refused(settings, waited, surface) for surface in ("email", "other", None, "search")]
        for waited in (50, 300, 1_000, 6_000)
    }
    assert by_wait == {
        50: [None, None, None, None],
        300: ["shed", None, None, None],
        1_000: ["shed", "shed", "shed", None],
        6_000: ["shed", "shed", "shed", "shed"],
    }


def test_a_surface_with_a_bound_of_zero_is_never_shed() -> None:
    assert refused(Serving(shed_ms=100, shed_surface_ms={"search": 0}), 1e6, "search") is None


def test_what_nobody_waits_for_any_more_is_a_timeout_rather_than_shed() -> None:
    assert refused(Serving(shed_ms=100, max_age_ms=1_000), 2_000) == "timeout"
    assert refused(Serving(shed_ms=100), 2_000, deadline_ms=500) == "timeout"


def test_a_clock_that_is_behind_kafkas_refuses_nothing() -> None:
    assert refused(Serving(shed_ms=1, max_age_ms=1), waited=-500, deadline_ms=0) is None


def test_under_overload_one_surface_gives_way_and_the_others_are_served_in_time() -> None:
    """Ten seconds of 1,400 requests a second, where 1,000 can be run: first come, first served."""
    rng = random.Random(7)
    settings = Serving(shed_ms=1_000, shed_surface_ms={"email": 200})
    now = SENT * 1.0
    admission = Admission(settings, lambda: now)
    arrivals = [(int(SENT + n / 1.4), "search" if rng.random() < 0.5 else "email") for n in range(14_000)]
    outcomes: dict[str, list[str]] = {"search": [], "email": []}
    longest = 0.0
    for sent, surface in arrivals:
        now = max(now, sent)
        request = Request(request_id="r", ts=sent, model="m", surface=surface)
        refusal = admission.refusal(request, sent)
        outcomes[surface].append("ok" if refusal is None else refusal.status)
        if surface == "search":
            longest = max(longest, now - sent)
        now += 1.0 if refusal is None else 0.01
    assert set(outcomes["search"]) == {"ok"}
    assert longest < 220
    assert 0.3 < outcomes["email"].count("ok") / len(outcomes["email"]) < 0.7
