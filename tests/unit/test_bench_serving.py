"""The serving benchmark's own arithmetic: what counts as added latency, and as a worker's rate."""

from collections.abc import Sequence

import msgspec
import pytest

from schemas.records import Prediction, Request
from serving.inputs import rows
from serving.repository import Input
from tests.bench import serving_figure, serving_nets
from tests.bench.serving_core import Point
from tests.bench.serving_load import Answer, added, rate

T = 1_700_000_000_000


def answer(asked: int, queue_ms: float, infer_ms: float, latency_ms: float, written: int = T) -> Answer:
    prediction = Prediction(
        request_id="r",
        ts=T,
        model="m",
        version="v1",
        arm="stable",
        status="ok",
        latency_ms=latency_ms,
        queue_ms=queue_ms,
        infer_ms=infer_ms,
    )
    return Answer(T + asked, written, prediction)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([answer(0, 7, 10, 18)], [3]),  # 5 of waiting and 10 of inference are not ours
        ([answer(0, 2, 10, 13)], [1]),  # waiting less does not make up for what comes after the run
        ([answer(0, 5, 10, 15), answer(6, 9, 10, 21)], [0, 2]),  # 9 of them behind the first one's run
        ([answer(0, 5, 10, 16), answer(1, 4, 10, 15)], [1, 1]),  # one batch: its run counts once
    ],
)
def test_added_is_what_is_neither_waiting_for_a_batch_nor_any_run(
    answers: Sequence[Answer], expected: Sequence[float]
) -> None:
    assert added(answers, wait_ms=5) == pytest.approx(expected)


def test_a_rate_does_not_count_the_time_before_a_tenth_is_answered() -> None:
    answers = [answer(0, 0, 0, 0, written=T + (n if n >= 10 else 0) * 10) for n in range(101)]
    assert rate(answers) == pytest.approx(91 / 0.9)


def test_requests_of_a_seed_are_the_same_each_time_and_fit_the_model() -> None:
    first, second = (list(serving_nets.requests(serving_nets.LARGE, 20, seed=3, ts=T)) for _ in range(2))
    assert first == second
    declared = {
        "item": Input("int64", [-1, 1]),
        "history": Input("int64", [-1, serving_nets.SEEN]),
        "dense": Input("float32", [-1, serving_nets.DENSE]),
    }
    for request_id, value in first:
        request = msgspec.json.decode(value, type=Request)
        assert request.request_id == request_id
        assert len(rows(request, declared)["dense"]) == len(request.items or ())


def test_the_picture_has_two_lines_a_model() -> None:
    points = [Point(net, size, 10.0 * size, 9.0 * size) for net in ("a", "b") for size in (1, 2, 4)]
    drawn = serving_figure.draw(points, "a machine")
    assert drawn.count("<polyline") == 4
    assert "4×" in drawn
