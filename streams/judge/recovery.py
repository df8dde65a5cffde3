"""What a start does when `control.evidence` does not have the evidence about a running release: the panes
that it was made of are read once more, from the release's start, as far as the log goes.

At some 20,000 records a second. Beside the consumer group, whose offsets have long passed them.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime

from schemas import topics
from schemas.records import Ack, Codec, Pane, PaneRecord
from schemas.settings import Settings
from streams.judge.core import Judge
from streams.judge.past import Past
from streams.log import Entry
from streams.stage import TopicPartition

log = logging.getLogger(__name__)

SKEW = 600_000
"""By so much (ms) the clocks of workers, of the join and of the broker may differ."""


async def read_again(
    settings: Settings, judge: Judge, partition: int, ends: Mapping[TopicPartition, int], now: int
) -> None:
    """Has `judge` take in what it has `lost`, below the offsets `ends` from which it reads on by itself."""
    lost = judge.lost()
    if not lost:
        return
    oldest = min(lost.values())
    since = datetime.fromtimestamp(oldest / 1_000, UTC).isoformat(timespec="seconds")
    log.warning(
        "evidence about the release of %s is not in control.evidence: reading metrics.panes again from %s",
        ", ".join(sorted(lost)),
        since,
    )
    acks: Codec[Ack] = Codec(Ack)
    # All acks, for folding rests on them; those that come again by themselves change nothing.
    async for batch in _batches(Past(settings, topics.ACKS, partition, oldest - SKEW)):
        for entry in batch:
            with suppress(ValueError):  # it has had its dead letter
                ack = acks.decode(entry.value)
                if ack.model in lost:
                    judge.ack(ack)
    panes: Codec[PaneRecord] = Codec(PaneRecord)
    end = ends.get(TopicPartition(topics.PANES.name, partition))
    past, read = Past(settings, topics.PANES, partition, oldest - SKEW, end), 0
    cut = set(lost) if past.cut else set()
    async for batch in _batches(past):
        for entry in batch:
            with suppress(ValueError):
                record = panes.decode(entry.value)
                if isinstance(record, Pane) and record.model in cut:
                    cut.remove(record.model)
                    judge.leave_out(record.model, record.end)
                    log.warning("%s: metrics.panes begins later, so its evidence does, too", record.model)
                judge.reread(record, entry.timestamp, lost)
        read += len(batch)
        judge.forget(now)
    log.warning("%d records of metrics.panes have been read again", read)


async def _batches(past: Past) -> AsyncIterator[list[Entry]]:
    """Read in a thread of its own."""
    batches = past.batches()
    try:
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            yield batch
    finally:
        await asyncio.to_thread(past.close)
