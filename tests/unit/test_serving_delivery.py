"""Answers on their way to a broker that is not there."""

import socket
import time

import pytest

from schemas.records import Prediction
from schemas.settings import Kafka, Settings
from serving.delivery import FLUSH, Delivery
from serving.meter import Meter
from serving.outage import Outage

ANSWER = Prediction("r0", 1_700_000_000_000, "ranker", "v1", "stable", "ok", 1.0)


@pytest.fixture
def delivery() -> Delivery:
    with socket.create_server(("127.0.0.1", 0)) as free:
        brokers = f"127.0.0.1:{free.getsockname()[1]}"
    return Delivery(Settings(kafka=Kafka(brokers=brokers)), Meter(), Outage(brokers))


def test_answers_that_are_on_their_way_have_not_arrived(delivery: Delivery) -> None:
    delivery.send_all([ANSWER])
    assert delivery.arrived()  # all of what came before, which is nothing
    began = time.monotonic()
    assert not delivery.arrived()
    assert time.monotonic() - began < FLUSH / 2  # nobody waits for them
    assert not delivery.undelivered


def test_answers_that_stay_away_are_waited_for_before_more_are_made(delivery: Delivery) -> None:
    delivery.send_all([ANSWER])
    assert delivery.arrived()
    closed = time.monotonic()
    while time.monotonic() < closed + FLUSH:
        assert not delivery.arrived()
        time.sleep(0.05)
    began = time.monotonic()
    assert not delivery.arrived()
    assert time.monotonic() - began > FLUSH / 2


def test_who_begins_anew_does_not_wait_for_earlier_answers(delivery: Delivery) -> None:
    delivery.send_all([ANSWER])
    assert delivery.arrived()
    assert not delivery.arrived()
    delivery.begin_anew()
    assert delivery.arrived()
    assert delivery.arrived()
