"""The local broker under a real client: what it takes, what it keeps, what it refuses."""

from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from infra.local import kafka
from infra.local.kafka import Kafka
from infra.local.prepare import prepare
from schemas.errors import HeadgateError
from schemas.settings import Settings


def create_topic(brokers: str, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": brokers})
    admin.create_topics([NewTopic(name, num_partitions=1)])[name].result()


def produce(brokers: str, topic: str, value: bytes, timestamp: int = 0) -> None:
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer({"bootstrap.servers": brokers, "message.max.bytes": 8_000_000})
    producer.produce(topic, value, timestamp=timestamp, on_delivery=delivered)
    assert producer.flush(30) == 0
    if failures:
        raise KafkaException(failures[0])


def consume(brokers: str, topic: str, count: int) -> list[bytes | None]:
    group = {"group.id": f"{topic}-reader", "auto.offset.reset": "earliest"}
    consumer = Consumer({"bootstrap.servers": brokers, **group})
    consumer.subscribe([topic])
    values: list[bytes | None] = []
    while len(values) < count:
        values += [message.value() for message in consumer.consume(count, 1.0) if message.error() is None]
    consumer.close()
    return values


def test_records_of_several_megabytes_pass(settings: Settings) -> None:
    brokers, topic = settings.kafka.brokers, settings.topics.prefix + "large"
    create_topic(brokers, topic)
    produce(brokers, topic, bytes(7_900_000))
    assert [len(value or b"") for value in consume(brokers, topic, 1)] == [7_900_000]


def test_old_records_stay(settings: Settings) -> None:
    brokers, topic = settings.kafka.brokers, settings.topics.prefix + "old"
    create_topic(brokers, topic)
    produce(brokers, topic, b"from 1997", timestamp=874_724_710_000)
    assert consume(brokers, topic, 1) == [b"from 1997"]


def test_a_topic_that_is_not_there_is_not_created_by_asking_for_it(settings: Settings) -> None:
    topic = settings.topics.prefix + "nowhere"
    admin = AdminClient(settings.kafka.librdkafka())
    assert admin.list_topics(topic, timeout=10).topics[topic].error is not None
    assert topic not in admin.list_topics(timeout=10).topics


def test_data_and_port_outlive_stop_and_kill(tmp_path: Path) -> None:
    broker = Kafka(tmp_path / "data", tmp_path / "log")
    broker.start()
    try:
        create_topic(broker.brokers, "kept")
        produce(broker.brokers, "kept", b"one")
        broker.restart()
        produce(broker.brokers, "kept", b"two")
        broker.kill()
        assert not broker.running
        broker.start()
        produce(broker.brokers, "kept", b"three")
        assert consume(broker.brokers, "kept", 3) == [b"one", b"two", b"three"]
    finally:
        broker.stop()


@pytest.mark.soak
def test_without_what_setup_prepares_a_broker_starts_all_the_same_and_with_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "FORMATTED", tmp_path / "formatted")
    monkeypatch.setattr(kafka, "CLASSES", tmp_path / "classes.jsa")
    (tmp_path / "first").mkdir()
    prepare(tmp_path / "first")
    assert sorted(path.name for path in kafka.FORMATTED.iterdir()) == sorted(kafka.LOG)
    assert kafka.CLASSES.exists()
    broker = Kafka(tmp_path / "data", tmp_path / "log.later")
    broker.start()
    broker.stop()
    assert "Error" not in (tmp_path / "log.later").read_text()


def test_transactions_work_on_the_one_node(settings: Settings) -> None:
    brokers, topic = settings.kafka.brokers, settings.topics.prefix + "transactional"
    create_topic(brokers, topic)
    producer = Producer({"bootstrap.servers": brokers, "transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"committed")
    producer.commit_transaction(30)
    assert consume(brokers, topic, 1) == [b"committed"]


def test_no_java_is_one_line_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(
        HeadgateError, match=r"^Kafka: no java command.*apt-get install -y default-jre-headless.*$"
    ):
        Kafka(tmp_path / "data", tmp_path / "log").start()


def test_no_jars_is_one_line_that_says_make_setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "JARS", tmp_path)
    with pytest.raises(HeadgateError, match=r"run `make setup`$"):
        Kafka(tmp_path / "data", tmp_path / "log").start()


def test_a_broker_that_fails_to_start_says_why(tmp_path: Path) -> None:
    logs = tmp_path / "data" / "logs"
    logs.mkdir(parents=True)
    (logs / "meta.properties").write_text("version=1\ncluster.id=another\nnode.id=7\n")
    with pytest.raises(HeadgateError, match=r"^Kafka ended while starting: .*node id 7.*log\)$"):
        Kafka(tmp_path / "data", tmp_path / "log").start()
