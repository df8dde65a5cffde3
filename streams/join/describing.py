"""What a request tells of its predictions: user, surface, segments, features. Compiled.

A request may be read after its prediction, so what it says is kept as it came, and laid over what is tallied.
"""

import numpy as np

from streams.compiled import inner
from streams.join.blobs import read
from streams.join.cells import cell_of_segment
from streams.join.facts import (
    DESCRIBED,
    NO_FEATURES,
    NO_SEGMENTS,
    NO_SURFACE,
    NO_USER,
    USER,
    shape_of,
)
from streams.join.grammar import END, next_member
from streams.join.hashmap import NONE
from streams.join.layout import Bytes, State
from streams.join.lists import link_to
from streams.join.references import tally, tally_nothing
from streams.join.tallies import add_all, move_to, sum_up
from streams.join.text import hash_of, text_hash

SURFACE = np.uint64(hash_of("surface"))
"""The segment that has a field of its own."""


@inner
def describe(state: State, asked: int, row: int) -> None:
    """A counted prediction takes from its request what it does not say itself."""
    prediction, request = state.predictions[row], state.asked[asked]
    flags = prediction.flags
    prediction.flags = flags | DESCRIBED
    if flags & NO_USER and request.flags & USER and state.shapes[shape_of(state, row)].by_user:
        move_to(state, row, request.bucket)
    if request.blob < 0:
        return
    surface, surface_end, segments, features, _ = read(state, request.blob)
    surface = surface if flags & NO_SURFACE else NONE
    segments = segments if flags & NO_SEGMENTS else NONE
    if surface >= 0 or segments >= 0:
        sum_up(state, row, state.after)
        segment(state, row, state.blobs, surface, surface_end, segments, 1)
    if flags & NO_FEATURES and features >= 0:
        profile = state.cells[prediction.cell].profile
        if profile >= 0:
            tally_nothing(state, prediction.cell, profile, -1)
            tally(state, prediction.cell, profile, state.blobs, features)


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
    entry = shape_of(state, row)
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
