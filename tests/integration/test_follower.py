"""Following a topic of the real broker: nothing is lost or out of order, however `refresh` and `poll` take
turns.
"""

import msgspec
import pytest
from confluent_kafka import KafkaException, Producer

from infra import topics as admin
from schemas import topics
from schemas.settings import Settings
from streams.log import Follower, Output

RECORDS = 2_000


@pytest.fixture
def filled(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """A world of this test's own, with records in `control.acks`."""
    prefix = f"{settings.topics.prefix}{request.node.name[:24]}."
    own = msgspec.structs.replace(settings.topics, prefix=prefix, partitions=1)
    settings = msgspec.structs.replace(settings, topics=own)
    admin.create(settings, forever=True)
    output = Output(settings)
    for number in range(RECORDS):
        output.send(topics.ACKS, "ranker", b"%d" % number)
    output.flush()
    return settings


def test_what_is_polled_after_a_refresh_that_timed_out_is_answered_by_the_next(filled: Settings) -> None:
    follower = Follower(filled, topics.ACKS)
    patience, timed_out, read = 0.001, 0, None
    while read is None:
        try:
            read = follower.refresh(patience)
        except KafkaException:
            timed_out += 1
            patience *= 1.5
            assert follower.poll(0.2) == []
    follower.close()
    assert timed_out > 0
    assert [entry.value for entry in read] == [b"%d" % number for number in range(RECORDS)]


def test_a_refresh_after_polls_knows_that_behind_a_transaction_there_is_nothing_to_wait_for(
    filled: Settings,
) -> None:
    follower = Follower(filled, topics.RELEASES)
    assert follower.refresh() == []
    transactional = {"transactional.id": f"{filled.topics.prefix}writer"}
    writer = Producer(filled.kafka.librdkafka() | transactional)
    writer.init_transactions()
    writer.begin_transaction()
    writer.produce(topics.RELEASES.full_name(filled.topics), b"{}", b"ranker")
    writer.commit_transaction()
    read: list[bytes | None] = []
    while not read:
        read += [entry.value for entry in follower.poll(1.0)]
    assert follower.poll(1.0) == []  # reads on, past the transaction's marker
    assert follower.refresh(5.0) == []
    follower.close()
    assert read == [b"{}"]


def test_a_client_that_has_lost_sight_of_kafka_is_replaced_and_nothing_is_lost_or_read_twice(
    filled: Settings,
) -> None:
    follower, output = Follower(filled, topics.ACKS), Output(filled)
    read = [entry.offset for entry in follower.refresh()]
    for _ in range(3):
        blind(follower)
        output.send(topics.ACKS, "ranker", b"more")
        output.flush()
        read += [entry.offset for entry in follower.poll(5.0)]
        blind(follower)
        read += [entry.offset for entry in follower.refresh()]
    assert read == list(range(RECORDS + 3))


def blind(follower: Follower) -> None:
    """Has the follower's client say that it knows no broker any more."""
    follower._sight.config["stats_cb"]('{"brokers": {"GroupCoordinator": {"source": "logical"}}}')
