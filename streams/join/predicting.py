"""Predictions: which of a request count, and what they add; contract, section 3. Compiled.

Verdicts (late, duplicate, …) are functions of the log: they rest on a record's own topic partition's clock
and its Kafka timestamp, never on how the three topics happened to interleave.
"""

from streams.compiled import compiled, inner
from streams.join import held, shapes, sums
from streams.join.batches import (
    GOOD,
    LARGEST,
    MISPLACED,
    UNREADABLE,
    Batch,
    bucket_of,
    held_under,
    lose_prediction,
    lose_unread,
    time_of,
)
from streams.join.cells import add, cell_of_nobody, cell_of_version, hold, window_of
from streams.join.describing import describe, profile_of_prediction, segment
from streams.join.hashmap import NONE, find
from streams.join.hearing import match
from streams.join.held import OF_PREDICTIONS, need
from streams.join.layout import PREDICTIONS, REACHED, State
from streams.join.references import tally, tally_nothing, tally_score
from streams.join.tables import put_item, room, same_item, take, take_items
from streams.join.tallies import (
    LISTED,
    NO_FEATURES,
    NO_SEGMENTS,
    NO_SURFACE,
    NO_USER,
    OK,
    OVER,
    PAIR,
    SCORED,
    SERVED,
    SLOW,
    TIMED,
    add_all,
    sum_up,
)

SHADOW = 2
STATUS_OK, STATUS_TIMEOUT = 0, 2


@compiled
def read_predictions(state: State, batch: Batch, i: int) -> int:
    """Takes in predictions from record `i` on; answers where it stopped for want of room."""
    while i < len(batch.rows):
        row, kind = batch.rows[i], batch.kinds[i]
        visit = find(state.by_id, row.id) if kind == GOOD else NONE
        predicted, heard = held_under(state, visit)
        if not room(state, predicted, heard, row.length if kind == GOOD else 0, 0):
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
    held.keep(state, visit, deadline)
    window = window_of(state, model, entry, start)
    cell = cell_of_version(
        state, window, row.version, row.arm, row.generation, row.version_start, row.version_end
    )
    shadow = row.arm == SHADOW
    other = state.visits[visit].predictions
    while other >= 0:
        first = state.predictions[other]
        if held.model_of(state, other) == model and (first.arm == SHADOW) == shadow and past <= first.keep:
            same = not shadow or first.version == row.version
            if same:
                add(state, cell, sums.DUPLICATES, 1.0)
                first.keep = max(first.keep, deadline)
                need(state, OF_PREDICTIONS, first.batch, deadline)
                return
        other = first.next
    prediction = _hold_prediction(state, batch, i, window, cell, ts, past)
    _mark_answered(state, visit, prediction)
    _enter(state, batch, i, prediction)
    asked = _first_describing(state, visit, prediction)
    if asked >= 0:
        describe(state, asked, prediction)
    last = state.visits[visit].predictions
    state.predictions[prediction].next = last
    state.visits[visit].predictions = prediction
    state.visits[visit].predicted += 1
    said = held.first_said(state, visit)
    while said >= 0:
        match(state, said, prediction)
        said = held.next_said(state, visit, said)


@inner
def _hold_prediction(state: State, batch: Batch, i: int, window: int, cell: int, ts: int, past: int) -> int:
    """The facts of a prediction that counts."""
    row = batch.rows[i]
    number = take(state.predictions, state.pools, PREDICTIONS)
    prediction = state.predictions[number]
    shape = state.shapes[state.windows[window].entry]
    prediction.version = row.version
    prediction.past, prediction.keep = past, state.windows[window].deadline
    prediction.latency_ms, prediction.age = min(row.latency_ms, LARGEST), ts - state.windows[window].start
    prediction.freshness_ms = min(max(batch.timestamps[i] - ts, -(1 << 31)), (1 << 31) - 1)
    prediction.window, prediction.cell, prediction.batch = window, cell, batch.numbers[0]
    prediction.links, prediction.answers, prediction.arm = NONE, NONE, row.arm
    hold(state, window)
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
    prediction.length, prediction.shown = length, shown if served else 0
    prediction.items = take_items(state, length)
    _store_items(state, batch, row.first, number)
    return number


@inner
def _store_items(state: State, batch: Batch, first: int, number: int) -> None:
    prediction = state.predictions[number]
    shape = state.shapes[state.windows[prediction.window].entry]
    told = prediction.flags & LISTED or shape.labels  # nobody clicks on a score that has no item
    to = prediction.items
    for j in range(prediction.length):
        item, score = batch.items[first + j], batch.scores[first + j]
        marks = 0
        if score >= shape.threshold:
            marks |= OVER
        if told and j < prediction.shown and 0.0 <= score <= 1.0:
            marks |= PAIR
        put_item(state, to + j, item)
        state.scores[to + j], state.marks[to + j] = score, marks
    if prediction.flags & LISTED:
        _unpair_repeated(state, to, prediction.shown)


@inner
def _unpair_repeated(state: State, first: int, shown: int) -> None:
    """An item that is repeated in a list keeps its first position."""
    for j in range(1, shown):
        for earlier in range(j):
            if same_item(state, first + earlier, first + j):
                state.marks[first + j] &= 255 - PAIR
                break


@inner
def _enter(state: State, batch: Batch, i: int, row: int) -> None:
    """Adds a prediction to the cells of its series, and of the segments that it tells itself."""
    record, prediction = batch.rows[i], state.predictions[row]
    sum_up(state, row, state.after)
    add_all(state, prediction.cell, row)
    segment(state, row, batch.data, record.surface_start, record.surface_end, record.segments_start, 0)
    profile = profile_of_prediction(state, row)
    if profile < 0:
        return
    if record.features_start >= 0:
        tally(state, prediction.cell, profile, batch.data, record.features_start)
    else:
        tally_nothing(state, prediction.cell, profile, 1)
    if prediction.flags & SCORED:
        for j in range(prediction.length):
            tally_score(state, prediction.cell, profile, batch.scores[record.first + j])


@inner
def _first_describing(state: State, visit: int, prediction: int) -> int:
    """The first request that was read of those that describe a prediction."""
    found, asked = NONE, state.visits[visit].asked
    while asked >= 0:
        if held.describes(state, asked, prediction):
            found = asked
        asked = state.asked[asked].next
    return int(found)


@inner
def _mark_answered(state: State, visit: int, prediction: int) -> None:
    asked = state.visits[visit].asked
    while asked >= 0:
        held.tie(state, asked, prediction)
        request = state.asked[asked]
        if request.unanswered and held.answers(state, prediction, asked):
            request.unanswered = 0
            add(state, cell_of_nobody(state, request.window), sums.UNANSWERED, -1.0)
        asked = request.next
