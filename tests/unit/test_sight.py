"""When a client of Kafka is taken for one that will find no broker any more, and what becomes of what it was
to deliver; with the real client, and nobody at the other end.
"""

import time

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from infra.local import ports
from schemas import topics
from schemas.settings import Settings
from streams import sight, transactions
from streams.log import Output
from streams.sight import Sight, is_lost
from streams.transactions import Transactions


@pytest.fixture
def nowhere() -> Settings:
    kafka = msgspec.structs.replace(Settings().kafka, brokers=f"127.0.0.1:{ports.free()}")
    return msgspec.structs.replace(Settings(), kafka=kafka)


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks about a client that delivers nothing for 0.2 s hears that it is lost."""
    monkeypatch.setattr("streams.log.STALLED", 0.2)
    monkeypatch.setattr("streams.log.SLICE", 0.1)
    for module in ("sight", "transactions"):
        monkeypatch.setattr(f"streams.{module}.is_lost", lambda client, settings: True)


def test_a_client_that_knows_where_to_ask_has_not_lost_sight_though_nobody_answers(
    nowhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.sight.INTERVAL", 100)
    seen, heard = Sight(), list[str]()

    def hear(text: str) -> None:
        heard.append(text)
        look(text)

    look, seen.config["stats_cb"] = seen.config["stats_cb"], hear
    consumer = Consumer({**nowhere.kafka.librdkafka(), "group.id": "g", **seen.config})
    deadline = time.monotonic() + 10
    while len(heard) < 3 and time.monotonic() < deadline:
        consumer.consume(1, 0.1)
    consumer.close()
    assert len(heard) >= 3
    assert not seen.lost


@pytest.mark.parametrize(
    ("brokers", "lost"),
    [
        ({}, True),
        ({"GroupCoordinator": {"source": "logical"}, ":0/internal": {"source": "internal"}}, True),
        ({"GroupCoordinator": {"source": "logical"}, "k:1/1": {"source": "learned"}}, False),
        ({"k:1/bootstrap": {"source": "configured", "state": "DOWN"}}, False),
    ],
)
def test_a_client_that_knows_no_broker_has_lost_sight(brokers: dict[str, object], lost: bool) -> None:
    seen = Sight()
    seen.config["stats_cb"](msgspec.json.encode({"name": "x", "brokers": brokers}).decode())
    assert seen.lost is lost


def test_where_nobody_answers_anybody_no_client_is_lost(
    nowhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sight, "PROBE", 0.3)
    assert not is_lost(Consumer({**nowhere.kafka.librdkafka(), "group.id": "g"}), nowhere)


@pytest.mark.usefixtures("lost")
def test_what_a_lost_client_has_not_delivered_has_failed(nowhere: Settings) -> None:
    output, told = Output(nowhere), list[KafkaError | None]()

    def hear(error: KafkaError | None, _message: Message) -> None:
        told.append(error)

    output.send(topics.ACKS, "a", b"1", told=hear)
    output.send(topics.ACKS, "a", b"2")
    with pytest.raises(KafkaException, match="urged"):
        output.flush(0.5)
    assert [error and error.code() for error in told] == [KafkaError._PURGE_QUEUE]
    output.send(topics.ACKS, "a", b"3", told=hear)
    assert len(told) == 1  # that is another client's


@pytest.mark.usefixtures("lost")
def test_a_transaction_of_a_lost_client_ends_in_an_error_and_not_never(
    nowhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "TIMEOUT", 0.3)
    with pytest.raises(KafkaException, match="lost sight of all brokers"):
        Transactions(nowhere, "judge-0", "somebody else judges").open()
