"""From a partition's raw records to events the join can judge: decoded, put in their place and time, or lost
with a reason.

A record's `past` says how late it came, as a function of the log alone: it is past a deadline if its topic
partition's clock was before
it, or if its own Kafka timestamp is by more than a minute. So `event.past > deadline` is the whole rule.
"""

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from schemas.records import Codec, Feedback, Prediction, Request, problem
from streams.join.murmur import partitions
from streams.stage import Record

SKEW = 300_000
"""A `ts` more than this many ms after the Kafka timestamp is replaced by that."""

GRACE = 60_000
"""A Kafka timestamp this many ms after a deadline is past it, whatever the clock says."""

ORIGIN = "headgate-origin"
"""Header of a record that was re-published to its right partition: topic/partition/offset of the first."""

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
    origin: bytes | None


class Lost(NamedTuple):
    """A record that is no event here. `event` is there where it could be read."""

    record: Record
    past: int
    fault: Fault
    reason: str
    event: Request | Prediction | Feedback | None


class Reader(Generic[Event]):
    """Reads one topic partition of `count`, and keeps its clock: the highest min(ts, Kafka timestamp) of its
    valid records so far.
    """

    def __init__(self, type_: type[Event], partition: int, count: int, clock: int) -> None:
        self.clock = clock
        self._one: Codec[Event] = Codec(type_)
        batch: Any = list[type_]  # type: ignore[valid-type]
        self._all: msgspec.json.Decoder[list[Event]] = msgspec.json.Decoder(batch)
        self._partition = partition
        self._count = count

    def decode(self, records: Sequence[Record]) -> list[Event | msgspec.DecodeError]:
        """An event or what is wrong with it for each record. The whole batch in one call where all are
        good.
        """
        values = [record.value for record in records]
        if all(value and value[0] for value in values):
            try:
                events = self._all.decode(b"[" + b",".join(values) + b"]")  # type: ignore[arg-type]
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
            else:
                if len(events) == len(records):  # a value such as `{…},{…}` would make more
                    return events  # type: ignore[return-value]
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
            origin = (
                next((value for name, value in record.headers if name == ORIGIN), None)
                if record.headers
                else None
            )
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
            yield Arrival(record, event, ts, past, skewed, origin)

    def _decode(self, value: bytes | None) -> Event | msgspec.DecodeError:
        try:
            return self._one.decode(value)
        except msgspec.DecodeError as error:
            return error
        except (RecursionError, UnicodeDecodeError) as error:  # nested too deeply; or not UTF-8
            return msgspec.DecodeError(f"value: {error}, expected a JSON object in UTF-8")
