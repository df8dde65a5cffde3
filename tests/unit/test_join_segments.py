"""A segment with more values than anybody can look at: the first hundred are kept apart, the rest stand
together."""

from collections import Counter

import pytest

from schemas import policies
from schemas.topics import FEEDBACK, PREDICTIONS, REQUESTS
from tests.oracle.recording import Recording, final_panes

NOON = 1_767_268_800_000
VALUES = 150
POLICY = policies.parse({"model": "ranker", "pane": "10m", "segments": ["surface", "country"]})


@pytest.mark.parametrize("told_by", ["prediction", "request"])
def test_beyond_100_values_of_a_segment_the_rest_is_other(told_by: str) -> None:
    recording = Recording(partitions=1)
    for number in range(2 * VALUES):
        surface, country = f"s{number % VALUES}", {"country": "nz"}
        by_request = told_by == "request"
        ts, request_id = NOON + number, f"r{number}"
        recording.add(
            REQUESTS,
            ts,
            request_id,
            model="ranker",
            surface=surface if by_request else None,
            segments=country if by_request else None,
        )
        recording.add(
            PREDICTIONS,
            ts,
            request_id,
            model="ranker",
            version="v1",
            arm="stable",
            status="ok",
            latency_ms=1,
            items=["x"],
            surface=None if by_request else surface,
            segments=None if by_request else country,
        )
        recording.add(FEEDBACK, ts + 1_000, request_id, kind="click", item="x")

    clicks: Counter[str] = Counter()
    for pane in final_panes(recording, POLICY):
        if pane.segment == "surface":
            assert pane.sums["predictions"] == pane.sums["clicks"]
            clicks[pane.segment_value] += int(pane.sums["clicks"])
        elif pane.segment == "country":
            assert (pane.segment_value, pane.sums["clicks"]) == ("nz", 2 * VALUES)

    assert len(clicks) == 101
    assert clicks.pop("other") == 2 * (VALUES - 100)
    assert set(clicks.values()) == {2}
    assert set(clicks) <= {f"s{number}" for number in range(VALUES)}
