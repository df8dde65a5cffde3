"""The index of visits: it finds what a dictionary would find, however ids stand in each other's way."""

import random
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from streams.compiled import compiled
from streams.join import index
from streams.join.layout import VISIT

SIZE = 64
FULL = 48


@compiled
def put(slots: npt.NDArray[np.uint32], visits: npt.NDArray[np.void], row: int) -> None:
    index.put(slots, visits[row].id, row)


@compiled
def remove(slots: npt.NDArray[np.uint32], visits: npt.NDArray[np.void], id_: np.uint64) -> None:
    index.remove(slots, visits, id_)


@compiled
def find(slots: npt.NDArray[np.uint32], visits: npt.NDArray[np.void], id_: np.uint64) -> int:
    return index.find(slots, visits, id_)


class Held:
    """Visits with an index of `SIZE` slots, and a dictionary of the same."""

    def __init__(self) -> None:
        self.slots = np.zeros(SIZE, np.uint32)
        self.visits = np.zeros(FULL, VISIT)
        self.rows: dict[int, int] = {}
        self.free = list(range(FULL))

    def put(self, id_: int) -> None:
        row = self.free.pop()
        self.visits[row]["id"] = id_
        self.rows[id_] = row
        put(self.slots, self.visits, row)

    def remove(self, id_: int) -> None:
        row = self.rows.pop(id_)
        remove(self.slots, self.visits, np.uint64(id_))
        self.visits[row]["id"] = 0
        self.free.append(row)

    def finds(self, id_: int) -> int:
        return int(find(self.slots, self.visits, np.uint64(id_)))


def anywhere(draw: random.Random) -> int:
    """An id whose probing begins at any slot."""
    return draw.getrandbits(64) or 1


def crowded(draw: random.Random) -> int:
    """One whose probing begins at one of the last three slots, so that they stand farther away than a slot
    can say, and beyond the end.
    """
    return draw.getrandbits(58) << 6 | draw.randrange(SIZE - 3, SIZE)


def alike(draw: random.Random) -> int:
    """One of a few that have the bits in common that a slot keeps."""
    return draw.randrange(1, 5) << 20 | draw.randrange(4)


@pytest.mark.parametrize("ids", [anywhere, crowded, alike])
def test_an_id_is_found_from_when_it_is_put_until_it_is_removed(
    ids: Callable[[random.Random], int],
) -> None:
    draw, held = random.Random(4), Held()
    known = [ids(draw) for _ in range(3 * FULL)]
    for _ in range(4_000):
        id_ = draw.choice(known)
        if id_ in held.rows:
            held.remove(id_)
        elif held.free:
            held.put(id_)
        for other in draw.choices(known, k=4):
            assert held.finds(other) == held.rows.get(other, -1)
    assert [held.finds(id_) for id_ in held.rows] == list(held.rows.values())


def test_an_index_that_is_filled_from_the_visits_finds_them_all() -> None:
    draw, held = random.Random(5), Held()
    for _ in range(FULL):
        held.put(anywhere(draw))
    for id_ in list(held.rows)[::3]:
        held.remove(id_)
    held.slots = np.zeros(4 * SIZE, np.uint32)
    index.fill(held.slots, held.visits, FULL)
    assert {id_: held.finds(id_) for id_ in held.rows} == held.rows
    assert np.count_nonzero(held.slots) == len(held.rows)


def test_an_index_that_is_empty_again_holds_nothing() -> None:
    draw, held = random.Random(6), Held()
    for _ in range(FULL):
        held.put(crowded(draw))
    for id_ in list(held.rows):
        held.remove(id_)
    assert not held.slots.any()
