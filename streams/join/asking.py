"""Requests: whether they were answered, and what they describe; contract, section 3. Compiled."""

from streams.compiled import compiled, inner
from streams.join import held, shapes, sums
from streams.join.batches import (
    GOOD,
    MISPLACED,
    UNREADABLE,
    Batch,
    bucket_of,
    held_under,
    lose,
    lose_unread,
    time_of,
)
from streams.join.cells import cell_of_nobody, hold, window_of
from streams.join.describing import blob_length, describe, store
from streams.join.hashmap import NONE, find
from streams.join.held import OF_REQUESTS, need
from streams.join.layout import ASKED_, REACHED, State
from streams.join.tables import room, take
from streams.join.tallies import DESCRIBED


@compiled
def read_requests(state: State, batch: Batch, i: int) -> int:
    """Takes in requests from record `i` on; answers where it stopped for want of room."""
    while i < len(batch.rows):
        row, kind = batch.rows[i], batch.kinds[i]
        visit = find(state.by_id, row.id) if kind == GOOD else NONE
        predicted, heard = held_under(state, visit)
        if not room(state, predicted, heard, _longest(state, visit), blob_length(row) if kind == GOOD else 0):
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
def _longest(state: State, visit: int) -> int:
    """The length of the longest list of a visit's predictions."""
    longest = 0
    prediction = state.visits[visit].predictions if visit >= 0 else NONE
    while prediction >= 0:
        longest = max(longest, state.predictions[prediction].length)
        prediction = state.predictions[prediction].next
    return longest


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
    answer_by = ts + state.shapes[entry].answer
    until = max(deadline, shapes.deadline_at(state, model, answer_by))
    need(state, OF_REQUESTS, number, until)
    held.keep(state, visit, until)
    other = state.visits[visit].asked
    while other >= 0:
        request = state.asked[other]
        if state.windows[request.window].model == model and past <= request.keep:
            request.keep = max(request.keep, until)
            need(state, OF_REQUESTS, request.batch, until)
            return
        other = request.next
    window = window_of(state, model, entry, start)
    cell_of_nobody(state, window)  # so that a successor overwrites what an earlier owner took for unanswered
    asked = take(state.asked, state.pools, ASKED_)
    request = state.asked[asked]
    request.past, request.until, request.keep, request.answer_by = past, until, until, answer_by
    request.window, request.batch, request.unanswered = window, number, 0
    request.user = row.user != 0
    request.bucket = bucket_of(row.user if request.user and state.shapes[entry].by_user else row.id)
    request.blob = store(state, batch.data, row)
    request.next = state.visits[visit].asked
    state.visits[visit].asked = asked
    hold(state, window)
    held.schedule(state, visit, held.check_at(state, asked))
    prediction = state.visits[visit].predictions
    while prediction >= 0:
        held.tie(state, asked, prediction)
        if not state.predictions[prediction].flags & DESCRIBED and held.describes(state, asked, prediction):
            describe(state, asked, prediction)
        prediction = state.predictions[prediction].next
