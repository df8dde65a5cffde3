"""Room for what a source partition holds (`layout.py`): compiled code takes and gives back rows and blocks,
and never grows anything: before each record it asks `room`, and returns to Python where there is none.
`Tables` grows.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from schemas.records import BUCKETS
from schemas.timeline import BEGINNING
from streams.compiled import compiled, inner
from streams.join import hashmap, index
from streams.join.hashmap import NONE, SLOT
from streams.join.layout import (
    ANSWERS_,
    BESIDE,
    BIRTH,
    BIRTHS,
    BLOBS,
    BUCKETS_,
    CELLS,
    COUNTER,
    COUNTERS,
    DTYPES,
    FEATURES,
    FIRST,
    FREE,
    HIGH,
    IN_RUN,
    ITEMS,
    LENGTH,
    LINKS,
    LOW,
    MAPS,
    REACHED,
    RESOURCES,
    RUNS,
    SEEN,
    SEGMENTS,
    SIZES,
    SMALL,
    SPARE,
    TABLES,
    UNIT,
    USED,
    VISITS,
    Bytes,
    Integers,
    Rows,
    State,
)
from streams.join.memory import Column


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
def room(state: State, predicted: int, heard: int, length: int, units: int) -> bool:
    """Whether a record can be taken in without growing anything: of a visit with so many predictions and so
    much feedback, itself with `length` items and so many units of blobs. Where not, `needs` says what there
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
    needs[RUNS] = needs[COUNTERS] // IN_RUN + needs[CELLS]
    needs[LINKS] = many * (segments + 2) + heard + 8
    needs[SEEN] = many * (2 * segments + 4) + 2 * heard
    needs[ITEMS] = size_of(length)
    needs[BLOBS] = units
    for pool in range(ITEMS):
        if pools[pool, SPARE] < needs[pool] and pools[pool, USED] + needs[pool] > pools[pool, LENGTH]:
            return False
    if pools[BIRTHS, USED] + needs[BIRTHS] > len(state.births):
        return False
    if (pools[SEEN, USED] + needs[SEEN]) * 4 > len(state.seen) * 3:
        return False
    if (pools[COUNTERS, USED] + needs[COUNTERS]) * 4 > len(state.by_bin) * 3:
        return False
    return bool(
        pools[ITEMS, USED] + needs[ITEMS] <= len(state.items)
        and (pools[BLOBS, USED] + needs[BLOBS]) * UNIT <= len(state.blobs)
    )


NEVER = 1 << 62

GROWTH = 8
"""Tables grow by this part of their length: that costs next to nothing (`memory.py`), and maps, which cost
what they could hold, double no sooner than they must.
"""

LITTLE = 1 << 14
"""Up to so many rows they double: each time costs a call, and these maps are small."""


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
    """Allocates the arrays of a `State`, and makes them longer where compiled code finds no room."""

    def __init__(self, control: Control) -> None:
        columns = {TABLES[pool]: Column(dtype, FIRST) for pool, dtype in DTYPES.items()}
        columns |= {
            "births": Column(BIRTH, 4 * FIRST),
            "items": Column("u4", FIRST),
            "tails": Column("u2", FIRST),
            "scores": Column("f4", FIRST),
            "blobs": Column("u1", FIRST * UNIT),
            "sums": Column("f8", FIRST, (control.slots,)),
            "counters": Column(COUNTER, FIRST, (IN_RUN,)),
            "buckets": Column("f8", FIRST, (control.bucketed, BUCKETS)),
        }
        self._columns = columns
        self._maps = {name: Column(SLOT, hashmap.size_for(FIRST)) for name in MAPS.values()}
        self._maps["by_id"] = Column("u4", hashmap.size_for(FIRST))
        pools = np.zeros((RESOURCES, 4), np.int64)
        pools[:, FREE] = NONE
        pools[:, LENGTH] = FIRST
        heads = np.zeros(7, np.int64)
        heads[REACHED] = BEGINNING
        self.state = State(
            {name: column.array for name, column in (columns | self._maps).items()}
            | {
                "pools": pools,
                "needs": np.zeros(RESOURCES, np.int64),
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
            table = TABLES.get(pool)
            rows = int(pools[pool, USED] + needs[pool]) if table is None else len(self._columns[table])
            if hashmap.fits(len(self._maps[name])) < rows:
                larger = Column(SLOT, hashmap.size_for(rows))
                hashmap.move(self._maps[name].array, larger.array)
                self._maps[name] = larger
                self.state.put(name, larger.array)
        self._widen_index()

    def _widen_index(self) -> None:
        """Ids are in the visits, so the old index is let go before there is a new one."""
        visits = self.state.visits
        if hashmap.fits(len(self._maps["by_id"])) >= len(visits):
            return
        self.state.drop("by_id")
        del self._maps["by_id"]
        larger = Column("u4", hashmap.size_for(len(visits)))
        index.fill(larger.array, visits, int(self.state.pools[VISITS, USED]))
        self._maps["by_id"] = larger
        self.state.put("by_id", larger.array)

    def _lengthen(self, name: str, pool: int, need: int) -> None:
        length = len(self._columns[name])
        if need <= length:
            return
        length = max(need, length + max(length // GROWTH, min(length, LITTLE)))
        for each in (name, *BESIDE.get(pool, ())):
            self.state.drop(each)
            self._columns[each].lengthen(length)
            self.state.put(each, self._columns[each].array)
        self.state.pools[pool, LENGTH] = length

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
