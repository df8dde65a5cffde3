"""Reading the log while the broker comes and goes."""

import asyncio
import logging

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.errors import HeadgateError
from streams.log import Entry, patiently

ENTRY = Entry(0, 7, 1, b"ranker", b"{}", ())


def test_what_the_broker_does_not_answer_is_asked_again_until_it_does_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    away = [KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION)) for _ in range(2)]

    def refresh() -> list[Entry]:
        if away:
            raise away.pop()
        return [ENTRY]

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(patiently(refresh)) == [ENTRY]
    assert len(caplog.records) == 1


def test_what_a_person_must_mend_is_not_waited_for() -> None:
    def refresh() -> list[Entry]:
        raise HeadgateError("topic control.policies: is missing")

    with pytest.raises(HeadgateError):
        asyncio.run(patiently(refresh))
