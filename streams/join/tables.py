"""What one source partition holds, as columns: tables of numpy rows that point at each other by row number,
maps that find them, and arenas for what varies in length. Python objects would take ten times the memory.

`Tables` allocates and grows; compiled code sees all arrays as one `State`. Compiled code never grows
anything: before each record it asks `room`, and returns to Python where there is none.

```
visit (a request id) ─┬─ asked ─────── requests, as far as predictions may still need them
                      ├─ predictions ─ items and scores, what feedback made of them, cells of segments
                      └─ said ──────── feedback
window (a pane) ──────── cells ─┬───── sums, a row of numbers
                                ├───── counters: bins of histograms
                                └───── buckets: sums by user bucket
```
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from schemas.records import BUCKETS
from schemas.timeline import BEGINNING
from streams.compiled import compiled, inner
from streams.join import hashmap
from streams.join.hashmap import NONE, SLOT, Slots
from streams.join.memory import Column
from streams.join.pointers import Arrays, Fields

Rows = npt.NDArray[np.void]
Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

VISIT = np.dtype(
    [
        ("id", "u8"),
        ("until", "i8"),  # when nothing of it can change any more
        ("due", "i8"),  # when it is looked at next
        ("next", "i4"),
        ("asked", "i4"),
        ("predictions", "i4"),
        ("said", "i4"),  # the last of a ring
        ("predicted", "i4"),  # how many predictions
        ("heard", "i4"),  # how much feedback
    ]
)
ASKED = np.dtype(
    [
        ("past", "i8"),
        ("until", "i8"),  # the deadline up to which predictions may be described by it
        ("keep", "i8"),  # until when later ones are its duplicates
        ("answer_by", "i8"),
        ("next", "i4"),
        ("window", "i4"),
        ("batch", "i4"),
        ("blob", "i4"),  # surface, segments and features, as they came; or none
        ("bucket", "u1"),
        ("user", "u1"),  # it names one
        ("unanswered", "u1"),  # it is counted as such
        ("topic", "u1"),  # of the batch
    ]
)
PREDICTION = np.dtype(
    [
        ("version", "u8"),  # known for longer than its cell
        ("past", "i8"),
        ("keep", "i8"),
        ("latency_ms", "f8"),
        ("age", "i4"),  # ts - the start of its pane
        ("freshness_ms", "i4"),
        ("next", "i4"),
        ("window", "i4"),
        ("cell", "i4"),  # of all predictions of its series
        ("links", "i4"),  # cells of segments
        ("batch", "i4"),
        ("items", "i4"),
        ("length", "i4"),
        ("shown", "i4"),
        ("answers", "i4"),
        ("flags", "u2"),
        ("bucket", "u1"),
        ("arm", "u1"),
    ]
)
ANSWERS = np.dtype(
    [
        ("squared_error", "f8"),
        ("absolute_error", "f8"),
        ("next", "i4"),
        ("relevant", "i4"),
        ("expired", "i4"),
        ("duplicates", "i4"),
        ("labelled", "i4"),
        ("anomalies", "i4"),
        ("delays", "i4"),
    ]
)
"""What feedback made of a prediction; only those that have any hold one."""

SAID = np.dtype(
    [
        ("ts", "i8"),
        ("past", "i8"),
        ("deadline", "i8"),  # after which no prediction in time for it can come any more
        ("kind", "u8"),
        ("item", "u8"),
        ("key", "u8"),  # by which it is told from its duplicates
        ("value", "f8"),
        ("next", "i4"),
        ("window", "i4"),  # in which it is counted where it answers none
        ("batch", "i4"),
        ("taken", "i4"),  # by a prediction, or as lost
    ]
)
WINDOW = np.dtype(
    [
        ("start", "i8"),
        ("end", "i8"),
        ("part", "i8"),
        ("deadline", "i8"),
        ("due", "i8"),  # wall time of its next emission
        ("next", "i4"),
        ("model", "i4"),
        ("entry", "i4"),  # of the policy in force
        ("cells", "i4"),
        ("holders", "i4"),  # rows that point here
        ("open", "u1"),
        ("changed", "u1"),
    ]
)
CELL = np.dtype(
    [
        ("version", "u8"),
        ("value", "u8"),
        ("generation", "i8"),
        ("next", "i4"),
        ("window", "i4"),
        ("segment", "i4"),  # 0: all; else the policy's segment, counted from 1
        ("counters", "i4"),
        ("buckets", "i4"),
        ("arm", "u1"),
        ("changed", "u1"),
    ]
)
COUNTER = np.dtype([("count", "i8"), ("next", "i4"), ("kind", "i4"), ("bin", "i4")])
LINK = np.dtype([("next", "i4"), ("row", "i4")])
"""An element of a list of numbers: cells of a prediction, delays of its clicks, visits that are due."""

DUE = np.dtype([("time", "i8"), ("next", "i4"), ("visits", "i4"), ("open", "i4")])
BUCKET = np.dtype([("next", "i4")])
BIRTH = np.dtype(
    [
        ("cell", "i4"),
        ("version_start", "i4"),
        ("version_end", "i4"),
        ("value_start", "i4"),
        ("value_end", "i4"),
        ("in_blob", "i4"),
    ]
)
"""A new cell, and where its version and its segment's value stand in words, for Python to note."""

VISITS, ASKED_, PREDICTIONS, ANSWERS_, SAID_, WINDOWS, CELLS, COUNTERS, LINKS, DUES, BUCKETS_ = range(11)
ITEMS, BLOBS, BIRTHS, SEEN = range(11, 15)
"""Resources: tables, then arenas, and what else is counted. Rows of `State.pools`, `State.needs`."""

FREE, USED, SPARE = range(3)
"""Columns of `State.pools`: the first free row, rows ever used, free rows among them."""

REACHED, CLOCK, LOW, HIGH, LONGEST, FEATURES, SEGMENTS = range(7)
"""Numbers in `State.heads`: what all topics have passed; the clock of the topic that is read; for which
feedback times the longest deadline is remembered; most features of a profile; most segments of a policy.
"""

SHAPE = np.dtype(
    [
        ("start", "i8"),  # in force from
        ("pane", "i8"),
        ("window", "i8"),
        ("lateness", "i8"),
        ("answer", "i8"),
        ("slow_ms", "f8"),
        ("threshold", "f8"),
        ("anomaly", "f8"),
        ("earlier", "i4"),  # the model's shape before
        ("cutoffs", "i4"),
        ("relevant", "i4"),
        ("segments", "i4"),
        ("by_user", "u1"),
        ("labels", "u1"),  # truth: label
        ("heard", "u1"),  # impressions: feedback
    ]
)
MODEL = np.dtype([("name", "u8"), ("latest", "i4"), ("known", "u1")])
"""A model's last shape, and whether it has a policy of its own."""

FEATURE = np.dtype(
    [
        ("name", "u8"),
        ("lowest", "f8"),
        ("highest", "f8"),
        ("edges", "i4"),  # the first of them
        ("length", "i4"),
        ("bins", "i4"),
        ("numeric", "u1"),
    ]
)
PROFILE = np.dtype([("first", "i4"), ("length", "i4"), ("score", "i4")])

_LOW, _TAIL, _WORD = np.uint64(0xFFFFFFFF), np.uint64(0xFFFF), np.uint64(32)

UNIT = 16
"""Bytes in a unit of the arena of blobs."""
SMALL = 512
"""Blocks up to this size have a list of free ones of their own size; above, of the next power of two."""
SIZES = SMALL + 32


class State(Arrays):
    """All arrays, for compiled code."""

    fields = Fields(
        pools=("i8", 2),
        needs=("i8", 1),
        heads=("i8", 1),
        visits=(VISIT, 1),
        asked=(ASKED, 1),
        predictions=(PREDICTION, 1),
        answers=(ANSWERS, 1),
        said=(SAID, 1),
        windows=(WINDOW, 1),
        cells=(CELL, 1),
        counters=(COUNTER, 1),
        links=(LINK, 1),
        dues=(DUE, 1),
        bucket_rows=(BUCKET, 1),
        births=(BIRTH, 1),
        by_id=(SLOT, 1),
        by_pane=(SLOT, 1),
        by_series=(SLOT, 1),
        by_bin=(SLOT, 1),
        by_time=(SLOT, 1),
        seen=(SLOT, 1),
        items=("u4", 1),
        tails=("u2", 1),
        scores=("f4", 1),
        marks=("u1", 1),
        free_items=("i8", 1),
        blobs=("u1", 1),
        free_blobs=("i8", 1),
        sums=("f8", 2),
        buckets=("f8", 3),
        batches=("i8", 2),
        before=("f8", 1),
        after=("f8", 1),
        marked=("u1", 1),
        shapes=(SHAPE, 1),
        cutoffs=("i8", 2),
        relevant=("u8", 2),
        segments=("u8", 2),
        bucketed=("i8", 2),
        models=(MODEL, 1),
        by_model=(SLOT, 1),
        features=(FEATURE, 1),
        profiles=(PROFILE, 1),
        by_version=(SLOT, 1),
        edges=("f8", 1),
        categories=(SLOT, 1),
    )
    pools: Integers
    needs: Integers
    heads: Integers
    visits: Rows
    asked: Rows
    predictions: Rows
    answers: Rows
    said: Rows
    windows: Rows
    cells: Rows
    counters: Rows
    links: Rows
    dues: Rows
    bucket_rows: Rows
    births: Rows
    by_id: Slots  # visits
    by_pane: Slots  # windows
    by_series: Slots  # cells
    by_bin: Slots  # counters
    by_time: Slots  # dues
    seen: Slots  # feedback of a prediction, values of a segment
    items: npt.NDArray[np.uint32]  # of their hashes the lower 32 bits
    tails: npt.NDArray[np.uint16]  # and 16 more: of ten items one is taken for another once in 3e13 times
    scores: Singles
    marks: Bytes
    free_items: Integers
    blobs: Bytes
    free_blobs: Integers
    sums: Floats  # (cells, slots)
    buckets: Floats  # (rows, slots with buckets, BUCKETS)
    batches: Integers  # (topics, ring): until when each batch is needed
    before: Floats  # (slots), scratch
    after: Floats
    marked: Bytes  # (most features), scratch
    shapes: Rows  # see `shapes.py`
    cutoffs: Integers
    relevant: Words
    segments: Words
    bucketed: Integers
    models: Rows
    by_model: Slots
    features: Rows  # see `profiles.py`
    profiles: Rows
    by_version: Slots
    edges: Floats
    categories: Slots


DTYPES = {
    VISITS: VISIT,
    ASKED_: ASKED,
    PREDICTIONS: PREDICTION,
    ANSWERS_: ANSWERS,
    SAID_: SAID,
    WINDOWS: WINDOW,
    CELLS: CELL,
    COUNTERS: COUNTER,
    LINKS: LINK,
    DUES: DUE,
    BUCKETS_: BUCKET,
}
TABLES = {
    VISITS: "visits",
    ASKED_: "asked",
    PREDICTIONS: "predictions",
    ANSWERS_: "answers",
    SAID_: "said",
    WINDOWS: "windows",
    CELLS: "cells",
    COUNTERS: "counters",
    LINKS: "links",
    DUES: "dues",
    BUCKETS_: "bucket_rows",
}
MAPS = {
    VISITS: "by_id",
    WINDOWS: "by_pane",
    CELLS: "by_series",
    COUNTERS: "by_bin",
    DUES: "by_time",
    SEEN: "seen",
}
"""Which map finds the rows of which table; `seen` has none."""
BESIDE: dict[int, tuple[str, ...]] = {
    CELLS: ("sums",),
    BUCKETS_: ("buckets",),
    ITEMS: ("tails", "scores", "marks"),
}
"""Arrays with a row for each row of a table, or each item."""

FIRST = 256
"""Rows to begin with."""


@inner
def take(rows: Rows, pools: Integers, pool: int) -> int:
    """A free row of a table, its fields as they are left. There must be `room`."""
    row = pools[pool, FREE]
    if row >= 0:
        pools[pool, FREE] = rows[row].next
        pools[pool, SPARE] -= 1
    else:
        row = pools[pool, USED]
        pools[pool, USED] = row + 1
    return int(row)


@inner
def give(rows: Rows, pools: Integers, pool: int, row: int) -> None:
    """Frees a row."""
    rows[row].next = pools[pool, FREE]
    pools[pool, FREE] = row
    pools[pool, SPARE] += 1


@inner
def size_class(length: int) -> int:
    """Where free blocks of `length` are listed."""
    if length <= SMALL:
        return length
    power, size = SMALL, SMALL
    while size < length:
        size *= 2
        power += 1
    return power


@inner
def size_of(length: int) -> int:
    """What a block of `length` takes."""
    if length <= SMALL:
        return length
    size = SMALL
    while size < length:
        size *= 2
    return size


@inner
def take_items(state: State, length: int) -> int:
    """Where `length` items may stand; `NONE` for no items."""
    if length == 0:
        return NONE
    kind = size_class(length)
    start = state.free_items[kind]
    if start >= 0:
        state.free_items[kind] = np.int64(state.items[start]) - 1
        state.pools[ITEMS, SPARE] -= size_of(length)
        return int(start)
    start = state.pools[ITEMS, USED]
    state.pools[ITEMS, USED] = start + size_of(length)
    return int(start)


@inner
def give_items(state: State, start: int, length: int) -> None:
    """Frees them."""
    if length > 0:
        kind = size_class(length)
        state.items[start] = np.uint32(state.free_items[kind] + 1)
        state.free_items[kind] = start
        state.pools[ITEMS, SPARE] += size_of(length)


@inner
def put_item(state: State, place: int, item: np.uint64) -> None:
    """Keeps an item, by its hash."""
    state.items[place] = np.uint32(item & _LOW)
    state.tails[place] = np.uint16((item >> _WORD) & _TAIL)


@inner
def is_item(state: State, place: int, item: np.uint64) -> bool:
    """Whether that item stands there."""
    low = np.uint64(state.items[place]) == item & _LOW
    return bool(low and np.uint64(state.tails[place]) == (item >> _WORD) & _TAIL)


@inner
def same_item(state: State, place: int, other: int) -> bool:
    """Whether the same item stands at two places."""
    return bool(state.items[place] == state.items[other] and state.tails[place] == state.tails[other])


@inner
def take_blob(state: State, units: int) -> int:
    """A number of units of the arena; answers which is the first."""
    kind = size_class(units)
    start = state.free_blobs[kind]
    if start >= 0:
        state.free_blobs[kind] = get_number(state.blobs, start * UNIT)
        state.pools[BLOBS, SPARE] -= size_of(units)
        return int(start)
    start = state.pools[BLOBS, USED]
    state.pools[BLOBS, USED] = start + size_of(units)
    return int(start)


@inner
def give_blob(state: State, start: int, units: int) -> None:
    """Frees them."""
    kind = size_class(units)
    put_number(state.blobs, start * UNIT, state.free_blobs[kind])
    state.free_blobs[kind] = start
    state.pools[BLOBS, SPARE] += size_of(units)


@inner
def put_number(data: Bytes, place: int, number: int) -> None:
    """Writes a 32-bit integer."""
    for i in range(4):
        data[place + i] = np.uint8((number >> (8 * i)) & 255)


@inner
def get_number(data: Bytes, place: int) -> int:
    """Reads one."""
    number = np.int64(0)
    for i in range(4):
        number |= np.int64(data[place + i]) << (8 * i)
    return int(number - (1 << 32) if number >= (1 << 31) else number)


@compiled
def room(state: State, predicted: int, heard: int, length: int, blob: int) -> bool:
    """Whether a record can be taken in without growing anything: of a visit with so many predictions and so
    much feedback, itself with `length` items and a blob of so many bytes. Where not, `needs` says what there
    must be.
    """
    needs, pools = state.needs, state.pools
    segments, features = state.heads[SEGMENTS], state.heads[FEATURES]
    many = predicted + 2
    needs[:] = 8
    needs[VISITS] = 2
    needs[ANSWERS_] = many
    needs[CELLS] = needs[BIRTHS] = many * (segments + 2) + 4
    needs[BUCKETS_] = many + 4
    needs[COUNTERS] = many * ((segments + 1) * (2 * length + 8) + 2 * features + length) + heard * (
        segments + 1
    )
    needs[LINKS] = many * (segments + 2) + heard + 8
    needs[SEEN] = many * (2 * segments + 4) + 2 * heard
    for pool in range(11):
        if pools[pool, SPARE] < needs[pool] and pools[pool, USED] + needs[pool] > _length(state, pool):
            return False
    if pools[BIRTHS, USED] + needs[BIRTHS] > len(state.births):
        return False
    if (pools[SEEN, USED] + needs[SEEN]) * 4 > len(state.seen) * 3:
        return False
    needs[ITEMS] = size_of(length)
    if state.free_items[size_class(length)] < 0 and pools[ITEMS, USED] + needs[ITEMS] > len(state.items):
        return False
    units = (blob + UNIT - 1) // UNIT + 1
    needs[BLOBS] = size_of(units)
    end = (pools[BLOBS, USED] + needs[BLOBS]) * UNIT
    return bool(state.free_blobs[size_class(units)] >= 0 or end <= len(state.blobs))


@inner
def _length(state: State, pool: int) -> int:
    if pool == VISITS:
        return len(state.visits)
    if pool == ASKED_:
        return len(state.asked)
    if pool == PREDICTIONS:
        return len(state.predictions)
    if pool == ANSWERS_:
        return len(state.answers)
    if pool == SAID_:
        return len(state.said)
    if pool == WINDOWS:
        return len(state.windows)
    if pool == CELLS:
        return len(state.cells)
    if pool == COUNTERS:
        return len(state.counters)
    if pool == LINKS:
        return len(state.links)
    if pool == DUES:
        return len(state.dues)
    return len(state.bucket_rows)


NEVER = 1 << 62


class Control(Protocol):
    """What policies and profiles say: their arrays, how many sums cells have, how many of these have buckets,
    the most features of a profile and segments of a policy. `edition` changes with them.
    """

    edition: int
    arrays: dict[str, Any]
    slots: int
    bucketed: int
    features: int
    segments: int


class Tables:
    """Allocates the arrays of a `State`, and makes them longer by half where compiled code finds no room."""

    def __init__(self, control: Control) -> None:
        columns = {TABLES[pool]: Column(dtype, FIRST) for pool, dtype in DTYPES.items()}
        columns |= {
            "births": Column(BIRTH, 4 * FIRST),
            "items": Column("u4", FIRST),
            "tails": Column("u2", FIRST),
            "scores": Column("f4", FIRST),
            "marks": Column("u1", FIRST),
            "blobs": Column("u1", FIRST * UNIT),
            "sums": Column("f8", FIRST, (control.slots,)),
            "buckets": Column("f8", FIRST, (control.bucketed, BUCKETS)),
        }
        self._columns = columns
        self._maps = {name: Column(SLOT, hashmap.size_for(FIRST)) for name in MAPS.values()}
        pools = np.zeros((15, 3), np.int64)
        pools[:, FREE] = NONE
        heads = np.zeros(7, np.int64)
        heads[REACHED] = BEGINNING
        self.state = State(
            {name: column.array for name, column in (columns | self._maps).items()}
            | {
                "pools": pools,
                "needs": np.zeros(15, np.int64),
                "heads": heads,
                "free_items": np.full(SIZES, NONE, np.int64),
                "free_blobs": np.full(SIZES, NONE, np.int64),
                "batches": np.zeros((3, FIRST), np.int64),
            }
            | _scratch(control)
            | control.arrays
        )
        self._edition = 0
        self.follow(control)

    def follow(self, control: Control) -> None:
        """Takes new policies and profiles, where there are any."""
        if self._edition == control.edition:
            return
        self._edition = control.edition
        heads = self.state.heads
        heads[LOW], heads[HIGH] = NEVER, -NEVER
        heads[FEATURES], heads[SEGMENTS] = control.features, control.segments
        for name, array in (_scratch(control) | control.arrays).items():
            self.state.put(name, array)
        self._widen("sums", (control.slots,))
        self._widen("buckets", (control.bucketed, BUCKETS))

    def _widen(self, name: str, shape: tuple[int, ...]) -> None:
        """Rows have more numbers; those that were there stay the first."""
        old = self._columns[name].array
        if old.shape[1:] == shape:
            return
        column = Column("f8", len(old), shape)
        kept = min(old.shape[1], shape[0])
        column.array[:, :kept] = old[:, :kept]
        self._columns[name] = column
        self.state.put(name, column.array)

    def grow(self) -> None:
        """Makes the room that `needs` asks for."""
        pools, needs = self.state.pools, self.state.needs
        for pool, name in TABLES.items():
            if pools[pool, SPARE] < needs[pool]:
                self._lengthen(name, pool, int(pools[pool, USED] + needs[pool]))
        self._lengthen("births", BIRTHS, int(pools[BIRTHS, USED] + needs[BIRTHS]))
        self._lengthen("items", ITEMS, int(pools[ITEMS, USED] + needs[ITEMS]))
        self._lengthen("blobs", BLOBS, int(pools[BLOBS, USED] + needs[BLOBS]) * UNIT)
        for pool, name in MAPS.items():
            rows = int(pools[SEEN, USED] + needs[SEEN]) if pool == SEEN else len(self._columns[TABLES[pool]])
            if hashmap.fits(len(self._maps[name])) < rows:
                larger = Column(SLOT, hashmap.size_for(rows))
                hashmap.move(self._maps[name].array, larger.array)
                self._maps[name] = larger
                self.state.put(name, larger.array)

    def _lengthen(self, name: str, pool: int, need: int) -> None:
        length = len(self._columns[name])
        if need <= length:
            return
        length = max(need, length + length // 2)
        for each in (name, *BESIDE.get(pool, ())):
            self.state.drop(each)
            self._columns[each].lengthen(length)
            self.state.put(each, self._columns[each].array)

    def lengthen_batches(self, numbers: Sequence[range]) -> None:
        """Doubles the rings of batches, of which those of `numbers`, by topic, are in use."""
        old = self.state.batches
        size = old.shape[1]
        new = np.zeros((len(old), 2 * size), np.int64)
        for topic, used in enumerate(numbers):
            for number in used:
                new[topic, number % (2 * size)] = old[topic, number % size]
        self.state.put("batches", new)

    @property
    def bytes(self) -> int:
        """What is in use: rows that hold something, and maps whole."""
        used: list[int] = (self.state.pools[:, USED] - self.state.pools[:, SPARE]).tolist()
        rows = {**TABLES, ITEMS: "items"}
        total = sum(
            used[pool] * self._columns[each].width
            for pool, name in rows.items()
            for each in (name, *BESIDE.get(pool, ()))
        )
        maps = sum(len(column) * column.width for column in self._maps.values())
        return total + used[BLOBS] * UNIT + maps


def _scratch(control: Control) -> dict[str, Any]:
    return {
        "before": np.zeros(control.slots),
        "after": np.zeros(control.slots),
        "marked": np.zeros(control.features, np.uint8),
    }
