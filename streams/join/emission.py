"""From cells to snapshots: what of a window has changed, and copies of what that holds (`snapshots.py`)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from schemas.records import Pane
from streams.compiled import compiled, inlined
from streams.join import sums
from streams.join.cells import NO_ARM, OTHER, counter_at, counter_before
from streams.join.control import Control
from streams.join.layout import BIRTHS, USED, Bytes, Integers, State
from streams.join.snapshots import Counters, Snapshots, Subject
from streams.join.sums import NAMES, RANKED, RELIABILITY
from streams.join.tallies import FEATURES, NEGATIVE_SCORES, POSITIVE_SCORES
from streams.join.text import text

ARMS = ("stable", "candidate", "shadow", "")


class Words(NamedTuple):
    """The version of a cell, and its segment's value."""

    version: str = ""
    value: str = ""


NAMELESS = Words()


@inlined
def _is_told(count: int, kind: int, final: bool) -> bool:
    """Whether a counter is in a snapshot: those of scores are in final ones only."""
    return count != 0 and (final or kind not in (POSITIVE_SCORES, NEGATIVE_SCORES))


@compiled
def changed_cells(
    state: State, windows: Integers, reached: int
) -> tuple[Integers, Integers, Integers, Integers, Integers]:
    """What of windows is to be told, as cells and `Counters`. Afterwards it counts as
    unchanged."""
    found = 0
    for row in windows:
        final = state.windows[row].deadline < reached
        cell = state.windows[row].cells
        while cell >= 0:
            if state.cells[cell].changed or (final and state.sums[cell, sums.PAIRS] > 0.0):
                state.cells[cell].changed = 1
                found += 1
            cell = state.cells[cell].next
    cells = np.empty(found, np.int64)
    ends = np.zeros((found, FEATURES + 1), np.int64)
    found = 0
    for row in windows:
        final = state.windows[row].deadline < reached
        state.windows[row].changed = 0
        cell = state.windows[row].cells
        while cell >= 0:
            if state.cells[cell].changed:
                state.cells[cell].changed = 0
                counter = state.cells[cell].counters
                while counter >= 0:
                    held = counter_at(state, counter)
                    ends[found, min(held.kind, FEATURES)] += _is_told(held.count, held.kind, final)
                    counter = counter_before(state, counter)
                cells[found] = cell
                found += 1
            cell = state.cells[cell].next
    counters = 0
    for i in range(found):  # from how many there are to where they begin
        for kind in range(FEATURES + 1):
            begin, counters = counters, counters + ends[i, kind]
            ends[i, kind] = begin
    kinds, bins, counts = (
        np.empty(counters, np.int64),
        np.empty(counters, np.int64),
        np.empty(counters, np.int64),
    )
    for i in range(found):  # and to where they end
        final = state.windows[state.cells[cells[i]].window].deadline < reached
        counter = state.cells[cells[i]].counters
        while counter >= 0:
            held = counter_at(state, counter)
            if _is_told(held.count, held.kind, final):
                place = ends[i, min(held.kind, FEATURES)]
                kinds[place], bins[place], counts[place] = held.kind, held.bin, held.count
                ends[i, min(held.kind, FEATURES)] = place + 1
            counter = counter_before(state, counter)
    return cells, kinds, bins, counts, ends


@compiled
def all_cells(state: State, window: int) -> Integers:
    """The cells of a window."""
    found = 0
    cell = state.windows[window].cells
    while cell >= 0:
        found += 1
        cell = state.cells[cell].next
    cells = np.empty(found, np.int64)
    cell = state.windows[window].cells
    for i in range(found):
        cells[i] = cell
        cell = state.cells[cell].next
    return cells


class Cell(NamedTuple):
    """A cell as a row of the tables `cells` and `windows`."""

    number: int
    arm: int
    generation: int
    segment: int
    buckets: int
    model: int
    entry: int
    start: int
    end: int
    part: int
    deadline: int


class Emission:
    """Makes the snapshots of a source partition."""

    def __init__(self, partition: int, control: Control) -> None:
        self._partition = partition
        self._control = control
        self._words: list[Words] = []
        self._names: dict[tuple[int, int], list[str]] = {}

    def name(self, state: State, data: Bytes | None) -> None:
        """Notes the words of new cells: versions, and segments' values. They stand in `data`, or in blobs."""
        born = int(state.pools[BIRTHS, USED])
        if not born:
            return
        state.pools[BIRTHS, USED] = 0
        self._words += [NAMELESS] * (len(state.cells) - len(self._words))
        for cell, start, end, value_start, value_end, in_blob in state.births[:born].tolist():
            source = state.blobs if in_blob else data
            if start >= 0 and data is not None:
                version = text(data, start, end)
            else:
                version = self._words[end].version if end >= 0 else ""
            if value_start >= 0 and source is not None:
                value = text(source, value_start, value_end)
            else:
                value = OTHER if state.cells[cell]["segment"] else ""
            self._words[cell] = Words(version, value)

    def snapshots(self, state: State, windows: Integers, reached: int, snapshot: int) -> Snapshots:
        """A snapshot of each cell of the windows that has changed, in the order of the windows."""
        numbers, *counters = changed_cells(state, windows, reached)
        cells = _cells(state, numbers)
        bucketed = [cell.buckets for cell in cells if cell.arm != NO_ARM and cell.buckets >= 0]
        subjects = [
            Subject(
                self._pane(cell, snapshot),
                cell.deadline < reached,
                self._names_of(cell.entry),
                state.bucketed[cell.entry].tolist() if cell.arm != NO_ARM and cell.buckets >= 0 else None,
            )
            for cell in cells
        ]
        return Snapshots(
            subjects,
            state.sums[numbers],
            Counters(*counters),
            state.buckets[bucketed],
            self._control.references,
        )

    def retractions(self, state: State, window: int, snapshot: int) -> Iterator[Pane]:
        """A record for each cell of a window that says it is void."""
        for cell in _cells(state, all_cells(state, window)):
            pane = self._pane(cell, snapshot)
            pane.retracted = True
            yield pane

    def _pane(self, cell: Cell, snapshot: int) -> Pane:
        words, shapes, segment = self._words[cell.number], self._control.shapes, cell.segment
        return Pane(
            model=shapes.models[cell.model],
            version=words.version,
            arm=ARMS[cell.arm],
            segment=shapes.policies[cell.entry].segments[segment - 1] if segment else "",
            segment_value=words.value,
            start=cell.start,
            end=cell.end,
            generation=cell.generation,
            partition=self._partition,
            part=cell.part,
            snapshot=snapshot,
            deadline=cell.deadline,
        )

    def _names_of(self, entry: int) -> list[str]:
        """By slot; empty where a slot is no sum by itself."""
        slots = self._control.slots
        names = self._names.get((entry, slots))
        if names is None:
            at_k = sums.names_at(self._control.shapes.policies[entry].k)
            names = [*NAMES, *[""] * (RANKED - RELIABILITY), *at_k]
            names += [""] * (slots - len(names))
            self._names[entry, slots] = names
        return names


def _cells(state: State, numbers: Integers) -> list[Cell]:
    """The cells of these numbers."""
    cells = state.cells[numbers]
    windows = state.windows[cells["window"]]
    columns = (
        *(cells[name].tolist() for name in ("arm", "generation", "segment", "buckets")),
        *(windows[name].tolist() for name in ("model", "entry", "start", "end", "part", "deadline")),
    )
    return list(map(Cell, numbers.tolist(), *columns))
