"""What a request tells of its predictions: user, surface, segments, features. Compiled.

A request may be read after its prediction, so what it says is kept as it came, and laid over what is tallied.
"""

from typing import Any

import numpy as np

from streams.compiled import inner
from streams.join.cells import cell_of_segment
from streams.join.grammar import END, next_member
from streams.join.hashmap import NONE
from streams.join.layout import UNIT, Bytes, State
from streams.join.references import profile_of, tally, tally_nothing
from streams.join.tables import get_number, put_number, take_blob
from streams.join.tallies import (
    DESCRIBED,
    NO_FEATURES,
    NO_SEGMENTS,
    NO_SURFACE,
    NO_USER,
    add_all,
    link_to,
    move_to,
    sum_up,
)
from streams.join.text import hash_of, text_hash

SURFACE = np.uint64(hash_of("surface"))
"""The segment that has a field of its own."""


@inner
def blob_length(row: Any) -> int:
    length = 0
    if row.surface_start >= 0:
        length += row.surface_end - row.surface_start
    if row.segments_start >= 0:
        length += row.segments_end - row.segments_start
    if row.features_start >= 0:
        length += row.features_end - row.features_start
    return length + 16 if length else 0


@inner
def store(state: State, data: Bytes, row: Any) -> int:
    """Keeps what a request says of its predictions, behind its units and three lengths (-1: not said)."""
    length = blob_length(row)
    if length == 0:
        return NONE
    units = (length + UNIT - 1) // UNIT
    blob = take_blob(state, units)
    header = blob * UNIT
    put_number(state.blobs, header, units)
    end = header + 16
    slices = (
        (row.surface_start, row.surface_end),
        (row.segments_start, row.segments_end),
        (row.features_start, row.features_end),
    )
    for j in range(3):
        first, last = slices[j]
        if first < 0:
            put_number(state.blobs, header + 4 * (j + 1), -1)
            continue
        put_number(state.blobs, header + 4 * (j + 1), last - first)
        for place in range(first, last):
            state.blobs[end] = data[place]
            end += 1
    return blob


@inner
def describe(state: State, asked: int, row: int) -> None:
    """A counted prediction takes from its request what it does not say itself."""
    prediction, request = state.predictions[row], state.asked[asked]
    flags = prediction.flags
    prediction.flags = flags | DESCRIBED
    if flags & NO_USER and request.user and state.shapes[state.windows[prediction.window].entry].by_user:
        move_to(state, row, request.bucket)
    if request.blob < 0:
        return
    place = request.blob * UNIT
    surface = get_number(state.blobs, place + 4)
    segments = get_number(state.blobs, place + 8)
    start = place + 16
    surface_start = start if surface >= 0 and flags & NO_SURFACE else NONE
    start += max(surface, 0)
    segments_start = start if segments >= 0 and flags & NO_SEGMENTS else NONE
    if surface_start >= 0 or segments_start >= 0:
        sum_up(state, row, state.after)
        segment(state, row, state.blobs, surface_start, surface_start + surface, segments_start, 1)
    start += max(segments, 0)
    if flags & NO_FEATURES and get_number(state.blobs, place + 12) >= 0:
        profile = profile_of_prediction(state, row)
        if profile >= 0:
            tally_nothing(state, prediction.cell, profile, -1)
            tally(state, prediction.cell, profile, state.blobs, start)


@inner
def profile_of_prediction(state: State, row: int) -> int:
    prediction = state.predictions[row]
    model = state.models[state.windows[prediction.window].model].name
    return profile_of(state, model, state.cells[prediction.cell].version)


@inner
def segment(
    state: State,
    row: int,
    data: Bytes,
    surface_start: int,
    surface_end: int,
    segments_start: int,
    in_blob: int,
) -> None:
    """Adds a prediction, whose sums stand in `after`, to the cells of the segments that are told here: its
    surface, and an object of segments.
    """
    entry = state.windows[state.predictions[row].window].entry
    for j in range(state.shapes[entry].segments):
        name = state.segments[entry, j]
        start, end = NONE, NONE
        if name == SURFACE:
            start, end = surface_start, surface_end
        elif segments_start >= 0:
            place = segments_start
            while True:
                name_start, name_end, kind, value_start, value_end, place = next_member(data, place)
                if kind == END:
                    break
                if text_hash(data, name_start, name_end) == name:
                    start, end = value_start, value_end
                    break
        if start < 0:
            continue
        value = text_hash(data, start, end)
        cell = cell_of_segment(state, state.predictions[row].cell, j + 1, value, start, end, in_blob)
        state.predictions[row].links = link_to(state, state.predictions[row].links, cell)
        add_all(state, cell, row)
