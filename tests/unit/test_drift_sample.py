"""Which predictions a profile is made from when there are more than are needed."""

import numpy as np
import pytest

from infra.commands.profile_sample import Sample
from schemas.records import Prediction, Request


def filled(records: range, limit: int) -> Sample:
    """Requests and predictions with these numbers, `age` being the number."""
    sample = Sample("ranker", "v1", limit)
    for number in records:
        request_id, ts = f"r{number}", 1_735_689_600_000 + number
        sample.request(Request(request_id=request_id, ts=ts, model="ranker", features={"age": float(number)}))
        sample.prediction(
            Prediction(
                request_id=request_id, ts=ts, model="ranker", version="v1", arm="stable", status="ok",
                latency_ms=1.0, scores=[0.5],
            )
        )  # fmt: skip
    return sample


def test_up_to_the_limit_all_are_kept() -> None:
    assert filled(range(100), 100).kept == 100


def test_beyond_the_limit_a_part_is_kept_and_all_are_counted() -> None:
    sample = filled(range(10_000), 1_000)
    assert 400 < sample.kept <= 1_000
    assert sample.seen == 10_000


def test_a_kept_prediction_has_its_requests_features() -> None:
    sample = filled(range(10_000), 1_000)
    (ages,) = sample.features().values()
    assert len(ages) == sample.kept == len(sample.scores())
    assert None not in ages


def test_what_is_kept_is_a_fair_sample_in_time() -> None:
    (ages,) = filled(range(10_000), 1_000).features().values()
    assert np.mean(np.array(ages, np.float64)) == pytest.approx(5_000, rel=0.1)


def test_the_order_of_records_makes_no_difference() -> None:
    forward, backward = (filled(records, 50) for records in (range(500), range(499, -1, -1)))
    assert forward.features() == backward.features()
