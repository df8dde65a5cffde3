"""Open panes and their cells, as compiled code finds and makes them. A cell is what `schemas.records.Pane` is
a snapshot of: one series of one pane. Nothing here knows of requests, clicks or Kafka.
"""

from typing import Any

import numpy as np

from streams.compiled import compiled, inlined, inner
from streams.join import shapes
from streams.join.hashmap import NONE, find, put, remove
from streams.join.layout import (
    BIRTHS,
    BUCKETS_,
    CELLS,
    COUNTERS,
    IN_RUN,
    REACHED,
    RUN_BITS,
    RUNS,
    SEEN,
    USED,
    WINDOWS,
    State,
)
from streams.join.shapes import NOBODY
from streams.join.tables import give, take
from streams.join.text import hash_of, mix

SEGMENT_VALUES = 100
"""Beyond so many values of one segment in a pane, the rest are counted together, as `OTHER`."""

OTHER = "other"
OTHER_HASH = np.uint64(hash_of(OTHER))
NO_ARM = 3
NO_WORD = np.uint64(0)
"""Where no prediction says which version or segment."""

_SEGMENT = np.uint64(0x5E61)
_HALF = np.uint64(32)


@inner
def series_of(
    window: int, version: np.uint64, arm: int, generation: int, segment: int, value: np.uint64
) -> np.uint64:
    """The key of a cell."""
    key = mix(version, np.uint64(window))
    key = mix(key, np.uint64(generation + 1) * np.uint64(4) + np.uint64(arm))
    return mix(key, mix(value, np.uint64(segment))) if segment else key


@inner
def pane_of(model: int, start: int, part: int) -> np.uint64:
    """The key of a window."""
    return mix(mix(np.uint64(start), np.uint64(model + 1)), np.uint64(part))


@inner
def window_at(state: State, model: int, entry: int, start: int, part: int, deadline: int) -> int:
    """The window of a pane, made where there is none."""
    key = pane_of(model, start, part)
    row = find(state.by_pane, key)
    if row >= 0:
        return row
    row = take(state.windows, state.pools, WINDOWS)
    put(state.by_pane, key, row)
    window = state.windows[row]
    window.model, window.entry = model, entry
    window.start, window.end, window.part = start, start + state.shapes[entry].pane, part
    window.deadline, window.due = deadline, 0
    window.cells, window.holders, window.open, window.changed = NONE, 0, 1, 0
    return row


@inner
def window_of(state: State, model: int, entry: int, start: int) -> int:
    """The window of a model's pane."""
    key = pane_of(model, start, 0)
    row = find(state.by_pane, key)
    if row >= 0:
        return row
    due = shapes.deadline(state, entry, start) if model != NOBODY else shapes.loss_deadline(state, start)
    return window_at(state, model, entry, start, 0, due)


@inner
def window_of_loss(state: State, model: int, timestamp: int, past: int) -> int:
    """The pane of `timestamp`, for a count; where that is past, a part of it that is named after the pane in
    which the record came: as the log says it, or where time passed that pane without a record, as it is now.
    """
    entry = shapes.at(state, model, timestamp)
    start = shapes.pane_start(state, entry, timestamp)
    key = pane_of(model, start, 0)
    row = find(state.by_pane, key)
    if row >= 0:
        due = state.windows[row].deadline
    else:
        due = shapes.deadline(state, entry, start) if model != NOBODY else shapes.loss_deadline(state, start)
    reached = state.heads[REACHED]
    if max(past, reached) <= due:
        return row if row >= 0 else window_at(state, model, entry, start, 0, due)
    came = past if _part_deadline(state, model, past) >= reached else reached
    part = shapes.pane_start(state, shapes.at(state, model, came), came)
    return window_at(state, model, entry, start, part, _part_deadline(state, model, came))


@inner
def _part_deadline(state: State, model: int, came: int) -> int:
    return shapes.deadline_at(state, model, came) if model != NOBODY else shapes.loss_deadline(state, came)


@inner
def cell_of(
    state: State, window: int, version: np.uint64, arm: int, generation: int, segment: int, value: np.uint64
) -> int:
    """The cell of a series; `NONE` where there is none yet."""
    return find(state.by_series, series_of(window, version, arm, generation, segment, value))


@inner
def make_cell(
    state: State, window: int, version: np.uint64, arm: int, generation: int, segment: int, value: np.uint64
) -> int:
    """A new cell of a series. Its words are to be told by `born`."""
    row = take(state.cells, state.pools, CELLS)
    put(state.by_series, series_of(window, version, arm, generation, segment, value), row)
    cell = state.cells[row]
    cell.version, cell.value, cell.generation = version, value, generation
    cell.window, cell.segment, cell.arm = window, segment, arm
    cell.counters, cell.profile, cell.buckets, cell.holders, cell.changed = NONE, NONE, NONE, 0, 1
    state.sums[row, :] = 0.0
    if segment == 0 and arm != NO_ARM:
        bucket = take(state.bucket_rows, state.pools, BUCKETS_)
        state.buckets[bucket, :, :] = 0.0
        cell.buckets = bucket
    cell.next = state.windows[window].cells
    state.windows[window].cells = row
    state.windows[window].changed = 1
    return row


@inner
def born(
    state: State,
    cell: int,
    version_start: int,
    version_end: int,
    value_start: int,
    value_end: int,
    in_blob: int,
) -> None:
    """Where the words of a new cell stand; a start of -1 is no word. Without a version's start, its end is
    the cell that has the same version, or -1.
    """
    row = state.pools[BIRTHS, USED]
    state.pools[BIRTHS, USED] = row + 1
    birth = state.births[row]
    birth.cell, birth.in_blob = cell, in_blob
    birth.version_start, birth.version_end = version_start, version_end
    birth.value_start, birth.value_end = value_start, value_end


@inner
def cell_of_nobody(state: State, window: int) -> int:
    """The cell of what belongs to no version."""
    cell = cell_of(state, window, NO_WORD, NO_ARM, -1, 0, NO_WORD)
    if cell >= 0:
        return cell
    cell = make_cell(state, window, NO_WORD, NO_ARM, -1, 0, NO_WORD)
    born(state, cell, -1, -1, -1, -1, 0)
    return cell


@inner
def cell_of_version(
    state: State, window: int, version: np.uint64, arm: int, generation: int, start: int, end: int
) -> int:
    """The cell of all predictions of a version in an arm; its name stands in the batch, `start` to `end`."""
    cell = cell_of(state, window, version, arm, generation, 0, NO_WORD)
    if cell >= 0:
        return cell
    cell = make_cell(state, window, version, arm, generation, 0, NO_WORD)
    # For good: what is counted before and after a profile came would not add up.
    model = state.models[state.windows[window].model].name
    state.cells[cell].profile = find(state.by_version, mix(model, version))
    born(state, cell, start, end, -1, -1, 0)
    return cell


@inner
def cell_of_segment(
    state: State, whole: int, segment: int, value: np.uint64, start: int, end: int, in_blob: int
) -> int:
    """The cell of a segment's value, in the series of the cell `whole`."""
    window, version = state.cells[whole].window, state.cells[whole].version
    arm, generation = state.cells[whole].arm, state.cells[whole].generation
    cell = cell_of(state, window, version, arm, generation, segment, value)
    if cell >= 0:
        return cell
    if not _is_known(state, window, segment, value):
        value, start, end = OTHER_HASH, -1, -1
        cell = cell_of(state, window, version, arm, generation, segment, value)
        if cell >= 0:
            return cell
    cell = make_cell(state, window, version, arm, generation, segment, value)
    born(state, cell, -1, whole, start, end, in_blob)
    return cell


@inner
def _values(window: int, segment: int) -> np.uint64:
    return mix(mix(_SEGMENT, np.uint64(window)), np.uint64(segment))


@inner
def _is_known(state: State, window: int, segment: int, value: np.uint64) -> bool:
    """Whether a segment's value is among those that a pane tells apart; notes it where there is room for
    another.
    """
    values = _values(window, segment)
    key = mix(values, value)
    if find(state.seen, key) >= 0:
        return True
    count = max(find(state.seen, values), 0)
    if count >= SEGMENT_VALUES:
        return False
    if count:
        remove(state.seen, values)
    put(state.seen, values, count + 1)
    put(state.seen, key, 1)
    state.pools[SEEN, USED] += 1 if count else 2
    return True


@inner
def touch(state: State, cell: int) -> None:
    """A cell has changed."""
    state.cells[cell].changed = 1
    state.windows[state.cells[cell].window].changed = 1


@inner
def add(state: State, cell: int, slot: int, value: float) -> None:
    """Adds to a sum that has no buckets."""
    state.sums[cell, slot] += value
    touch(state, cell)


@inner
def counter_of(cell: int, kind: int, bin_: int) -> np.uint64:
    """The key of a counter."""
    return mix((np.uint64(cell) << _HALF) | np.uint64(kind), np.uint64(bin_))


@inner
def count(state: State, cell: int, kind: int, bin_: int, by: int) -> None:
    """Adds to a bin of a histogram of a cell."""
    key = counter_of(cell, kind, bin_)
    row = find(state.by_bin, key)
    if row < 0:
        row = _make_counter(state, cell)
        put(state.by_bin, key, row)
        state.pools[COUNTERS, USED] += 1
        counter = counter_at(state, row)
        counter.count, counter.kind, counter.bin = 0, kind, bin_
    counter_at(state, row).count += by


@inner
def _make_counter(state: State, cell: int) -> int:
    """The number of a cell's next counter."""
    last = state.cells[cell].counters
    if last >= 0 and last % IN_RUN < IN_RUN - 1:
        row = last + 1
    else:
        run = take(state.runs, state.pools, RUNS)
        state.runs[run].next = last
        row = run * IN_RUN
    state.cells[cell].counters = row
    return int(row)


@inlined
def counter_at(state: State, row: int) -> Any:
    """A counter by its number."""
    return state.counters[row >> RUN_BITS, row & (IN_RUN - 1)]


@inlined
def counter_before(state: State, row: int) -> int:
    """The number of the one that its cell had before it; `NONE` of the first."""
    return int(row - 1 if row % IN_RUN else state.runs[row // IN_RUN].next)


@inner
def hold(state: State, window: int) -> None:
    """A row points at a window."""
    state.windows[window].holders += 1


@inner
def let_go(state: State, window: int) -> None:
    """It does no more; a window that is closed and that nothing points at is gone."""
    state.windows[window].holders -= 1
    if state.windows[window].holders == 0 and not state.windows[window].open:
        give(state.windows, state.pools, WINDOWS, window)


@inner
def hold_cell(state: State, row: int) -> None:
    """A prediction points at a cell."""
    cell = state.cells[row]
    if cell.holders == 0:
        hold(state, cell.window)
    cell.holders += 1


@inner
def let_go_cell(state: State, row: int) -> None:
    """It does no more; a cell of a closed window that no prediction points at is gone."""
    cell = state.cells[row]
    cell.holders -= 1
    if cell.holders == 0:
        window = cell.window
        if not state.windows[window].open:
            give(state.cells, state.pools, CELLS, row)
        let_go(state, window)


@compiled
def close(state: State, row: int) -> None:
    """Forgets what a window's cells hold, and cells and window once nothing points at them any more."""
    window = state.windows[row]
    cell = window.cells
    while cell >= 0:
        following = state.cells[cell].next
        _forget(state, row, cell)
        cell = following
    window.cells = NONE
    remove(state.by_pane, pane_of(window.model, window.start, window.part))
    window.open = 0
    if window.holders == 0:
        give(state.windows, state.pools, WINDOWS, row)


@inner
def _forget(state: State, window: int, row: int) -> None:
    cell = state.cells[row]
    counter = cell.counters
    while counter >= 0:
        following, found = counter_before(state, counter), counter_at(state, counter)
        remove(state.by_bin, counter_of(row, found.kind, found.bin))
        state.pools[COUNTERS, USED] -= 1
        if counter % IN_RUN == 0:
            give(state.runs, state.pools, RUNS, counter // IN_RUN)
        counter = following
    if cell.buckets >= 0:
        give(state.bucket_rows, state.pools, BUCKETS_, cell.buckets)
    if cell.segment:
        values = _values(window, cell.segment)
        for key in (mix(values, cell.value), values):
            if remove(state.seen, key):
                state.pools[SEEN, USED] -= 1
    remove(
        state.by_series, series_of(window, cell.version, cell.arm, cell.generation, cell.segment, cell.value)
    )
    if cell.holders == 0:
        give(state.cells, state.pools, CELLS, row)
