"""`headgate check` on who reads: the stages' groups, what waits for them, how far panes are final."""

import time
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from confluent_kafka import TopicPartition

from infra.commands import kafka
from infra.commands.finding import Finding, note, ok, wrong
from infra.commands.kafka import Broker
from infra.commands.output import ago, instant
from schemas import topics
from schemas.records import Codec, PaneRecord, Progress
from schemas.settings import Settings
from schemas.topics import Topic
from serving.intake import group_of
from streams import registry

RECENT = 15_000
"""A source partition whose last progress is older (ms) makes none; the join says it every second."""

SERVING = "serve"


def check(settings: Settings, broker: Broker, stages: Sequence[str]) -> Iterator[Finding]:
    """A finding for each of `stages`, one for the workers of a whole repository, and one about the join's
    progress."""
    existing = broker.cluster().partitions
    for name in stages:
        yield _group(broker, existing, name, registry.group(name, settings), registry.reads(name), settings)
    yield _group(broker, existing, SERVING, group_of(settings, ()), (topics.REQUESTS,), settings)
    if topics.PANES.full_name(settings.topics) in existing:
        yield _progress(settings)


def _group(
    broker: Broker,
    existing: Mapping[str, int],
    name: str,
    group: str,
    read: Sequence[Topic],
    settings: Settings,
) -> Finding:
    start = "headgate serve --models DIR" if name == SERVING else f"headgate streams {name}"
    subject = f"stage {name}" if name != SERVING else "workers"
    partitions = [
        TopicPartition(topic, number)
        for topic in (topic.full_name(settings.topics) for topic in read)
        for number in range(existing.get(topic, 0))
    ]
    members = _members(broker, group)
    waiting = _unread(broker, group, partitions)
    if members:
        return ok(
            subject,
            f"{_count(members, 'process')}, {waiting:,} records after its committed offsets",
        )
    if waiting and name != SERVING:
        return wrong(subject, f"is not running, and {waiting:,} records wait for it", f"start it: `{start}`")
    return note(subject, "is not running" if name != SERVING else "none is running", f"`{start}` starts it")


def _members(broker: Broker, group: str) -> int:
    described = broker.admin.describe_consumer_groups([group], request_timeout=kafka.PATIENCE)[group]
    return len(described.result().members)


def _unread(broker: Broker, group: str, partitions: Sequence[TopicPartition]) -> int:
    """Records after the committed offsets; after the log's start where nothing is committed yet."""
    if not partitions:
        return 0
    committed = broker.committed(group, partitions)
    starts, ends = broker.starts(partitions), broker.ends(partitions)
    return sum(max(0, end - max(committed[place], starts[place])) for place, end in ends.items())


def _progress(settings: Settings) -> Finding:
    """How far panes are final, by what the join has said in the last `RECENT` ms."""
    subject, now = "progress", time.time_ns() // 1_000_000
    codec: Codec[PaneRecord] = Codec(PaneRecord)
    last: dict[int, Progress] = {}
    for entry in kafka.read(settings, topics.PANES, now - RECENT):
        try:
            record = codec.decode(entry.value)
        except msgspec.DecodeError:
            continue
        if isinstance(record, Progress):
            last[record.partition] = record
    if not last:
        return note(
            subject, f"the join has said nothing for {ago(RECENT)}", "`headgate streams join` starts it"
        )
    silent = sorted(set(range(max(record.partitions for record in last.values()))) - last.keys())
    if silent:
        return wrong(
            subject,
            f"source partition {', '.join(map(str, silent))} makes none, so no pane becomes final",
            "`headgate streams join` on one more machine, or look into the join's log",
        )
    done, clock = min(record.time for record in last.values()), max(record.clock for record in last.values())
    if clock <= 0:
        return ok(subject, "no events yet")
    return ok(
        subject,
        f"events up to {instant(clock)}; panes with a deadline before {instant(max(0, done))} are final",
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}es"
