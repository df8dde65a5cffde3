"""Dead letters: what becomes of a record that a stage cannot read."""

import base64

from schemas.records import DeadLetter
from streams.partition import TopicPartition
from streams.record import Record

KEPT = 65_536
"""Bytes of the bad key and of the bad value that are kept: a letter must fit where the record did."""
SAID = 2_000
"""Characters of the reason that are kept: it may quote the record."""


def dead_letter(stage: str, place: TopicPartition, record: Record, reason: str, now: int) -> DeadLetter:
    """The letter of `stage` about `record` at `place`, at wall time `now` (ms). `reason`: which field, what
    was found, what was expected."""
    return DeadLetter(
        ts=now,
        topic=place.topic,
        partition=place.partition,
        offset=record.offset,
        stage=stage,
        reason=reason if len(reason) <= SAID else reason[: SAID - 1] + "…",
        key=None if record.key is None else record.key[:KEPT].decode("utf-8", "replace"),
        value=None if record.value is None else base64.b64encode(record.value[:KEPT]).decode(),
    )
