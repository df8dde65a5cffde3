"""What a worker counts, and what it does not keep for ever."""

import pytest

from schemas.records import Arm, Prediction, Status
from serving.meter import MOST_OTHERS, MOST_VERSIONS, OTHERS, Answered, Histogram, Meter


def prediction(
    version: str = "v1", arm: Arm = "stable", status: Status = "ok", queue_ms: float | None = 3.0
) -> Prediction:
    return Prediction(
        request_id="r", ts=1_700_000_000_000, model="ranker", version=version, arm=arm, status=status,
        latency_ms=40.0, queue_ms=queue_ms,
    )  # fmt: skip


@pytest.mark.parametrize(("value", "place"), [(0.5, 0), (1.0, 0), (1.5, 1), (2.0, 1), (99.0, 2)])
def test_a_bound_belongs_to_the_bin_below_it_as_prometheus_counts(value: float, place: int) -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.observe(value)
    assert histogram.counts.index(1) == place
    assert histogram.sum == value


def test_answers_are_counted_by_model_version_arm_and_status() -> None:
    meter = Meter()
    for one in (prediction(), prediction(), prediction(status="timeout"), prediction("v2", "candidate")):
        meter.answered(one)
    assert meter.answers == {
        Answered("ranker", "v1", "stable", "ok"): 2,
        Answered("ranker", "v1", "stable", "timeout"): 1,
        Answered("ranker", "v2", "candidate", "ok"): 1,
    }


def test_times_of_answers_are_kept_in_seconds() -> None:
    meter = Meter()
    meter.answered(prediction())
    assert meter.latency.items()["ranker"].sum == pytest.approx(0.040)
    assert meter.queue.items()["ranker"].sum == pytest.approx(0.003)


def test_an_answer_that_did_not_run_has_waited_for_no_run() -> None:
    meter = Meter()
    meter.answered(prediction(status="timeout", queue_ms=None))
    assert meter.latency.items().keys() == {"ranker"}
    assert not meter.queue.items()


def test_a_shadow_is_counted_but_nobody_waited_for_it() -> None:
    meter = Meter()
    meter.answered(prediction("v3", "shadow"))
    assert meter.answers == {Answered("ranker", "v3", "shadow", "ok"): 1}
    assert not meter.latency.items()
    assert not meter.queue.items()


def test_a_run_is_counted_by_requests_rows_and_its_time() -> None:
    meter = Meter()
    meter.ran("ranker", "v1", 8, 300, 0.004)
    assert meter.requests.items()["ranker"].sum == 8
    assert meter.rows.items()["ranker"].sum == 300
    assert meter.infer.items()["ranker", "v1"].sum == 0.004


def test_of_too_many_versions_the_first_is_forgotten_and_other_models_keep_theirs() -> None:
    meter = Meter()
    meter.ran("other", "v0", 1, 1, 0.1)
    for number in range(MOST_VERSIONS + 1):
        meter.ran("ranker", f"v{number}", 1, 1, 0.1)
        meter.answered(prediction(f"v{number}"))
    kept = {f"v{number}" for number in range(1, MOST_VERSIONS + 1)}
    assert {version for model, version in meter.infer.items() if model == "ranker"} == kept
    assert {key.version for key in meter.answers} == kept
    assert ("other", "v0") in meter.infer.items()
    assert meter.requests.items()["ranker"].counts[0] == MOST_VERSIONS + 1


def test_models_that_nobody_serves_are_counted_apart_only_so_many() -> None:
    meter = Meter()
    for number in range(MOST_OTHERS + 5):
        meter.left_alone(f"m{number}")
    meter.left_alone("m0")
    assert len(meter.unknown) == MOST_OTHERS + 1
    assert (meter.unknown["m0"], meter.unknown[OTHERS]) == (2, 5)


def test_hits_and_misses_add_up() -> None:
    meter = Meter()
    meter.cached("ranker", 3, 1)
    meter.cached("ranker", 0, 2)
    assert (meter.cache_hits, meter.cache_misses) == ({"ranker": 3}, {"ranker": 3})
