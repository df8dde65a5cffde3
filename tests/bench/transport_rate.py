"""How many records a second the Faust transport alone hands over, on a real broker; nothing is decoded.

The topic is filled first: 4 partitions, 300 bytes a record, lz4. The clock runs in the stage's process from
the first batch to the last.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec

from infra import topics as broker
from infra.local.stack import LocalStack
from schemas import topics
from schemas.settings import Settings
from streams import app
from streams.log import Output
from streams.stage import Assigned, Committed, Reading, Record, TopicPartition

SIZE = 300


class Result(NamedTuple):
    """What was measured; `cpu` in seconds of the stage's process."""

    records: int
    seconds: float
    cpu: float
    batches: int

    def __str__(self) -> str:
        return (
            f"transport: {self.records:,} records in {self.seconds:.1f} s: "
            f"{self.records / self.seconds:,.0f} records/s, "
            f"{self.cpu / self.records * 1e6:.1f} CPU s per million records, "
            f"{self.records / self.batches:,.0f} records a batch"
        )


class Discarding:
    """Counts, commits, and ends the process with the last record."""

    name = "discarding"
    topics = topics.EVENTS

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._records = self._batches = 0
        self._started = self._cpu = 0.0
        self._positions: dict[TopicPartition, int] = {}

    def assigned(self, partitions: Mapping[TopicPartition, Assigned]) -> None:
        """The clock has not started yet."""

    def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Nobody else is in the group."""

    async def process(self, partition: TopicPartition, records: Sequence[Record]) -> None:
        if not self._records:
            self._started, self._cpu = time.monotonic(), time.process_time()
        self._records += len(records)
        self._batches += 1
        self._positions[partition] = records[-1].offset + 1
        if self._records == self._expected:
            seconds, cpu = time.monotonic() - self._started, time.process_time() - self._cpu
            print(
                msgspec.json.encode(Result(self._records, seconds, cpu, self._batches)).decode(), flush=True
            )
            os.kill(os.getpid(), signal.SIGTERM)

    async def tick(self, readings: Mapping[TopicPartition, Reading], now: int) -> None:
        """Nothing to do by the clock."""

    def safe(self, partition: TopicPartition) -> Committed | None:
        return Committed(self._positions[partition], "note") if partition in self._positions else None

    async def close(self) -> None:
        """Nothing is left."""


def measure(records: int) -> Result:
    """One run."""
    with LocalStack() as stack:
        broker.create(stack.settings, forever=True)
        output = Output(stack.settings)
        for number in range(records):
            output.send(topics.PREDICTIONS, str(number), os.urandom(SIZE // 2).hex().encode())
        output.flush()
        stage = subprocess.run(
            [sys.executable, "-m", "tests.bench.transport_rate", str(records)],
            input=msgspec.json.encode(stack.settings),
            stdout=subprocess.PIPE,
            check=True,
        )
    return msgspec.json.decode(stage.stdout, type=Result)


if __name__ == "__main__":
    sys.exit(
        app.run(Discarding(int(sys.argv[1])), msgspec.json.decode(sys.stdin.buffer.read(), type=Settings))
    )
