"""`headgate check` on topics: are they there, with the partitions, retention and timestamps they need?"""

from collections.abc import Iterator, Mapping

from confluent_kafka.admin import ConfigResource

from infra import topics as creation
from infra.commands import kafka
from infra.commands.finding import Finding, note, ok, wrong
from infra.commands.kafka import Broker
from infra.commands.output import ago
from schemas import topics
from schemas.settings import Settings
from schemas.topics import Cleanup, Topic
from streams.join import cost
from streams.log import LARGEST

THEIRS = (topics.REQUESTS, topics.FEEDBACK, topics.SAMPLES)
"""Topics that others write. What is re-published there has been taken before."""

FOREVER = -1
"""Kafka's `retention.ms` of a topic that keeps everything."""


def check(settings: Settings, broker: Broker, span: int) -> Iterator[Finding]:
    """A finding a topic. `span` (ms): from a pane's start to its deadline, by the longest policy."""
    existing = broker.cluster().partitions
    names = {topic: topic.full_name(settings.topics) for topic in topics.ALL}
    configs = _configs(broker, [name for name in names.values() if name in existing])
    for topic, name in names.items():
        if name not in existing:
            yield wrong(f"topic {name}", "is missing", f"create it: {_creation(topic, settings)}")
        elif existing[name] != topic.partitions(settings.topics):
            yield _partitions(topic, name, existing[name], settings)
        else:
            yield _configured(topic, name, existing[name], configs[name], cost.needed(topic, span))


def _configs(broker: Broker, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    answers = broker.admin.describe_configs(resources, request_timeout=kafka.PATIENCE)
    return {
        resource.name: {key: entry.value for key, entry in answer.result().items()}
        for resource, answer in answers.items()
    }


def _creation(topic: Topic, settings: Settings) -> str:
    config = creation.configuration(topic, forever=False)
    options = " ".join(f"--config {key}={value}" for key, value in config.items())
    name, partitions = topic.full_name(settings.topics), topic.partitions(settings.topics)
    return (
        f"kafka-topics.sh --create --topic {name} --partitions {partitions} "
        f"--replication-factor {settings.topics.replication} {options}"
    )


def _partitions(topic: Topic, name: str, found: int, settings: Settings) -> Finding:
    setting = "partitions" if topic.event else "model_partitions"
    return wrong(
        f"topic {name}",
        f"found {found} partitions, expected {topic.partitions(settings.topics)}",
        f"set {setting} = {found} under [topics] in headgate.toml if all such topics have as many; counts do "
        "not change in place: else choose a new prefix there, create the topics and move the producers",
    )


def _configured(topic: Topic, name: str, partitions: int, config: Mapping[str, str], span: int) -> Finding:
    subject, retention = f"topic {name}", int(config["retention.ms"])
    cleanup, clock = config["cleanup.policy"], config["message.timestamp.type"]
    compacted = topic.cleanup is Cleanup.COMPACT
    if ("compact" in cleanup) is not compacted or (compacted and "delete" in cleanup):
        return _misconfigured(name, "cleanup.policy", cleanup, "compact" if compacted else "delete")
    if topic.cleanup is Cleanup.KEEP and retention != FOREVER:
        return _misconfigured(name, "retention.ms", str(retention), str(FOREVER))
    if topic is topics.POLICIES and clock != "LogAppendTime":
        return _misconfigured(name, "message.timestamp.type", clock, "LogAppendTime")
    if topic.event and FOREVER < retention < span:
        return wrong(
            subject,
            f"keeps {ago(retention)}, but the join needs the last {ago(span)}",
            "give it more, or shorten the policies' attribution: "
            f"{_alteration(name, 'retention.ms', str(4 * span))}",
        )
    kept = "compacted" if compacted else "kept for ever" if retention == FOREVER else f"kept {ago(retention)}"
    text = f"{partitions} partition{'s' if partitions > 1 else ''}, {kept}, {clock}"
    largest = int(config["max.message.bytes"])
    if topic not in THEIRS and largest < LARGEST:
        return note(
            subject,
            f"{text}; takes {largest:,} bytes at once, but Headgate writes records of up to {LARGEST:,}",
            f"a larger one is refused: {_alteration(name, 'max.message.bytes', str(creation.MAX_RECORD))}",
        )
    if topic.event and clock == "CreateTime" and retention != FOREVER:
        return note(
            subject,
            text,
            "records that carry old times are deleted early: locally set retention.ms=-1, in "
            f"production {_alteration(name, 'message.timestamp.type', 'LogAppendTime')}",
        )
    return ok(subject, text)


def _misconfigured(name: str, key: str, found: str, expected: str) -> Finding:
    return wrong(
        f"topic {name}", f"found {key}={found}, expected {expected}", _alteration(name, key, expected)
    )


def _alteration(name: str, key: str, value: str) -> str:
    return f"kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {key}={value}"
