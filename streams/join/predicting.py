"""Predictions: which of a request count, and what they add; contract, section 3. Compiled.

Verdicts (late, duplicate, …) are functions of the log: they rest on a record's own topic partition's clock
and its Kafka timestamp, never on how the three topics happened to interleave.
"""

from streams.compiled import compiled, inner
from streams.join import held, index, shapes, sums
from streams.join.batches import (
    GOOD,
    LARGEST,
    MISPLACED,
    UNREADABLE,
    Batch,
    bucket_of,
    lose_prediction,
    lose_unread,
    time_of,
)
from streams.join.cells import add, cell_of_nobody, cell_of_version, hold_cell, window_of
from streams.join.describing import describe, segment
from streams.join.facts import (
    LISTED,
    NO_FEATURES,
    NO_SEGMENTS,
    NO_SURFACE,
    NO_USER,
    OK,
    SCORED,
    SERVED,
    SLOW,
    TIMED,
    UNANSWERED,
    keep_of,
    keep_prediction,
    length_of,
    note_prediction,
    shape_of,
    shown_of,
)
from streams.join.hashmap import NONE, find
from streams.join.hearing import match
from streams.join.held import OF_PREDICTIONS, held_under, need
from streams.join.items import marks_units, put_item, take_items, unpair
from streams.join.layout import PREDICTIONS, REACHED, State
from streams.join.lists import element, link_to, rest
from streams.join.references import tally, tally_nothing, tally_score
from streams.join.tables import room, size_of, take
from streams.join.tallies import add_all, sum_up

SHADOW = 2
STATUS_OK, STATUS_TIMEOUT = 0, 2


@compiled
def read_predictions(state: State, batch: Batch, i: int, until: int) -> int:
    """Takes in predictions from record `i` on, up to `until`; answers where it stopped for want of room."""
    while i < until:
        row, kind = batch.rows[i], batch.kinds[i]
        visit = index.find(state.by_id, state.visits, row.id) if kind == GOOD else NONE
        predicted, heard = held_under(state, visit)
        length = row.length if kind == GOOD else 0
        if not room(state, predicted, heard, length, size_of(marks_units(length))):
            return i
        if kind == UNREADABLE:
            lose_unread(state, OF_PREDICTIONS, batch, i)
        else:
            model = find(state.by_model, row.model)
            ts, past = time_of(state, batch, i)
            if kind == MISPLACED:
                lose_prediction(state, batch, i, model, past, sums.MISPARTITIONED)
            elif kind == GOOD:
                if ts != row.ts:
                    lose_prediction(state, batch, i, model, past, sums.SKEWED)
                _predict(state, batch, i, model, ts, past)
        i += 1
    return i


@inner
def _predict(state: State, batch: Batch, i: int, model: int, ts: int, came: int) -> None:
    row, number = batch.rows[i], batch.numbers[0]
    past = max(came, state.heads[REACHED])
    entry = shapes.at(state, model, ts)
    start = shapes.pane_start(state, entry, ts)
    deadline = shapes.deadline(state, entry, start)
    if past > deadline:
        lose_prediction(state, batch, i, model, came, sums.LATE)
        return
    visit = held.visit_of(state, row.id)
    need(state, OF_PREDICTIONS, number, deadline)
    window = window_of(state, model, entry, start)
    cell = cell_of_version(
        state, window, row.version, row.arm, row.generation, row.version_start, row.version_end
    )
    predictions = state.visits[visit].predictions
    while predictions != NONE:
        first = element(state, predictions)
        if _repeats(state, cell, first) and past <= keep_of(state, first):
            add(state, cell, sums.DUPLICATES, 1.0)
            keep_prediction(state, first, deadline)
            need(state, OF_PREDICTIONS, state.predictions[first].batch, deadline)
            return
        predictions = rest(state, predictions)
    held.schedule(state, visit, deadline)
    prediction = _hold_prediction(state, batch, i, window, cell, ts, past)
    _mark_answered(state, visit, prediction)
    _enter(state, batch, i, prediction)
    asked = _first_describing(state, visit, prediction)
    if asked >= 0:
        describe(state, asked, prediction)
    state.visits[visit].predictions = link_to(state, state.visits[visit].predictions, prediction)
    said = held.first_said(state, visit)
    while said >= 0:
        match(state, said, prediction)
        said = held.next_said(state, visit, said)


@inner
def _repeats(state: State, cell: int, first: int) -> bool:
    """Whether a prediction of that cell is of the model and kind of an earlier one of its request: no shadow,
    or a shadow of that version.
    """
    new, old = state.cells[cell], state.cells[state.predictions[first].cell]
    if state.windows[new.window].model != state.windows[old.window].model:
        return False
    if (new.arm == SHADOW) != (old.arm == SHADOW):
        return False
    return bool(new.arm != SHADOW or new.version == old.version)


@inner
def _hold_prediction(state: State, batch: Batch, i: int, window: int, cell: int, ts: int, past: int) -> int:
    """The facts of a prediction that counts."""
    row = batch.rows[i]
    number = take(state.predictions, state.pools, PREDICTIONS)
    prediction = state.predictions[number]
    shape = state.shapes[state.windows[window].entry]
    prediction.latency_ms, prediction.age = min(row.latency_ms, LARGEST), ts - state.windows[window].start
    prediction.freshness_ms = min(max(batch.timestamps[i] - ts, -(1 << 31)), (1 << 31) - 1)
    prediction.cell, prediction.batch = cell, batch.numbers[0]
    prediction.links, prediction.answers = NONE, NONE
    hold_cell(state, cell)
    ok, served = row.status == STATUS_OK, row.arm != SHADOW
    flags = 0
    flags |= OK if ok else 0
    flags |= TIMED if ok or row.status == STATUS_TIMEOUT else 0
    flags |= SLOW if row.latency_ms > shape.slow_ms else 0
    flags |= SERVED if served else 0
    flags |= LISTED if row.has_items else 0
    flags |= SCORED if row.has_scores else 0
    flags |= NO_USER if row.user == 0 else 0
    flags |= NO_SURFACE if row.surface_start < 0 else 0
    flags |= NO_SEGMENTS if row.segments_start < 0 else 0
    flags |= NO_FEATURES if row.features_start < 0 else 0
    prediction.flags = flags
    prediction.bucket = bucket_of(row.user if row.user != 0 and shape.by_user else row.id)
    length = row.length if ok else 0
    shown = length if row.shown < 0 else min(row.shown, length)
    note_prediction(state, number, past, length, shown if served else 0)
    prediction.items = take_items(state, length)
    _store_items(state, batch, row.first, number)
    return number


@inner
def _store_items(state: State, batch: Batch, first: int, number: int) -> None:
    prediction = state.predictions[number]
    shape, shown = state.shapes[shape_of(state, number)], shown_of(state, number)
    told = prediction.flags & LISTED != 0 or shape.labels != 0  # nobody clicks on a score that has no item
    to = prediction.items
    for j in range(length_of(state, number)):
        score = batch.scores[first + j]
        pair = told and j < shown and 0.0 <= score <= 1.0
        put_item(state, to + j, batch.items[first + j], score, pair, score >= shape.threshold)
    if not prediction.flags & LISTED:
        return
    for j in range(1, shown):  # an item that is repeated in a list keeps its first position
        for earlier in range(j):
            if batch.items[first + earlier] == batch.items[first + j]:
                unpair(state, to + j)
                break


@inner
def _enter(state: State, batch: Batch, i: int, row: int) -> None:
    """Adds a prediction to the cells of its series, and of the segments that it tells itself."""
    record, prediction = batch.rows[i], state.predictions[row]
    sum_up(state, row, state.after)
    add_all(state, prediction.cell, row)
    segment(state, row, batch.data, record.surface_start, record.surface_end, record.segments_start, 0)
    profile = state.cells[prediction.cell].profile
    if profile < 0:
        return
    if record.features_start >= 0:
        tally(state, prediction.cell, profile, batch.data, record.features_start)
    else:
        tally_nothing(state, prediction.cell, profile, 1)
    if prediction.flags & SCORED:
        for j in range(length_of(state, row)):
            tally_score(state, prediction.cell, profile, batch.scores[record.first + j])


@inner
def _first_describing(state: State, visit: int, prediction: int) -> int:
    """The first request that was read of those that describe a prediction."""
    found, requests = NONE, state.visits[visit].asked
    while requests != NONE:
        asked = element(state, requests)
        if held.describes(state, asked, prediction):
            found = asked
        requests = rest(state, requests)
    return int(found)


@inner
def _mark_answered(state: State, visit: int, prediction: int) -> None:
    requests = state.visits[visit].asked
    while requests != NONE:
        asked = element(state, requests)
        held.tie(state, asked, prediction)
        request = state.asked[asked]
        if request.flags & UNANSWERED and held.answers(state, prediction, asked):
            request.flags &= 255 - UNANSWERED
            add(state, cell_of_nobody(state, request.window), sums.UNANSWERED, -1.0)
        requests = rest(state, requests)
