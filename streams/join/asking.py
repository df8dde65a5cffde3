"""Requests: whether they were answered, and what they describe; contract, section 3. Compiled."""

from streams.compiled import compiled, inner
from streams.join import held, index, shapes, sums
from streams.join.batches import (
    GOOD,
    MISPLACED,
    UNREADABLE,
    Batch,
    bucket_of,
    lose,
    lose_unread,
    time_of,
)
from streams.join.blobs import blob_units, store
from streams.join.cells import cell_of_nobody, hold, window_of
from streams.join.describing import describe
from streams.join.facts import DESCRIBED, USER, keep_request, note_request, request_keep
from streams.join.hashmap import NONE, find
from streams.join.held import OF_REQUESTS, held_under, longest, need
from streams.join.layout import ASKED_, REACHED, State
from streams.join.lists import element, link_to, rest
from streams.join.tables import room, size_of, take


@compiled
def read_requests(state: State, batch: Batch, i: int, until: int) -> int:
    """Takes in requests from record `i` on, up to `until`; answers where it stopped for want of room."""
    while i < until:
        row, kind = batch.rows[i], batch.kinds[i]
        visit = index.find(state.by_id, state.visits, row.id) if kind == GOOD else NONE
        predicted, heard = held_under(state, visit)
        units = size_of(blob_units(row)) if kind == GOOD else 0
        if not room(state, predicted, heard, longest(state, visit), units):
            return i
        if kind == UNREADABLE:
            lose_unread(state, OF_REQUESTS, batch, i)
        else:
            model = find(state.by_model, row.model)
            ts, past = time_of(state, batch, i)
            if kind == MISPLACED:
                lose(
                    state,
                    OF_REQUESTS,
                    batch.numbers[0],
                    model,
                    batch.timestamps[i],
                    past,
                    sums.MISPARTITIONED,
                )
            elif kind == GOOD:
                if ts != row.ts:
                    lose(state, OF_REQUESTS, batch.numbers[0], model, batch.timestamps[i], past, sums.SKEWED)
                _ask(state, batch, i, model, ts, past)
        i += 1
    return i


@inner
def _ask(state: State, batch: Batch, i: int, model: int, ts: int, came: int) -> None:
    row, number = batch.rows[i], batch.numbers[0]
    past = max(came, state.heads[REACHED])
    entry = shapes.at(state, model, ts)
    start = shapes.pane_start(state, entry, ts)
    deadline = shapes.deadline(state, entry, start)
    if past > deadline:
        lose(state, OF_REQUESTS, number, model, batch.timestamps[i], came, sums.LATE)
        return
    visit = held.visit_of(state, row.id)
    until = max(deadline, shapes.deadline_at(state, model, ts + state.shapes[entry].answer))
    need(state, OF_REQUESTS, number, until)
    requests = state.visits[visit].asked
    while requests != NONE:
        other = element(state, requests)
        if state.windows[state.asked[other].window].model == model and past <= request_keep(state, other):
            keep_request(state, other, until)
            need(state, OF_REQUESTS, state.asked[other].batch, until)
            return
        requests = rest(state, requests)
    window = window_of(state, model, entry, start)
    cell_of_nobody(state, window)  # so that a successor overwrites what an earlier owner took for unanswered
    asked = take(state.asked, state.pools, ASKED_)
    request = state.asked[asked]
    request.age, request.window, request.batch = ts - start, window, number
    request.flags = USER if row.user != 0 else 0
    request.bucket = bucket_of(row.user if row.user != 0 and state.shapes[entry].by_user else row.id)
    request.blob = store(state, batch.data, row)
    note_request(state, asked, past)
    state.visits[visit].asked = link_to(state, state.visits[visit].asked, asked)
    hold(state, window)
    answered = held.is_answered(state, visit, asked)
    held.schedule(state, visit, until if answered else held.check_at(state, asked))
    predictions = state.visits[visit].predictions
    while predictions != NONE:
        prediction = element(state, predictions)
        held.tie(state, asked, prediction)
        if not state.predictions[prediction].flags & DESCRIBED and held.describes(state, asked, prediction):
            describe(state, asked, prediction)
        predictions = rest(state, predictions)
