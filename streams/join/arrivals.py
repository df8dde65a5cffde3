"""Which of a batch's records are events here: those that are readable, in the right partition, and that were
not re-published before.
"""

import re
from collections.abc import Mapping
from enum import Enum
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from schemas import topics
from schemas.records import ORIGIN, Codec, Feedback, Prediction, Request
from schemas.topics import Topic
from streams.columns import Records
from streams.join.batches import GOOD, MISPLACED, REPEATED, UNREADABLE
from streams.join.layout import Bytes
from streams.join.rows import Scanned
from streams.record import Record

PLACE = re.compile(rb"[^/]+/(\d{1,10})/(\d{1,18})")
"""What we write into that header."""

ORIGINS = 100
"""Of so many partitions it is kept how far their records were re-published here: what a commit can carry."""

Origins = Mapping[str, int]
"""By partition, the highest offset of which a re-published record has come. A partition's owners re-publish
in offset order, each from where the one before it was at most, so all up to there have come.
"""

CODECS: dict[Topic, Codec[Request] | Codec[Prediction] | Codec[Feedback]] = {
    topics.REQUESTS: Codec(Request),
    topics.PREDICTIONS: Codec(Prediction),
    topics.FEEDBACK: Codec(Feedback),
}


class Fault(Enum):
    """Why a record did not become an event here."""

    UNREADABLE = "dead_letters"
    MISPLACED = "mispartitioned"


class Lost(NamedTuple):
    """A record that is no event here. `request_id` is there where it could be read."""

    record: Record
    fault: Fault
    reason: str
    request_id: str | None = None


class Arrivals:
    """Reads one topic partition of `count`, and remembers whose records were re-published here."""

    def __init__(self, topic: Topic, partition: int, count: int, origins: Origins) -> None:
        self.origins: Origins = origins
        self._topic = topic
        self._partition = partition
        self._count = count

    def judge(self, records: Records, scanned: Scanned) -> tuple[Bytes, dict[int, Lost]]:
        """What each record is (`batches.GOOD`, …), shape (n,), and those that are no events here, by their
        index.
        """
        rows = scanned.rows
        kinds = np.full(len(rows), GOOD, np.uint8)
        unreadable = rows["fault"] != 0
        keyless = records.keys[:, 1] <= records.keys[:, 0]
        places = rows["place"] % self._count
        misplaced = ~unreadable & ((places != self._partition) | keyless)
        for i in np.flatnonzero(~unreadable & (records.headers[:, 1] > 0)).tolist():
            origin = origin_of(records[i])
            if origin is not None:
                misplaced[i] = places[i] != self._partition
                if not misplaced[i] and not self._is_first(*origin):
                    kinds[i] = REPEATED
        kinds[unreadable] = UNREADABLE
        kinds[misplaced] = MISPLACED
        lost = {
            i: self._lost(records[i], scanned.reasons.get(i), int(places[i]))
            for i in np.flatnonzero(unreadable | misplaced).tolist()
        }
        return kinds, lost

    def _lost(self, record: Record, reason: str | None, place: int) -> Lost:
        if reason is not None:
            return Lost(record, Fault.UNREADABLE, reason)
        found = f"partition {self._partition}" if record.key else "no key"
        return Lost(
            record,
            Fault.MISPLACED,
            f"found {found}, expected partition {place} of its request_id",
            CODECS[self._topic].decode(record.value).request_id,
        )

    def _is_first(self, place: str, offset: int) -> bool:
        """Notes a re-published record; False for one that was re-published again."""
        if offset <= self.origins.get(place, -1):
            return False
        others: list[tuple[str, int]] = [item for item in self.origins.items() if item[0] != place]
        self.origins = dict([*others[1 - ORIGINS :], (place, offset)])
        return True


def origin_of(record: Record) -> tuple[str, int] | None:
    """The partition and the offset that a re-published record has in its header; None for any other record.
    A header that is none of ours tells nothing, but that the record is where it was put on purpose. Whatever
    it holds, the answer is short: a commit carries it.
    """
    for name, value in record.headers:
        if name == ORIGIN:
            text = value or b""
            if place := PLACE.fullmatch(text):
                return place[1].decode(), int(place[2])
            return blake2b(text, digest_size=8).hexdigest(), 0
    return None
