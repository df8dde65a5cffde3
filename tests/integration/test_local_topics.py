"""Creating the contract's topics on a real broker."""

import msgspec
import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from infra import topics
from infra.local import ports
from schemas import topics as contract
from schemas.errors import HeadgateError
from schemas.settings import Kafka, Settings
from tests.conftest import isolated


def configuration(settings: Settings, name: str) -> dict[str, str]:
    admin = AdminClient(settings.kafka.librdkafka())
    resource = ConfigResource(ResourceType.TOPIC, settings.topics.prefix + name)
    entries = admin.describe_configs([resource])[resource].result()
    return {key: entry.value for key, entry in entries.items()}


def test_all_topics_are_created_once(settings: Settings) -> None:
    names = {topic.full_name(settings.topics) for topic in contract.ALL}
    assert set(topics.create(settings, forever=True)) == names
    assert topics.create(settings, forever=True) == []
    found = AdminClient(settings.kafka.librdkafka()).list_topics(timeout=10).topics
    partitions = {name: len(found[name].partitions) for name in names}
    assert partitions == {t.full_name(settings.topics): t.partitions(settings.topics) for t in contract.ALL}


def test_a_topic_that_is_missing_among_others_is_created(settings: Settings) -> None:
    topics.create(settings, forever=True)
    name = contract.ALERTS.full_name(settings.topics)
    admin = AdminClient(settings.kafka.librdkafka())
    admin.delete_topics([name])[name].result()
    while name in admin.list_topics(timeout=10).topics:  # the broker learns of it a moment later
        pass
    assert topics.create(settings, forever=True) == [name]


@pytest.mark.parametrize(
    ("topic", "forever", "timestamps", "retention", "cleanup"),
    [
        ("inference.predictions", True, "CreateTime", "-1", "delete"),
        ("inference.predictions", False, "LogAppendTime", None, "delete"),
        ("metrics.panes", True, "CreateTime", "-1", "delete"),
        ("control.policies", True, "LogAppendTime", "-1", "delete"),
        ("control.policies", False, "LogAppendTime", "-1", "delete"),
        ("control.releases", False, "CreateTime", None, "compact"),
    ],
)
def test_topics_keep_time_and_records_as_the_contract_says(
    settings: Settings, topic: str, forever: bool, timestamps: str, retention: str | None, cleanup: str
) -> None:
    own = isolated(settings)
    topics.create(own, forever=forever)
    found = configuration(own, topic)
    assert (found["message.timestamp.type"], found["cleanup.policy"]) == (timestamps, cleanup)
    assert retention is None or found["retention.ms"] == retention


def test_another_partition_count_is_refused_with_the_way_out(settings: Settings) -> None:
    own = isolated(settings)
    topics.create(own, forever=True)
    more = msgspec.structs.replace(own, topics=msgspec.structs.replace(own.topics, partitions=6))
    with pytest.raises(HeadgateError) as caught:
        topics.create(more, forever=True)
    assert f"{own.topics.prefix}inference.requests: found 4 partitions, expected 6" in str(caught.value)
    assert "set partitions = 4 under [topics]" in str(caught.value)


def test_no_broker_is_one_line_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "TIMEOUT", 0.5)
    brokers = f"{ports.HOST}:{ports.free()}"
    with pytest.raises(HeadgateError, match=f"^Kafka at {brokers}: .*check HEADGATE_KAFKA"):
        topics.create(Settings(kafka=Kafka(brokers=brokers)), forever=True)
