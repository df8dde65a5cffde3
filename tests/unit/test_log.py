"""Reading the log while the broker comes and goes."""

import asyncio
import logging
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.errors import HeadgateError
from streams.log import Entry, answer, patiently

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


def failing(code: int, times: int) -> Callable[[], int]:
    """A question that is answered, with 7, after so many errors."""
    left = [KafkaException(KafkaError(code)) for _ in range(times)]

    def ask() -> int:
        if left:
            raise left.pop()
        return 7

    return ask


@pytest.mark.parametrize("code", [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE])
def test_a_question_about_a_partition_without_a_leader_is_asked_again(code: int) -> None:
    assert answer(failing(code, times=2)) == 7


@pytest.mark.parametrize(
    ("code", "timeout"),
    [(KafkaError.TOPIC_AUTHORIZATION_FAILED, 10.0), (KafkaError.LEADER_NOT_AVAILABLE, 0.0)],
)
def test_for_anything_else_it_is_not_and_for_a_leader_not_for_ever(code: int, timeout: float) -> None:
    with pytest.raises(KafkaException) as raised:
        answer(failing(code, times=9), timeout)
    assert raised.value.args[0].code() == code


def test_what_a_person_must_mend_is_not_waited_for() -> None:
    def refresh() -> list[Entry]:
        raise HeadgateError("topic control.policies: is missing")

    with pytest.raises(HeadgateError):
        asyncio.run(patiently(refresh))
