"""From a partition's raw records to events the join can judge: decoded, put in their place and time, or lost
with a reason.

A record's `past` says how late it came, as a function of the log alone: it is past a deadline if its topic
partition's clock was before it, or if its own Kafka timestamp is by more than a minute. So `event.past >
deadline` is the whole rule.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from hashlib import blake2b
from typing import Generic, NamedTuple, TypeVar

import msgspec

from schemas.records import ORIGIN, Codec, Feedback, Prediction, Request, problem
from streams.join.murmur import partitions
from streams.stage import Record

SKEW = 300_000
"""A `ts` more than this many ms after the Kafka timestamp is replaced by that."""

GRACE = 60_000
"""A Kafka timestamp this many ms after a deadline is past it, whatever the clock says."""

PLACE = re.compile(rb"[^/]+/(\d{1,10})/(\d{1,18})")
"""What we write into that header."""

ORIGINS = 100
"""Of so many partitions it is kept how far their records were re-published here: what a commit can carry."""

Origins = Mapping[str, int]
"""By partition, the highest offset of which a re-published record has come. A partition's owners re-publish
in offset order, each from where the one before it was at most, so all up to there have come.
"""

OPENING, CLOSING = b"{}"
"""What a JSON object begins and ends with."""

Event = TypeVar("Event", Request, Prediction, Feedback)


class Fault(Enum):
    """Why a record did not become an event here."""

    UNREADABLE = "dead_letters"
    MISPLACED = "mispartitioned"


class Arrival(NamedTuple, Generic[Event]):
    """An event, its time (`ts`, corrected for skew) and how late it came."""

    record: Record
    event: Event
    ts: int
    past: int
    skewed: bool


class Lost(NamedTuple):
    """A record that is no event here. `event` is there where it could be read."""

    record: Record
    past: int
    fault: Fault
    reason: str
    event: Request | Prediction | Feedback | None


class Reader(Generic[Event]):
    """Reads one topic partition of `count`, and keeps its clock: the highest min(ts, Kafka timestamp) of its
    valid records so far; and whose records were re-published here.
    """

    def __init__(self, type_: type[Event], partition: int, count: int, clock: int, origins: Origins) -> None:
        self.clock = clock
        self.origins: Origins = origins
        self._one: Codec[Event] = Codec(type_)
        self._all: msgspec.json.Decoder[Event] = msgspec.json.Decoder(type_)
        self._partition = partition
        self._count = count

    def decode(self, records: Sequence[Record]) -> list[Event | msgspec.DecodeError]:
        """An event or what is wrong with it for each record. The whole batch in one call where all are
        good.
        """
        values = [record.value for record in records]
        # Between a closing and an opening brace nothing but a line's end is JSON, so no two values can merge
        # into one; and where one value holds two, there are too many.
        whole = [value for value in values if value and value[0] == OPENING and value[-1] == CLOSING]
        if len(whole) == len(values):
            try:
                events = self._all.decode_lines(b"\n".join(whole))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
            else:
                if len(events) == len(values):
                    return list(events)
        return [self._decode(value) for value in values]

    def arrivals(
        self, records: Sequence[Record], events: Sequence[Event | msgspec.DecodeError]
    ) -> Iterator[Arrival[Event] | Lost]:
        """Judges decoded records in offset order and moves the clock; misplaced records are valid and move it
        too.
        """
        ids = [b"" if isinstance(e, msgspec.DecodeError) else e.request_id.encode() for e in events]
        places = partitions(ids, self._count).tolist()
        for record, event, place in zip(records, events, places, strict=True):
            timestamp = record.timestamp
            past = max(self.clock, timestamp - GRACE)
            if isinstance(event, msgspec.DecodeError):
                yield Lost(record, past, Fault.UNREADABLE, str(event), None)
                continue
            reason = problem(event, timestamp)
            if reason is not None:
                yield Lost(record, past, Fault.UNREADABLE, reason, event)
                continue
            ts = event.ts
            skewed = ts > timestamp + SKEW
            if skewed:
                ts = timestamp
            self.clock = max(self.clock, min(ts, timestamp))
            origin = origin_of(record)
            if place != self._partition or (not record.key and origin is None):
                found = "no key" if not record.key else f"partition {self._partition}"
                yield Lost(
                    record,
                    past,
                    Fault.MISPLACED,
                    f"found {found}, expected partition {place} of its request_id",
                    event,
                )
                continue
            if origin is None or self._is_first(*origin):
                yield Arrival(record, event, ts, past, skewed)

    def _is_first(self, place: str, offset: int) -> bool:
        """Notes a re-published record; False for one that was re-published again."""
        if offset <= self.origins.get(place, -1):
            return False
        others: list[tuple[str, int]] = [item for item in self.origins.items() if item[0] != place]
        self.origins = dict([*others[1 - ORIGINS :], (place, offset)])
        return True

    def _decode(self, value: bytes | None) -> Event | msgspec.DecodeError:
        try:
            return self._one.decode(value)
        except msgspec.DecodeError as error:
            return error
        except (RecursionError, UnicodeDecodeError) as error:  # nested too deeply; or not UTF-8
            return msgspec.DecodeError(f"value: {error}, expected a JSON object in UTF-8")


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
