"""`headgate check` on policies: what is in force for each model, and what it costs the join."""

import time
from collections.abc import Iterator, Sequence

from confluent_kafka import TopicPartition

from infra.commands.finding import Finding, note, ok
from infra.commands.kafka import Broker
from infra.commands.output import ago
from infra.commands.policy_log import Published, published, validity
from schemas import policies, topics
from schemas.settings import Settings
from schemas.topics import Topic
from streams.join import cost

SAMPLE = 60_000
"""The rate of events is that of the last so many ms."""


def longest(settings: Settings, broker: Broker) -> int:
    """How long (ms) the join keeps an event at most, by the policies that are not past; by the defaults where
    there are none.
    """
    current = [policies.parse(one.policy) for one in _current(settings, broker)]
    return max(map(cost.kept, current or [policies.default("")]))


def asking_for_examples(settings: Settings, broker: Broker) -> Sequence[str]:
    """The models whose policies ask for raw records to be kept."""
    return [one.model for one in _current(settings, broker) if policies.parse(one.policy).examples.share > 0]


def check(settings: Settings, broker: Broker) -> Iterator[Finding]:
    """A finding a model, and one about the cost."""
    current = _current(settings, broker)
    for one in current:
        yield ok(f"policy {one.model}", validity(one))
    if not current:
        yield note(
            "policies", "none: every model has the defaults", "`headgate policy apply FILE` publishes one"
        )
    yield _cost(settings, broker)


def _cost(settings: Settings, broker: Broker) -> Finding:
    """What the longest of the policies costs at the rate of the last minute."""
    kept = longest(settings, broker)
    rates = {topic: _rate(settings, broker, topic) for topic in topics.EVENTS}
    requests, predictions, feedback = (rates[topic] * kept / 1_000 for topic in topics.EVENTS)
    needed = cost.memory(requests, predictions, feedback) / (1 << 20)
    again = cost.recovery(sum(rate * cost.needed(topic, kept) / 1_000 for topic, rate in rates.items()))
    text = (
        f"{sum(rates.values()):,.0f} events/s in the last minute, kept for up to {ago(kept)}: about "
        f"{predictions:,.0f} pending predictions, {needed:,.0f} MiB in the join's memory, read again in "
        f"{ago(round(again * 1_000))} after a restart"
    )
    limit = settings.streams.memory
    if needed > limit * cost.COMFORTABLE:
        return note(
            "cost",
            text,
            f"a join process holds {limit:,} MiB and lets topics wait from "
            f"{limit * cost.COMFORTABLE:,.0f} MiB on: raise memory under [streams] in headgate.toml, run "
            "more join processes, or shorten the policies' attribution",
        )
    return ok("cost", text)


def _current(settings: Settings, broker: Broker) -> Sequence[Published]:
    if topics.POLICIES.full_name(settings.topics) not in broker.cluster().partitions:
        return []
    now = time.time_ns() // 1_000_000
    return [
        one
        for one in published(settings)
        if one.until is None or (one.until > now and one.until != one.in_force)
    ]


def _rate(settings: Settings, broker: Broker, topic: Topic) -> float:
    """Events a second."""
    name = topic.full_name(settings.topics)
    partitions = [TopicPartition(name, number) for number in range(broker.cluster().partitions.get(name, 0))]
    recent = broker.since(partitions, time.time_ns() // 1_000_000 - SAMPLE)
    ends = broker.ends(partitions)
    return sum(end - recent[place] for place, end in ends.items()) * 1_000 / SAMPLE
