"""How many snapshots of panes the sink stage writes into ClickHouse in a second, and how fast the views
answer.

`python -m tests.bench.sink [snapshots]` starts a local stack, feeds the stage in batches of 5,000 as its
transport would, and prints one line a figure. Values are of the join's shape: eleven sums, forty latency
bins, five features.
"""

import asyncio
import random
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import clickhouse_connect

import infra.topics
from infra.local.stack import LocalStack
from schemas import topics
from schemas.records import ENCODER, Pane
from schemas.settings import Settings
from streams.sink import SinkStage
from streams.stage import Assigned, TopicPartition

PARTITION = TopicPartition(topics.PANES.name, 0)
BATCH = 5_000
MODELS, VALUES = 5, 10
NOW = time.time_ns() // 1_000_000
SUMS = (
    *("predictions", "errors", "slow", "impressions", "clicks", "conversions"),
    *("relevant", "hits@5", "hits@10", "latency_ms", "timed"),
)


class Message(NamedTuple):
    """A record as a Kafka client hands it over."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def message(offset: int, chance: random.Random) -> Message:
    """A snapshot of one of `MODELS` models, of all its requests or of one of `VALUES` segments."""
    pane, which = divmod(offset, 4 * MODELS * (1 + VALUES))
    model, series = divmod(which // 4, 1 + VALUES)
    start = NOW - NOW % 10_000 - 10_000 * pane
    value = Pane(
        model=f"m{model}",
        version="v1",
        arm="stable",
        segment="surface" if series else "",
        segment_value=f"s{series}" if series else "",
        start=start,
        end=start + 10_000,
        generation=1,
        partition=which % 4,
        part=0,
        snapshot=offset,
        deadline=start + 700_000,
        sums={name: float(chance.randrange(1, 100)) for name in SUMS},
        latency={chance.randrange(100, 300): chance.randrange(1, 5) for _ in range(40)},
        click_delay={chance.randrange(300, 500): 1 for _ in range(10)},
        features={} if series else {f"f{i}": [chance.randrange(10) for _ in range(11)] for i in range(5)},
    )
    return Message(offset, NOW, b"m", ENCODER.encode(value))


async def write(settings: Settings, messages: Sequence[Message]) -> None:
    """Feeds the stage, and prints its rate from the first record to the last answer of ClickHouse."""
    stage = SinkStage(settings)
    stage.assigned({PARTITION: Assigned(None, 0, len(messages))})
    await stage.process(PARTITION, messages[:1])
    await stage.close()  # connected, and the tables are there
    began, busy = time.perf_counter(), time.process_time()
    for first in range(0, len(messages), BATCH):
        await stage.process(PARTITION, messages[first : first + BATCH])
        await stage.tick({}, time.time_ns() // 1_000_000)
    await stage.close()
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    size = sum(len(message.value or b"") for message in messages) / len(messages)
    print(
        f"{len(messages) / seconds:,.0f} snapshots/s of {size:.0f} bytes, "
        f"{1e6 * busy / len(messages):.0f} µs of our own CPU each"
    )


def ask(settings: Settings) -> None:
    """Prints how long the views take for what a dashboard asks."""
    questions = {
        "CTR of one model, last hour": "metrics WHERE model = 'm1' AND metric = 'ctr'"
        " AND pane > now() - INTERVAL 1 HOUR",
        "all metrics, last five minutes": "metrics WHERE pane > now() - INTERVAL 5 MINUTE",
        "p99 by the minute, one model": "metrics_1m WHERE model = 'm1' AND metric = 'latency_p99_ms'",
    }
    client = clickhouse_connect.get_client(
        **settings.clickhouse.connect(), database=settings.clickhouse.database
    )
    for name, question in questions.items():
        began = time.perf_counter()
        rows = client.query(f"SELECT * FROM {question}").row_count
        print(f"{name}: {rows:,} rows in {1000 * (time.perf_counter() - began):.0f} ms")
    client.close()


def main(count: int) -> None:
    """Prints all figures."""
    chance = random.Random(1)
    messages = [message(offset, chance) for offset in range(count)]
    with LocalStack() as stack:
        infra.topics.create(stack.settings, forever=True)
        asyncio.run(write(stack.settings, messages))
        ask(stack.settings)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
