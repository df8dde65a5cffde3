"""Lines of a recording as blocks of records: what stands in a line as it stands there, and what does not, by
rule.

| absent | is |
|---|---|
| `timestamp` | the running maximum of sane `ts` (`stamps.py`) |
| `partition` | that of the request_id where the number of partitions is given, else 0 |
| `offset` | the number after the last one of the topic partition |
| `key` | the request_id |
"""

from collections import deque
from collections.abc import Iterable, Iterator

import msgspec
import numpy as np

from schemas import topics
from schemas.errors import HeadgateError
from schemas.records import DAY, YEAR_2000, YEAR_2300
from schemas.topics import EVENTS, Topic
from streams.columns import NULL, Bytes, Integers, Records, Row
from streams.join.core import SCAN
from streams.join.events import Events
from streams.join.murmur import partitions as murmur
from streams.join.rows import Scanned
from streams.join.text import hash_of
from streams.replay import envelope, scan
from streams.replay.block import Block, Piece, Single
from streams.replay.files import Lines
from streams.replay.stamps import ABSENT, Stamps

BLANK = -3
"""As the topic: a line with nothing in it."""

UNKNOWN = 1 << 61
"""A Kafka timestamp that is not known yet: later than any `ts`."""


class _Time(msgspec.Struct):
    """What is looked for in a record that is otherwise no good."""

    ts: int


class Names:
    """The topics, as they may be called in a recording: with the configured prefix, or without."""

    def __init__(self, prefix: str) -> None:
        self._topics: dict[str, Topic] = {}
        for topic in topics.ALL:
            self._topics[topic.name] = self._topics[prefix + topic.name] = topic
        self.topics = list(self._topics.values())
        self.hashes = np.array([hash_of(name) for name in self._topics], np.uint64)

    def number(self, name: str, place: str) -> int:
        """The number of a topic's name among `topics`. Raises `HeadgateError` where it is none of ours."""
        self.topic(name, place)
        return list(self._topics).index(name)

    def topic(self, name: str, place: str) -> Topic:
        """The topic of that name. Raises `HeadgateError` where there is none."""
        if name not in self._topics:
            raise HeadgateError(
                f"{place}: found the topic {name!r}, expected one of "
                f"{', '.join(each.name for each in topics.ALL)}, or one of these behind the prefix that is "
                "configured ([topics] prefix in headgate.toml)"
            )
        return self._topics[name]


class Draft:
    """Lines as columns, and their events as rows, before it is known when they came."""

    def __init__(self, lines: Lines, names: Names) -> None:
        self.lines = lines
        bounds = lines.bounds
        columns = np.empty((len(bounds), scan.COLUMNS), np.int64)
        scan.scan_lines(lines.data, bounds, names.hashes, columns)
        self.columns = columns
        self.data = lines.data
        self.headers = np.zeros((len(bounds), 2), np.int64)
        self.keyless = np.zeros(len(bounds), np.bool_)
        self._read_odd(names)
        self._topics = np.array([*map(topics.ALL.index, names.topics), BLANK], np.int64)[
            np.maximum(columns[:, scan.TOPIC], -1)
        ]
        self.stamps = columns[:, scan.TIMESTAMP].copy()
        self.scanned = {topic: self._scan(topic) for topic in EVENTS}
        self.times = self._times()

    def __len__(self) -> int:
        return len(self.columns)

    def of(self, topic: Topic) -> Integers:
        """The indices of a topic's lines."""
        return np.flatnonzero(self._topics == topics.ALL.index(topic))

    def values(self, which: Integers) -> Integers:
        """Where these lines' values stand in `data`."""
        return self.columns[which, scan.VALUE : scan.VALUE_END + 1]

    def row(self, index: int, offset: int) -> Row:
        """A line's record."""
        one = self.records(np.array([index]), np.array([offset], np.int64))[0]
        return Row(one.offset, one.timestamp, one.key, one.value, one.headers)

    def records(self, which: Integers, offsets: Integers) -> Records:
        """These lines' records."""
        keys = np.maximum(self.columns[which, scan.KEY : scan.KEY_END + 1], NULL)
        return Records(self.data, offsets, self.stamps[which], keys, self.values(which), self.headers[which])

    def stamp(self, stamps: Integers) -> None:
        """Gives the records that came without a Kafka timestamp these ones, int64[n]."""
        absent = self.stamps == ABSENT
        if not absent.any():
            return
        self.stamps[absent] = stamps[absent]
        for topic in EVENTS:
            which = self.of(topic)
            rows = self.scanned[topic].rows
            if ((rows["fault"] == 0) & (rows["ts"] > self.stamps[which] + DAY)).any():
                self.scanned[topic] = self._scan(topic)

    def _read_odd(self, names: Names) -> None:
        """What `scan.py` has left goes behind the other bytes."""
        columns = self.columns
        numbers = columns[:, scan.TOPIC]
        for index in np.flatnonzero(numbers == scan.FOREIGN).tolist():
            envelope_ = envelope.read(self.lines.text(index), self.lines.place(index))
            names.number(envelope_.topic, self.lines.place(index))
        odd = np.flatnonzero(numbers == scan.ODD).tolist()
        rows, indices = list[Row](), list[int]()
        for index in odd:
            text, place = self.lines.text(index), self.lines.place(index)
            if not text.strip():
                numbers[index] = BLANK
                continue
            line = envelope.read(text, place)
            columns[index] = scan.ABSENT
            numbers[index] = names.number(line.topic, place)
            columns[index, scan.TIMESTAMP] = line.row.timestamp
            columns[index, scan.PARTITION] = line.partition
            columns[index, scan.OFFSET] = line.row.offset
            self.keyless[index] = line.keyless
            indices.append(index)
            rows.append(line.row)
        if not rows:
            return
        extra = Records.of(rows)
        shift = len(self.data)
        self.data = np.concatenate([self.data, extra.data])
        columns[indices, scan.VALUE : scan.VALUE_END + 1] = _shifted(extra.values, shift)
        columns[indices, scan.KEY : scan.KEY_END + 1] = _shifted(extra.keys, shift)
        self.headers[indices] = extra.headers
        self.headers[indices, 0] += shift

    def _scan(self, topic: Topic) -> Scanned:
        which = self.of(topic)
        records = self.records(which, which)
        records.timestamps = np.where(records.timestamps == ABSENT, UNKNOWN, records.timestamps)
        return SCAN[topic](records)

    def _times(self) -> Integers:
        """Each record's `ts` (ms), `ABSENT` where there is no sane one."""
        times = np.full(len(self), ABSENT, np.int64)
        for topic, scanned in self.scanned.items():
            times[self.of(topic)] = np.where(scanned.rows["fault"] == 0, scanned.rows["ts"], ABSENT)
        left = np.flatnonzero((times == ABSENT) & (self._topics != BLANK))
        for index, (start, end) in zip(left.tolist(), self.values(left).tolist(), strict=True):
            times[index] = _time(self.data, start, end)
        return times

    def verify(self, index: int) -> None:
        """Raises `HeadgateError` where a line whose value is no record is no JSON either."""
        envelope.verify(self.lines.text(index), self.lines.place(index))

    def is_odd(self, index: int) -> bool:
        """Whether a line's value stands behind the lines' own bytes."""
        return int(self.columns[index, scan.VALUE]) >= len(self.lines.data)


class Recording:
    """Makes blocks of lines. `count` is the number of the event topics' partitions, where it is known:
    then records are checked to stand in the right one, as they are live; else they stand where they are.
    """

    def __init__(self, prefix: str, count: int | None) -> None:
        self._names = Names(prefix)
        self._count = count
        self._next: dict[tuple[Topic, int], int] = {}

    def drafts(self, lines: Iterable[Lines]) -> Iterator[Draft]:
        """The lines as columns; nothing is known yet of what was before them."""
        return (Draft(each, self._names) for each in lines)

    def blocks(self, drafts: Iterable[Draft]) -> Iterator[Block]:
        """The drafts as blocks, in order. Raises `HeadgateError` for a line that is no record's."""
        return map(self._block, stamped(drafts))

    def _block(self, draft: Draft) -> Block:
        pieces, singles = list[Piece](), list[Single]()
        for topic in EVENTS:
            pieces += self._pieces(draft, topic)
        for topic in topics.ALL:
            if topic not in EVENTS:
                singles += self._singles(draft, topic)
        singles.sort(key=lambda single: single.rank)
        return Block(pieces, singles, len(draft))

    def _singles(self, draft: Draft, topic: Topic) -> Iterator[Single]:
        for index in draft.of(topic).tolist():
            if not draft.is_odd(index):
                draft.verify(index)
            partition = max(0, int(draft.columns[index, scan.PARTITION]))
            offset = self._offsets(topic, partition, draft.columns[index : index + 1, scan.OFFSET])
            yield Single(index, topic, partition, draft.row(index, int(offset[0])))

    def _pieces(self, draft: Draft, topic: Topic) -> Iterator[Piece]:
        which, scanned = draft.of(topic), draft.scanned[topic]
        if not len(which):
            return
        for i in scanned.reasons:
            if not draft.is_odd(int(which[i])):
                draft.verify(int(which[i]))
        numbers = self._partitions(draft, which, scanned)
        several = np.unique(numbers).tolist()
        for number in several:
            some = np.flatnonzero(numbers == number)
            ranks = which[some]
            offsets = self._offsets(topic, number, draft.columns[ranks, scan.OFFSET])
            records = draft.records(ranks, offsets)
            part = scanned if len(several) == 1 else _some(scanned, some)
            good = part.rows["fault"] == 0
            assumed = good & (records.keys[:, 0] == NULL)
            if self._count is None:
                part.rows["place"][good] = number
            else:
                assumed &= ~draft.keyless[ranks]
            # A line without a key has the request_id's: what is checked is only that there is one.
            records.keys[assumed] = records.values[assumed]
            yield Piece(topic, number, Events(records, part), ranks)

    def _partitions(self, draft: Draft, which: Integers, scanned: Scanned) -> Integers:
        numbers: Integers = draft.columns[which, scan.PARTITION].copy()
        absent = numbers == scan.ABSENT
        if not absent.any():
            return numbers
        numbers[absent] = 0
        if self._count is not None:
            good = absent & (scanned.rows["fault"] == 0)
            numbers[good] = scanned.rows["place"][good] % self._count
            for i in np.flatnonzero(absent & ~good).tolist():
                key = draft.row(int(which[i]), 0).key
                numbers[i] = murmur([key], self._count)[0] if key else 0
        return numbers

    def _offsets(self, topic: Topic, partition: int, offsets: Integers) -> Integers:
        """The offsets as they are, and where there are none, those that follow."""
        following = self._next.get((topic, partition), 0)
        absent = offsets == scan.ABSENT
        if absent.all():
            offsets = np.arange(following, following + len(offsets))
        elif absent.any():
            offsets = offsets.copy()
            for i in range(len(offsets)):
                offsets[i] = following if absent[i] else offsets[i]
                following = int(offsets[i]) + 1
        self._next[topic, partition] = int(offsets[-1]) + 1
        return offsets


def stamped(drafts: Iterable[Draft]) -> Iterator[Draft]:
    """The drafts, each when all its records have Kafka timestamps."""
    stamps, waiting = Stamps(), deque[Draft]()
    known = np.empty(0, np.int64)  # stamps of the first records of those that wait
    undecided = np.empty(0, np.int64)  # the `ts` of the others

    def settle(*, last: bool) -> Iterator[Draft]:
        nonlocal known, undecided
        found = stamps.stamp(undecided, last=last)
        known = np.concatenate([known, found.stamps])
        undecided = undecided[len(found.stamps) :]
        while waiting and len(waiting[0]) <= len(known):
            draft = waiting.popleft()
            draft.stamp(known[: len(draft)])
            known = known[len(draft) :]
            yield draft

    for draft in drafts:
        waiting.append(draft)
        undecided = np.concatenate([undecided, draft.times])
        yield from settle(last=False)
    yield from settle(last=True)


def _some(scanned: Scanned, which: Integers) -> Scanned:
    rows = scanned.rows[which]
    places = {int(i): k for k, i in enumerate(which.tolist())} if scanned.reasons else {}
    reasons = {places[i]: reason for i, reason in scanned.reasons.items() if i in places}
    return scanned._replace(rows=rows, reasons=reasons)


def _shifted(bounds: Integers, by: int) -> Integers:
    return np.where(bounds == NULL, NULL, bounds + by)


def _time(data: Bytes, start: int, end: int) -> int:
    """The sane `ts` of a value, `ABSENT` where it has none."""
    value = data[start:end].tobytes() if start != NULL else b""
    try:
        ts = msgspec.json.decode(value[5:] if value[:1] == b"\0" else value, type=_Time).ts
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ABSENT
    return ts if YEAR_2000 <= ts < YEAR_2300 else ABSENT
