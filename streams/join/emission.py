"""From cells to snapshots: what of a window has changed, and the `Pane` that says so."""

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from schemas.records import QUALITY, Pane
from streams.compiled import compiled, inlined
from streams.join import sums
from streams.join.cells import NO_ARM, OTHER
from streams.join.control import Control
from streams.join.layout import BIRTHS, USED, Bytes, Floats, Integers, State
from streams.join.sums import NAMES, RANKED, RELIABILITY
from streams.join.tallies import DELAY, FEATURES, LATENCY, NEGATIVE_SCORES, POSITIVE_SCORES
from streams.join.text import text
from streams.metrics.scored import TENTHS

ARMS = ("stable", "candidate", "shadow", "")

HELD_BACK = range(sums.PAIRS, RANKED)
"""Slots of what is in final snapshots only."""


class Words(NamedTuple):
    """The version of a cell, and its segment's value."""

    version: str = ""
    value: str = ""


NAMELESS = Words()


@inlined
def _held_back(kind: int) -> bool:
    """Whether counters of this kind are in final snapshots only."""
    return kind in (POSITIVE_SCORES, NEGATIVE_SCORES)


@compiled
def changed_cells(state: State, windows: Integers, reached: int) -> tuple[Integers, Integers]:
    """The cells of windows that are to be told, and of their counters (index of the cell, kind, bin, count),
    shape (n, 4), in the order of the cells, those of scores only where the window is final. Afterwards they
    count as unchanged.
    """
    found, counters = 0, 0
    for row in windows:
        final = state.windows[row].deadline < reached
        cell = state.windows[row].cells
        while cell >= 0:
            if state.cells[cell].changed or (final and state.sums[cell, sums.PAIRS] > 0.0):
                state.cells[cell].changed = 1
                found += 1
                counter = state.cells[cell].counters
                while counter >= 0:
                    counters += final or not _held_back(state.counters[counter].kind)
                    counter = state.counters[counter].next
            cell = state.cells[cell].next
    cells = np.empty(found, np.int64)
    bins = np.empty((counters, 4), np.int64)
    found, counters = 0, 0
    for row in windows:
        final = state.windows[row].deadline < reached
        state.windows[row].changed = 0
        cell = state.windows[row].cells
        while cell >= 0:
            if state.cells[cell].changed:
                state.cells[cell].changed = 0
                counter = state.cells[cell].counters
                while counter >= 0:
                    if final or not _held_back(state.counters[counter].kind):
                        bins[counters, 0] = found
                        bins[counters, 1] = state.counters[counter].kind
                        bins[counters, 2] = state.counters[counter].bin
                        bins[counters, 3] = state.counters[counter].count
                        counters += 1
                    counter = state.counters[counter].next
                cells[found] = cell
                found += 1
            cell = state.cells[cell].next
    return cells, bins


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


class Emission:
    """Writes the snapshots of a source partition."""

    def __init__(self, partition: int, control: Control) -> None:
        self._partition = partition
        self._control = control
        self._words: list[Words] = []
        self._names: dict[tuple[int, int], list[str]] = {}

    def name(self, state: State, data: Bytes | None) -> None:
        """Notes the words of new cells: versions, and segments' values. They stand in `data`, or in blobs."""
        born = int(state.pools[BIRTHS, USED])
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

    def panes(self, state: State, windows: Integers, reached: int, snapshot: int) -> Iterator[Pane]:
        """A snapshot of each cell of the windows that has changed, in the order of the windows."""
        cells, bins = changed_cells(state, windows, reached)
        ends = np.searchsorted(bins[:, 0], np.arange(len(cells)), side="right").tolist()
        kinds, places, counts = bins.T[1:].tolist()
        first = 0
        for cell, last in zip(cells.tolist(), ends, strict=True):
            pane = self._pane(state, cell, snapshot)
            counters = zip(kinds[first:last], places[first:last], counts[first:last], strict=True)
            self._fill(pane, state, cell, counters, reached)
            first = last
            yield pane

    def retractions(self, state: State, window: int, snapshot: int) -> Iterator[Pane]:
        """A record for each cell of a window that says it is void."""
        for cell in all_cells(state, window).tolist():
            pane = self._pane(state, cell, snapshot)
            pane.retracted = True
            yield pane

    def _pane(self, state: State, row: int, snapshot: int) -> Pane:
        words, shapes = self._words[row], self._control.shapes
        cell = state.cells[row]
        window = state.windows[cell["window"]]
        segment = int(cell["segment"])
        return Pane(
            model=shapes.models[window["model"]],
            version=words.version,
            arm=ARMS[cell["arm"]],
            segment=shapes.policies[window["entry"]].segments[segment - 1] if segment else "",
            segment_value=words.value,
            start=int(window["start"]),
            end=int(window["end"]),
            generation=int(cell["generation"]),
            partition=self._partition,
            part=int(window["part"]),
            snapshot=snapshot,
            deadline=int(window["deadline"]),
        )

    def _fill(
        self, pane: Pane, state: State, row: int, counters: Iterable[tuple[int, int, int]], reached: int
    ) -> None:
        cell = state.cells[row]
        entry = int(state.windows[cell["window"]]["entry"])
        final = pane.deadline < reached
        totals = state.sums[row]
        values = totals.tolist()
        names = self._names_of(entry)
        pane.sums = {
            names[slot]: _plain(values[slot])
            for slot in np.flatnonzero(totals).tolist()
            if names[slot] and (final or slot not in HELD_BACK)
        }
        if "relevant" in pane.sums:
            pane.sums |= {name: pane.sums.get(name, 0) for name in names[RANKED:] if name}
        if final:
            tenths = totals[RELIABILITY:RANKED].reshape(TENTHS, 3).tolist()
            pane.reliability = {i: list(map(_plain, tenth)) for i, tenth in enumerate(tenths) if tenth[0]}
        self._count(pane, counters, final)
        if cell["arm"] != NO_ARM and cell["buckets"] >= 0:
            self._bucket(pane, state, entry, int(cell["buckets"]), () if final else HELD_BACK)

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

    def _count(self, pane: Pane, counters: Iterable[tuple[int, int, int]], final: bool) -> None:
        pane.latency, pane.click_delay, pane.positive_scores, pane.negative_scores = {}, {}, {}, {}
        histograms = {LATENCY: pane.latency, DELAY: pane.click_delay}
        if final:
            histograms |= {POSITIVE_SCORES: pane.positive_scores, NEGATIVE_SCORES: pane.negative_scores}
        pane.features, pane.quality = {}, {}
        for kind, bin_, count in counters:
            if not count:
                continue
            if kind < FEATURES:
                if kind in histograms:
                    histograms[kind][bin_] = count
                continue
            feature, quality = divmod(kind - FEATURES, 2)
            name = self._control.references.names[feature]
            if quality:
                pane.quality.setdefault(name, [0] * len(QUALITY))[bin_] = count
            else:
                pane.features.setdefault(name, [0] * self._control.references.bins[feature])[bin_] = count

    def _bucket(self, pane: Pane, state: State, entry: int, row: int, held_back: Collection[int]) -> None:
        slots = state.bucketed[entry].tolist()
        buckets = state.buckets[row]
        filled = np.flatnonzero(buckets[0])
        held = buckets[:, filled]
        names = self._names_of(entry)
        pane.buckets = filled.tolist()
        pane.bucket_sums = {
            names[slot]: values
            for slot, values, told in zip(slots, _plain_rows(held), held.any(axis=1).tolist(), strict=True)
            if told and slot >= 0 and slot not in held_back
        }


def _plain_rows(values: Floats) -> list[list[float]]:
    """`_plain`, of each of a matrix's rows."""
    whole = values.astype(np.int64)
    all_whole = ((whole == values) & (np.abs(values) < 1 << 53)).all(axis=1).tolist()
    return [
        whole[i].tolist() if plain else list(map(_plain, values[i].tolist()))
        for i, plain in enumerate(all_whole)
    ]


def _plain(number: float) -> float:
    """As short as JSON can have it."""
    return int(number) if number.is_integer() and abs(number) < 1 << 53 else number
