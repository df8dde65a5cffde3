"""aiokafka's fetcher, giving columns: all that reaches into aiokafka beneath its consumer, which is pinned
for that (`aiokafka==0.14.0`).

Its fetcher (`aiokafka/consumer/fetcher.py`) makes two objects of what it fetched of a partition, by the names
that its module has for them, and relies on no more of them than this:

- `MemoryRecords(bytes)`: `has_next()`, whether there is a whole record batch; `size_in_bytes()`.
- `PartitionRecords(tp, records, aborted, offset, …)`: an iterator, whose `next_fetch_offset` is the position
  after what was taken from it. What it gives is counted against `max_poll_records` and handed on, whatever it
  is.

`install` puts those of this file in their places; `hurry` sets its `_prefetch_backoff`. Positions, pauses,
seeks, rebalances, retries and errors stay aiokafka's own work: it does not notice that what it hands out are
`Records` instead of records.
"""

from collections.abc import Iterable, Iterator

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import fetcher
from aiokafka.structs import TopicPartition

from streams.columns import Records
from streams.transport.wire import RecordBatches

RECORDS = 25_000
"""Records after which no further batch is read into the same columns."""
SIZE = 4 << 20
"""Uncompressed bytes after which none is: what compresses well must not fill the memory."""


class Fetched:
    """What a broker answered for one partition, as bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def has_next(self) -> bool:
        """Whether there is a whole record batch."""
        return not RecordBatches("", self.data, (), 0).done

    def size_in_bytes(self) -> int:
        """Of what was answered."""
        return len(self.data)


class Pieces(Iterator[Records]):
    """What a broker answered for one partition, in columns, piece by piece."""

    def __init__(
        self,
        partition: TopicPartition,
        fetched: Fetched,
        aborted: Iterable[tuple[int, int]] | None,
        position: int,
        *_: object,
    ) -> None:
        self._batches = RecordBatches(
            f"{partition.topic}-{partition.partition}", fetched.data, aborted or (), position
        )

    @property
    def next_fetch_offset(self) -> int:
        """The position after all that was taken."""
        return self._batches.position

    def __next__(self) -> Records:
        while not self._batches.done:
            if records := self._batches.read(RECORDS, SIZE):
                return records
        raise StopIteration


def hurry(consumer: AIOKafkaConsumer) -> None:
    """From now on this consumer, once started, fetches of some partitions although what was fetched of others
    has not been asked for. By default those keep all of their broker waiting, for a tenth of a second each.
    """
    consumer._fetcher._prefetch_backoff = 0.0


def install() -> None:
    """From now on the consumers of this process hand out columns: `getmany` gives a list of `Records` for
    each partition, and `max_records` counts those.

    Loads what is compiled, too: later that would keep the consumer's thread from its heartbeats.
    """
    RecordBatches("", b"", (), 0).read(RECORDS, SIZE)
    fetcher.MemoryRecords = Fetched
    fetcher.PartitionRecords = Pieces
