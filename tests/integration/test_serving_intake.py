"""The worker's consumer group on a real broker: what is committed when, and what a successor reads; and when
answers have arrived, on which that rests."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from infra.topics import create
from schemas import topics
from schemas.records import Prediction
from schemas.settings import Settings
from serving.delivery import Delivery
from serving.intake import Intake
from serving.meter import Meter
from serving.outage import Outage
from streams.log import Follower, Output
from tests.conftest import SharedStack, isolated

GROUP = "group"


class Member:
    """A member of the group whose answers arrive, or do not."""

    def __init__(self, settings: Settings) -> None:
        self.arrives = True
        self.partitions: list[int] = []
        self.instance = uuid4().hex
        self.intake = Intake(
            settings,
            settings.topics.prefix + GROUP,
            self.instance,
            Outage(settings.kafka.brokers),
            lambda: self.arrives,
            self.partitions.extend,
        )

    def take(self, number: int) -> list[Message]:
        """So many messages, in some order."""
        found: list[Message] = []
        deadline = time.monotonic() + 30
        while len(found) < number:
            assert time.monotonic() < deadline
            found += self.intake.consume(number - len(found), 0.1)
        return found


@pytest.fixture
def settings(stack: SharedStack) -> Settings:
    made = isolated(stack.settings)
    create(made, forever=True)
    output = Output(made)
    for n in range(20):
        output.send(topics.REQUESTS, f"r{n}", str(n).encode())
    output.flush()
    return made


@pytest.fixture
def members() -> Iterator[ExitStack]:
    with ExitStack() as close:
        yield close


def join(settings: Settings, members: ExitStack) -> Member:
    member = Member(settings)
    members.callback(member.intake.close)
    return member


def numbers(messages: list[Message]) -> list[int]:
    return sorted(int(message.value() or b"") for message in messages)


def test_a_successor_begins_after_what_was_committed(settings: Settings, members: ExitStack) -> None:
    first = Member(settings)
    taken = first.take(12)
    first.intake.answered(taken)
    first.intake.mark()
    first.intake.commit()
    first.intake.close()
    rest = join(settings, members).take(8)
    assert numbers(taken + rest) == list(range(20))


def test_what_is_answered_is_committed_when_a_member_leaves(settings: Settings, members: ExitStack) -> None:
    first = Member(settings)
    taken = first.take(12)
    first.intake.answered(taken)
    first.intake.close()
    assert numbers(taken + join(settings, members).take(8)) == list(range(20))


def test_what_was_taken_but_not_answered_is_read_again(settings: Settings, members: ExitStack) -> None:
    first = Member(settings)
    first.take(12)
    first.intake.close()
    assert numbers(join(settings, members).take(20)) == list(range(20))


def test_answers_that_did_not_arrive_are_not_committed(settings: Settings, members: ExitStack) -> None:
    first = Member(settings)
    first.intake.answered(first.take(12))
    first.arrives = False
    first.intake.close()
    assert numbers(join(settings, members).take(20)) == list(range(20))


def test_a_rewind_takes_again_what_is_not_committed(settings: Settings, members: ExitStack) -> None:
    member = join(settings, members)
    settled = member.take(5)
    member.intake.answered(settled)
    member.intake.mark()
    member.intake.answered(member.take(9))  # after the mark: the answers to these are not known to be there
    member.intake.commit()
    assert member.intake.rewind()
    assert numbers(settled + member.take(15)) == list(range(20))


def test_a_member_that_joins_gets_partitions_whose_answers_are_committed(
    settings: Settings, members: ExitStack
) -> None:
    first, second = join(settings, members), None
    taken = first.take(20)
    first.intake.answered(taken)
    second = join(settings, members)
    deadline = time.monotonic() + 30
    while not second.partitions:
        assert time.monotonic() < deadline
        assert first.intake.consume(1, 0.05) == []
        assert second.intake.consume(1, 0.05) == []
    assert 0 < len(second.partitions) < settings.topics.partitions
    output = Output(settings)
    for n in range(20, 60):
        output.send(topics.REQUESTS, f"r{n}", str(n).encode())
    output.flush()
    found: list[Message] = []
    while len(found) < 40:
        assert time.monotonic() < deadline
        found += first.intake.consume(40, 0.05) + second.intake.consume(40, 0.05)
    assert numbers(found) == list(range(20, 60))


def test_a_member_goes_on_with_its_partitions_while_another_one_joins(
    settings: Settings, members: ExitStack
) -> None:
    first = join(settings, members)
    first.intake.answered(first.take(20))
    second = join(settings, members)
    held: list[set[int]] = []
    deadline = time.monotonic() + 30
    while not second.partitions:
        assert time.monotonic() < deadline
        first.intake.consume(1, 0.02)
        second.intake.consume(1, 0.02)
        held.append(set(first.intake.partitions or ()))
    kept = set(range(settings.topics.partitions)) - set(second.partitions)
    assert kept
    assert all(kept <= found for found in held)


def test_a_member_that_the_group_has_put_out_joins_again(
    settings: Settings, members: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    first = Member(settings)
    committed = first.take(5)
    first.intake.answered(committed)
    first.intake.mark()
    first.intake.commit()
    pending = first.take(4)
    another_as(first, settings)
    deadline = time.monotonic() + 30
    while "joining it again" not in caplog.text:
        assert time.monotonic() < deadline
        pending += first.intake.consume(1, 0.05)
    first.intake.answered(pending)  # on their way when it was put out: they come again
    rest = first.take(15)
    assert numbers(committed + rest) == list(range(20))
    first.intake.answered(rest)
    first.intake.close()
    second = join(settings, members)
    assert second.intake.consume(1, 1.0) == []
    assert second.partitions


def test_a_member_whose_client_has_lost_sight_of_kafka_joins_again(
    settings: Settings, members: ExitStack
) -> None:
    member = join(settings, members)
    committed = member.take(5)
    member.intake.answered(committed)
    member.intake.mark()
    member.intake.commit()
    member.take(4)
    member.intake._sight.config["stats_cb"]('{"brokers": {"GroupCoordinator": {"source": "logical"}}}')
    member.intake.consume(1, 0.0)  # whatever is taken here comes again
    assert member.intake.partitions is None  # not dealt out to the new one yet
    assert numbers(committed + member.take(15)) == list(range(20))


def test_a_member_that_the_group_has_put_out_can_end(settings: Settings) -> None:
    member = Member(settings)
    member.intake.answered(member.take(5))
    another_as(member, settings)
    time.sleep(1.0)  # two heartbeats: its client knows
    member.intake.close()


def another_as(member: Member, settings: Settings) -> None:
    """Another client takes the member's place in the group, and goes."""
    client = Consumer(
        settings.kafka.librdkafka()
        | {
            "group.id": settings.topics.prefix + GROUP,
            "group.instance.id": member.instance,
            "enable.auto.commit": False,
            "partition.assignment.strategy": "cooperative-sticky",
        }
    )
    assigned: list[TopicPartition] = []
    client.subscribe(
        [topics.REQUESTS.full_name(settings.topics)], on_assign=lambda _, found: assigned.extend(found)
    )
    deadline = time.monotonic() + 30
    while not assigned:
        assert time.monotonic() < deadline
        client.poll(0.05)
    client.close()


def test_answers_have_arrived_once_the_broker_has_them(settings: Settings) -> None:
    delivery = Delivery(settings, Meter(), Outage(settings.kafka.brokers))
    log = Follower(settings, topics.PREDICTIONS)
    assert log.refresh() == []
    answer = Prediction("r0", 1_700_000_000_000, "ranker", "v1", "stable", "ok", 1.0)
    delivery.send_all([answer] * 3)
    assert delivery.arrived()  # before these there was nothing
    deadline = time.monotonic() + 30
    while not delivery.arrived():
        assert time.monotonic() < deadline
    assert len(log.refresh()) == 3
    log.close()
