"""A broker that shuts down and answers its clients without naming a broker, which makes librdkafka forget all
that it knows (`streams/sight.py`): whoever reads and writes goes on once it is back.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaException

from infra import topics as admin
from infra.local.kafka import Kafka
from schemas import settings as schemas_settings
from schemas import topics
from schemas.settings import Settings
from serving.intake import Intake, group_of
from serving.outage import Outage
from streams.log import UNDELIVERED, Follower, Output

CLIENTS = 8
"""Of each kind; at a restart a few in a hundred lose sight."""

RESTARTS = 5

PATIENCE = 60.0
"""Seconds that a reader has to go on."""


@pytest.fixture
def settings(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Clients that ask all the time which brokers there are, and so in the moment in which there is none."""
    ask: Callable[[schemas_settings.Kafka], dict[str, Any]] = schemas_settings.Kafka.librdkafka
    monkeypatch.setattr(
        schemas_settings.Kafka,
        "librdkafka",
        lambda self: ask(self) | {"topic.metadata.refresh.interval.ms": 10},
    )
    monkeypatch.setattr("streams.log.STALLED", 3.0)
    there = msgspec.structs.replace(Settings().kafka, brokers=kafka.brokers)
    return msgspec.structs.replace(Settings(), kafka=there)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_readers_and_writers_that_lose_sight_of_kafka_go_on_once_it_is_back(
    kafka: Kafka, settings: Settings
) -> None:
    admin.create(settings, forever=True)
    with ExitStack() as close:
        clients = Clients(settings, close)
        replaced = Counter[str]()
        for restart in range(RESTARTS):
            before = clients.there()
            clients.write(f"before {restart}")  # some of it is on its way when the broker ends
            kafka.restart()
            clients.insist(f"after {restart}")
            clients.read(f"after {restart}")
            replaced += Counter(kind for kind, client in clients.there() if (kind, client) not in before)
        if not replaced:
            pytest.skip(f"none lost sight in {RESTARTS} restarts: perhaps the client does so no more")


class Clients:
    """Writers and readers: `CLIENTS` of each kind."""

    def __init__(self, settings: Settings, close: ExitStack) -> None:
        self._outputs = [Output(settings) for _ in range(CLIENTS)]
        self._followers = [Follower(settings, topics.ACKS) for _ in range(CLIENTS)]
        self._intakes = [_intake(settings, number) for number in range(CLIENTS)]
        for follower in self._followers:
            follower.refresh()
            close.callback(follower.close)
        for intake in self._intakes:
            close.callback(intake.close)

    def there(self) -> list[tuple[str, object]]:
        """The clients beneath, by kind."""
        return [
            *(("output", output._producer) for output in self._outputs),
            *(("follower", follower._consumer) for follower in self._followers),
            *(("intake", intake._consumer) for intake in self._intakes),
        ]

    def write(self, word: str) -> None:
        """Each writer writes it, and does not wait."""
        for output in self._outputs:
            for topic in (topics.ACKS, topics.REQUESTS):
                output.send(topic, "ranker", word.encode())

    def insist(self, word: str) -> None:
        """Each writer writes it until the broker has it, as a stage does that starts again."""
        for output in self._outputs:
            while True:
                for topic in (topics.ACKS, topics.REQUESTS):
                    output.send(topic, "ranker", word.encode())
                try:
                    output.flush(20.0)
                except KafkaException as error:
                    assert error.args[0].code() in UNDELIVERED
                else:
                    break

    def read(self, word: str) -> None:
        """Waits until each reader has had as many of it as there are writers."""
        for follower in self._followers:
            _read(lambda: [entry.value for entry in follower.poll(0.2)], word)  # noqa: B023 (called at once)
        for intake in self._intakes:
            _read(lambda: [one.value() for one in intake.consume(100, 0.2)], word)  # noqa: B023


def _read(take: Callable[[], list[bytes | None]], word: str) -> None:
    deadline, found = time.monotonic() + PATIENCE, 0
    while found < CLIENTS:
        assert time.monotonic() < deadline
        found += take().count(word.encode())


def _intake(settings: Settings, number: int) -> Intake:
    """Alone in a group of its own, so that it has all requests."""
    group, outage = group_of(settings, [f"model-{number}"]), Outage(settings.kafka.brokers)
    return Intake(settings, group, f"i{number}", outage, lambda: True, lambda _: None)
