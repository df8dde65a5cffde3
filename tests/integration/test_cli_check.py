"""`headgate check` on a real broker and a real ClickHouse engine: what is wrong, and its remedy."""

from pathlib import Path
from typing import Any

import clickhouse_connect
import msgspec
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from infra.topics import configuration, create
from schemas import topics
from schemas.settings import Settings
from schemas.topics import Topic
from streams.log import Output
from streams.storage import migrate
from tests.conftest import isolated
from tests.integration.headgate_command import Headgate, until


@pytest.fixture(scope="module")
def tables(settings: Settings) -> None:
    """In the database of all these tests."""
    with clickhouse_connect.get_client(**settings.clickhouse.connect()) as client:
        migrate(client, settings.clickhouse.database)


@pytest.fixture
def own(settings: Settings, tables: None) -> Settings:
    """Topics of this test's own."""
    return msgspec.structs.replace(settings, topics=isolated(settings).topics)


def findings(headgate: Headgate) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit status, and the findings by their subjects, the topics' without prefix."""
    done = headgate("check", "--json")
    assert done.err == ""
    return done.status, {
        finding["subject"].replace(headgate.settings.topics.prefix, ""): finding for finding in done.json
    }


def create_topic(settings: Settings, topic: Topic, partitions: int | None = None, **config: str) -> None:
    """A topic as an operator may have made it."""
    new = NewTopic(
        topic.full_name(settings.topics),
        num_partitions=partitions or topic.partitions(settings.topics),
        replication_factor=1,
        config=configuration(topic, forever=True)
        | {key.replace("_", "."): value for key, value in config.items()},
    )
    admin = AdminClient(settings.kafka.librdkafka())
    for created in admin.create_topics([new]).values():
        created.result()


def test_a_sound_stack_passes(own: Settings, tmp_path: Path) -> None:
    create(own, forever=True)
    status, found = findings(Headgate(own, tmp_path))
    assert status == 0
    assert {finding["state"] for finding in found.values()} == {"ok", "note"}
    assert found[f"Kafka {own.kafka.brokers}"]["text"] == "1 broker"
    assert found["topic inference.requests"]["text"] == "4 partitions, kept for ever, CreateTime"
    assert found["topic control.releases"]["text"] == "1 partition, compacted, CreateTime"
    assert found["topic control.policies"]["text"] == "1 partition, kept for ever, LogAppendTime"
    assert found[f"ClickHouse {own.clickhouse.url}"]["text"].startswith("version 2")
    assert {f"topic {topic.name}" for topic in topics.ALL} <= found.keys()


def test_every_line_for_people_is_one_line(own: Settings, tmp_path: Path) -> None:
    create(own, forever=True)
    done = Headgate(own, tmp_path)("check")
    states = [line.split()[0] for line in done.out.splitlines()]
    assert set(states) == {"ok", "note"}
    assert done.status == 0


def test_missing_topics_are_named_with_the_command_that_creates_them(own: Settings, tmp_path: Path) -> None:
    status, found = findings(Headgate(own, tmp_path))
    assert status == 1
    remedy = found["topic inference.requests"]["remedy"]
    name = f"{own.topics.prefix}inference.requests"
    assert f"kafka-topics.sh --create --topic {name} --partitions 4" in remedy
    assert "message.timestamp.type=LogAppendTime" in remedy


def test_missing_tables_are_made_and_that_is_said(own: Settings, tmp_path: Path) -> None:
    new = msgspec.structs.replace(own, clickhouse=isolated(own).clickhouse)
    create(new, forever=True)
    status, found = findings(Headgate(new, tmp_path))
    database = found[f"database {new.clickhouse.database}"]
    assert (status, database["state"]) == (0, "ok")
    assert database["text"].startswith("applied 0001 tables, 0002 written, ")


@pytest.mark.parametrize(
    ("topic", "partitions", "config", "text", "remedy"),
    [
        (topics.FEEDBACK, 3, {}, "found 3 partitions, expected 4", "set partitions = 3"),
        (topics.ALERTS, 2, {}, "found 2 partitions, expected 1", "set model_partitions = 2"),
        (
            topics.POLICIES,
            None,
            {"message_timestamp_type": "CreateTime"},
            "found message.timestamp.type=CreateTime, expected LogAppendTime",
            "--add-config message.timestamp.type=LogAppendTime",
        ),
        (
            topics.POLICIES,
            None,
            {"retention_ms": "604800000"},
            "found retention.ms=604800000, expected -1",
            "--add-config retention.ms=-1",
        ),
        (
            topics.RELEASES,
            None,
            {"cleanup_policy": "delete"},
            "found cleanup.policy=delete, expected compact",
            "--add-config cleanup.policy=compact",
        ),
        (
            topics.PREDICTIONS,
            None,
            {"retention_ms": "60000"},
            "keeps 1 m, but the join needs the last 23 m 20 s",
            "--add-config retention.ms=",
        ),
        (
            topics.FEEDBACK,
            None,
            {"retention_ms": "60000"},
            "keeps 1 m, but the join needs the last 12 m 10 s",
            "--add-config retention.ms=",
        ),
    ],
)
def test_a_topic_that_is_not_as_it_must_be_is_wrong(
    own: Settings,
    tmp_path: Path,
    topic: Topic,
    partitions: int | None,
    config: dict[str, str],
    text: str,
    remedy: str,
) -> None:
    create_topic(own, topic, partitions, **config)
    status, found = findings(Headgate(own, tmp_path))
    finding = found[f"topic {topic.name}"]
    assert (status, finding["state"], finding["text"]) == (1, "wrong", text)
    assert remedy in finding["remedy"]


def test_a_topic_that_takes_less_than_headgate_writes_is_noted(own: Settings, tmp_path: Path) -> None:
    """Kafka's default is 1 MiB; what others write is theirs to know."""
    for topic in (topics.PANES, topics.REQUESTS):
        create_topic(own, topic, max_message_bytes="1048588")
    _, found = findings(Headgate(own, tmp_path))
    panes = found["topic metrics.panes"]
    assert panes["state"] == "note"
    assert "takes 1,048,588 bytes at once, but Headgate writes records of up to 8,000,000" in panes["text"]
    assert "--add-config max.message.bytes=8388608" in panes["remedy"]
    assert found["topic inference.requests"]["state"] == "ok"


def test_event_topics_that_would_lose_old_times_are_noted(own: Settings, tmp_path: Path) -> None:
    create_topic(own, topics.REQUESTS, retention_ms="604800000")
    _, found = findings(Headgate(own, tmp_path))
    assert found["topic inference.requests"]["state"] == "note"
    assert "LogAppendTime" in found["topic inference.requests"]["remedy"]


def test_policies_are_told_by_model_and_their_cost_by_the_longest(own: Settings, tmp_path: Path) -> None:
    create(own, forever=True)
    headgate = Headgate(own, tmp_path)
    headgate("policy", "apply", headgate.file("p.yaml", "model: ranker\nattribution: {window: 2h}\n"))
    _, found = findings(headgate)
    assert found["policy ranker"]["text"] == "in force from the beginning (the model's first)"
    assert "kept for up to 2 h 1 m" in found["cost"]["text"]


def test_the_cost_is_what_the_rate_of_the_last_minute_makes_pending(own: Settings, tmp_path: Path) -> None:
    create(own, forever=True)
    headgate = Headgate(own, tmp_path)
    headgate("policy", "apply", headgate.file("p.yaml", "model: ranker\nattribution: {window: 4h}\n"))
    output = Output(own)
    for number in range(60_000):
        output.send(topics.PREDICTIONS, f"r-{number}", b"{}")
    output.flush()
    cost = findings(headgate)[1]["cost"]
    assert cost["text"].startswith("1,000 events/s in the last minute")
    assert "about 14,470,000 pending predictions, 2,622 MiB in the join's memory" in cost["text"]
    assert "read again in 1 m 36 s" in cost["text"]  # predictions of 8 h and 3 m, at 300,000 a second
    assert cost["state"] == "note"
    assert "memory under [streams]" in cost["remedy"]


def test_records_that_nobody_reads_are_wrong(own: Settings, tmp_path: Path) -> None:
    create(own, forever=True)
    output = Output(own)
    for number in range(10):
        output.send(topics.REQUESTS, f"r-{number}", b"{}")
    output.flush()
    status, found = findings(Headgate(own, tmp_path))
    assert (status, found["stage join"]["state"]) == (1, "wrong")
    assert found["stage join"]["text"] == "is not running, and 10 records wait for it"
    assert "headgate streams join" in found["stage join"]["remedy"]


def test_running_stages_are_told_with_their_progress(own: Settings, tmp_path: Path) -> None:
    create(own, forever=True)
    headgate = Headgate(own, tmp_path)

    def all_run() -> bool:
        _, found = findings(headgate)
        stages = [found[f"stage {name}"] for name in ("join", "judge", "sink")]
        return (
            all(stage["text"].startswith("1 process, ") for stage in stages)
            and found["progress"]["state"] == "ok"
            and found[f"database {own.clickhouse.database}"]["state"] == "ok"
        )

    with headgate.running("streams"):
        until(all_run)


def test_clickhouse_that_lets_nobody_in_is_said_in_one_line(own: Settings, tmp_path: Path) -> None:
    clickhouse = msgspec.structs.replace(own.clickhouse, url="http://127.0.0.1:9")
    _, found = findings(Headgate(msgspec.structs.replace(own, clickhouse=clickhouse), tmp_path))
    finding = found["ClickHouse http://127.0.0.1:9"]
    assert finding["state"] == "wrong"
    assert "\n" not in finding["text"]
