"""Decoding alone: the stage that every join on this transport is measured against. It fetches the three event
topics as the join does, decodes every record into the types of `schemas/records.py`, and does nothing with
them.

`python -m tests.bench.decoding PARENT`, settings as JSON on standard input. How many records it has decoded
is written to the topic `bench.decoding` with every tick.
"""

import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from schemas import topics
from schemas.records import Feedback, Prediction, Request
from schemas.settings import Settings
from schemas.topics import Cleanup, Topic
from streams import app
from streams.columns import Records
from streams.log import Output
from streams.stage import Reading, TopicPartition
from streams.worker import end_with_parent, log_to_stderr
from tests.bench.passive import Passive

COUNTS = Topic("bench.decoding", "nothing", Cleanup.DELETE)


class Decoding(Passive):
    """Decodes a batch in one call, which is as fast as msgspec gets."""

    name = "decoding"

    def __init__(self, settings: Settings) -> None:
        self._output = Output(settings)
        self._decoders: dict[str, msgspec.json.Decoder[list[Any]]] = {
            topics.REQUESTS.name: msgspec.json.Decoder(list[Request]),
            topics.PREDICTIONS.name: msgspec.json.Decoder(list[Prediction]),
            topics.FEEDBACK.name: msgspec.json.Decoder(list[Feedback]),
        }
        self._count = self._said = 0

    async def process(self, partition: TopicPartition, records: Records) -> None:
        """Raises `DecodeError` for a record that is none: the workload has no bad ones."""
        data = records.data.data
        values = b",".join([data[start:end] for start, end in records.values.tolist()])
        self._count += len(self._decoders[partition.topic].decode(b"[" + values + b"]"))

    async def tick(self, readings: Mapping[TopicPartition, Reading], now: int) -> None:
        """Says how many."""
        if self._count != self._said:
            self._said = self._count
            self._output.send(COUNTS, None, msgspec.json.encode(self._count))

    async def close(self) -> None:
        self._output.flush()


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    log_to_stderr()
    found = msgspec.json.decode(sys.stdin.buffer.read(), type=Settings)
    sys.exit(app.run(Decoding(found), found))
