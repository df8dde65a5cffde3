"""The benchmarks' workload: what is said of it is what its records add up to."""

from collections import Counter

import msgspec
import pytest

from schemas.records import Feedback, Prediction, Request
from tests.bench.results import exact
from tests.bench.workload import ITEMS, PANE, Counts, Key, Slates


@pytest.fixture(scope="module")
def slates() -> Slates:
    return Slates(0, 2_000, rate=100)


@pytest.fixture(scope="module")
def predictions(slates: Slates) -> dict[str, Prediction]:
    found = [msgspec.json.decode(event.value, type=Prediction) for event in slates.predictions()]
    return {prediction.request_id: prediction for prediction in found}


def test_every_prediction_answers_a_request_with_features(
    slates: Slates, predictions: dict[str, Prediction]
) -> None:
    requests = [msgspec.json.decode(event.value, type=Request) for event in slates.requests()]
    assert {request.request_id for request in requests} == predictions.keys()
    assert all(request.features for request in requests)


def test_every_prediction_shows_ten_different_items(predictions: dict[str, Prediction]) -> None:
    assert all(len(set(prediction.items or ())) == ITEMS for prediction in predictions.values())


def test_every_click_follows_its_prediction_and_is_on_a_shown_item(
    slates: Slates, predictions: dict[str, Prediction]
) -> None:
    clicks = [msgspec.json.decode(click.event.value, type=Feedback) for click in slates.clicks()]
    assert clicks
    for click in clicks:
        prediction = predictions[click.request_id]
        assert click.ts >= prediction.ts
        assert click.item in (prediction.items or ())


def test_the_batch_truth_is_what_the_records_add_up_to(
    slates: Slates, predictions: dict[str, Prediction]
) -> None:
    clicks = Counter(click.pane for click in slates.clicks())
    sums: dict[Key, Counts] = {}
    for prediction in predictions.values():
        key = Key(prediction.version, prediction.arm, prediction.ts - prediction.ts % PANE)
        one = Counts(1, len(prediction.items or ()), 0, prediction.latency_ms)
        sums[key] = sums[key].plus(one) if key in sums else one
    truth = slates.counts()
    assert truth.keys() == sums.keys()
    assert all(exact(sums[key]._replace(clicks=clicks[key]), counts) for key, counts in truth.items())


def test_a_key_is_that_of_the_value(slates: Slates) -> None:
    for event in slates.predictions():
        assert msgspec.json.decode(event.value, type=Prediction).request_id == event.key.decode()
