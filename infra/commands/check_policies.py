"""`headgate check` on policies: what is in force for each model, and what it costs the join."""

import time
from collections.abc import Iterator, Sequence

from confluent_kafka import TopicPartition

from infra.commands.finding import Finding, note, ok
from infra.commands.kafka import Broker
from infra.commands.output import ago
from infra.commands.policy_log import Published, published, validity
from schemas import policies, topics
from schemas.policies import Policy
from schemas.settings import Settings
from schemas.topics import Topic

BYTES = 2_300
"""Memory that the join takes for an event of a pane that is not final yet; predictions of 10 items."""

SPEED = 30_000
"""Events that a join process reads in a second of CPU. Both from `python -m tests.bench join`, about."""

SAMPLE = 60_000
"""The rate of events is that of the last so many ms."""


def span(policy: Policy) -> int:
    """How long (ms) an event is kept at most: from a pane's start to its deadline."""
    return policy.deadline(0)


def longest(settings: Settings, broker: Broker) -> int:
    """The longest `span` of the policies that are not past; of the defaults where there are none."""
    current = [policies.parse(one.policy) for one in _current(settings, broker)]
    return max(map(span, current or [policies.default("")]))


def check(settings: Settings, broker: Broker) -> Iterator[Finding]:
    """A finding a model, and one about the cost."""
    current = _current(settings, broker)
    for one in current:
        yield ok(f"policy {one.model}", validity(one))
    if not current:
        yield note(
            "policies", "none: every model has the defaults", "`headgate policy apply FILE` publishes one"
        )
    rate = _rate(settings, broker)
    kept = longest(settings, broker)
    events = rate * kept / 1_000
    yield ok(
        "cost",
        f"{rate:,.0f} events/s in the last minute, kept for up to {ago(kept)}: about "
        f"{events * BYTES / 1e6:,.0f} MB in the join's memory, read again in "
        f"{ago(int(events / SPEED * 1_000))} after a restart",
    )


def _current(settings: Settings, broker: Broker) -> Sequence[Published]:
    if topics.POLICIES.full_name(settings.topics) not in broker.cluster().partitions:
        return []
    now = time.time_ns() // 1_000_000
    return [
        one
        for one in published(settings)
        if one.until is None or (one.until > now and one.until != one.in_force)
    ]


def _rate(settings: Settings, broker: Broker) -> float:
    return sum(_of_topic(settings, broker, topic) for topic in topics.EVENTS)


def _of_topic(settings: Settings, broker: Broker, topic: Topic) -> float:
    name = topic.full_name(settings.topics)
    partitions = [TopicPartition(name, number) for number in range(broker.cluster().partitions.get(name, 0))]
    recent = broker.since(partitions, time.time_ns() // 1_000_000 - SAMPLE)
    ends = broker.ends(partitions)
    return sum(end - recent[place] for place, end in ends.items()) * 1_000 / SAMPLE
