"""How many records a second the Faust transport alone hands over, on a real broker; nothing is decoded. In
the same run: aiokafka's consumer by itself, which makes an object of each record.

The topic is filled first: 4 partitions, 300 bytes a record, lz4. The clock runs in a process of each one's
own, from the first batch to the last.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import aiokafka
import msgspec

from infra import topics as broker
from infra.local.stack import LocalStack
from schemas import topics
from schemas.settings import Settings
from streams import app
from streams.columns import Records
from streams.log import Output
from streams.stage import Committed, TopicPartition
from streams.transport.thread import FETCH_WAIT_MS, MAX_FETCH_BYTES, MAX_PARTITION_BYTES
from tests.bench.contestants import unwatched
from tests.bench.passive import Passive

SIZE = 300


class Result(NamedTuple):
    """What was measured; `cpu` in seconds of the process."""

    name: str
    records: int
    seconds: float
    cpu: float
    batches: int

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.records:,} records in {self.seconds:.1f} s: "
            f"{self.records / self.seconds:,.0f} records/s, "
            f"{self.cpu / self.records * 1e6:.1f} CPU s per million records, "
            f"{self.records / self.batches:,.0f} records a batch"
        )


class Discarding(Passive):
    """Counts, commits, and ends the process with the last record."""

    name = "discarding"

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._records = self._batches = 0
        self._started = self._cpu = 0.0
        self._positions: dict[TopicPartition, int] = {}

    async def process(self, partition: TopicPartition, records: Records) -> None:
        if not self._records:
            self._started, self._cpu = time.monotonic(), time.process_time()
        self._records += len(records)
        self._batches += 1
        self._positions[partition] = int(records.offsets[-1]) + 1
        if self._records == self._expected:
            seconds, cpu = time.monotonic() - self._started, time.process_time() - self._cpu
            print(
                msgspec.json.encode(Result("transport", self._records, seconds, cpu, self._batches)).decode(),
                flush=True,
            )
            os.kill(os.getpid(), signal.SIGTERM)

    def safe(self, partition: TopicPartition) -> Committed | None:
        return Committed(self._positions[partition], "note") if partition in self._positions else None


async def aiokafka_alone(settings: Settings, expected: int) -> Result:
    """Reads as the transport does, and drops what it gets."""
    consumer = aiokafka.AIOKafkaConsumer(
        *(topic.full_name(settings.topics) for topic in topics.EVENTS),
        **settings.kafka.aiokafka(),
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=MAX_PARTITION_BYTES,
        fetch_max_bytes=MAX_FETCH_BYTES,
        fetch_max_wait_ms=FETCH_WAIT_MS,
    )
    await consumer.start()
    records = batches = 0
    started = cpu = 0.0
    while records < expected:
        fetched = await consumer.getmany(timeout_ms=1_000, max_records=10_000)
        if not records:
            started, cpu = time.monotonic(), time.process_time()
        records += sum(map(len, fetched.values()))
        batches += len(fetched)
    result = Result("aiokafka alone", records, time.monotonic() - started, time.process_time() - cpu, batches)
    await consumer.stop()
    return result


def measure(records: int) -> str:
    """One run of each."""
    with LocalStack() as stack:
        broker.create(stack.settings, forever=True)
        output = Output(stack.settings)
        for number in range(records):
            output.send(topics.PREDICTIONS, str(number), os.urandom(SIZE // 2).hex().encode())
        output.flush()
        return "\n".join(str(_measured(name, records, stack.settings)) for name in ("aiokafka", "transport"))


def _measured(name: str, records: int, settings: Settings) -> Result:
    process = subprocess.run(
        [sys.executable, "-m", "tests.bench.transport_rate", name, str(records)],
        input=msgspec.json.encode(unwatched(settings)),
        stdout=subprocess.PIPE,
        check=True,
    )
    return msgspec.json.decode(process.stdout, type=Result)


def main(name: str, records: int) -> int:
    """One of the two, in this process; settings as JSON on standard input."""
    settings = msgspec.json.decode(sys.stdin.buffer.read(), type=Settings)
    if name == "transport":
        return app.run(Discarding(records), settings)
    print(msgspec.json.encode(asyncio.run(aiokafka_alone(settings, records))).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
