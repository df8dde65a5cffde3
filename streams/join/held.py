"""What is held under one request id until nothing can change any more, and when that is looked at; what one
record is to another.

Every rule here is symmetric: it holds in whatever order two records were read.
"""

import numpy as np

from schemas.timeline import BEGINNING
from streams.compiled import compiled, inner
from streams.join import shapes, sums
from streams.join.cells import add, cell_of_nobody, let_go
from streams.join.hashmap import NONE, find, put, remove
from streams.join.layout import (
    ANSWERS_,
    ASKED_,
    DUES,
    LINKS,
    PREDICTIONS,
    REACHED,
    SAID_,
    SEEN,
    UNIT,
    USED,
    VISITS,
    State,
)
from streams.join.tables import NEVER, get_number, give, give_blob, give_items, room, take
from streams.join.tallies import SERVED, free_list, link_to
from streams.join.text import mix

_BEYOND = np.uint64(0xBE40)

OF_REQUESTS, OF_PREDICTIONS, OF_FEEDBACK = range(3)
"""The topics, as rows of `State.batches`."""


@inner
def need(state: State, topic: int, batch: int, until: int) -> None:
    """Some record of a batch is needed until a deadline is passed."""
    place = batch & (state.batches.shape[1] - 1)
    state.batches[topic, place] = max(state.batches[topic, place], until)


@inner
def visit_of(state: State, id_: np.uint64) -> int:
    """What is held under a request id, made where nothing is."""
    row = find(state.by_id, id_)
    if row >= 0:
        return row
    row = take(state.visits, state.pools, VISITS)
    put(state.by_id, id_, row)
    visit = state.visits[row]
    visit.id, visit.until, visit.due = id_, BEGINNING, NEVER
    visit.asked, visit.predictions, visit.said = NONE, NONE, NONE
    visit.predicted, visit.heard = 0, 0
    return row


@inner
def keep(state: State, row: int, until: int) -> None:
    """A visit is held until a deadline at least."""
    state.visits[row].until = max(state.visits[row].until, until)
    schedule(state, row, until)


@inner
def schedule(state: State, row: int, time: int) -> None:
    """A visit is looked at once `time` is passed, or before."""
    if time >= state.visits[row].due:
        return
    state.visits[row].due = time
    key = mix(np.uint64(time), np.uint64(DUES))
    due = find(state.by_time, key)
    if due < 0:
        due = take(state.dues, state.pools, DUES)
        put(state.by_time, key, due)
        state.dues[due].time, state.dues[due].visits, state.dues[due].open = time, NONE, 1
    state.dues[due].visits = link_to(state, state.dues[due].visits, row)


@inner
def deadline_of(state: State, prediction: int) -> int:
    """Until when feedback answers a prediction: its pane's deadline."""
    return int(state.windows[state.predictions[prediction].window].deadline)


@inner
def model_of(state: State, prediction: int) -> int:
    """Its model."""
    return int(state.windows[state.predictions[prediction].window].model)


@inner
def ts_of(state: State, prediction: int) -> int:
    """Its time."""
    return int(state.windows[state.predictions[prediction].window].start + state.predictions[prediction].age)


@inner
def describes(state: State, asked: int, prediction: int) -> bool:
    """Whether a prediction takes user, surface and features from a request of its model: each was in time for
    the other's pane.
    """
    request = state.asked[asked]
    return bool(
        state.windows[request.window].model == model_of(state, prediction)
        and state.predictions[prediction].past <= request.until
        and request.past <= deadline_of(state, prediction)
    )


@inner
def answers(state: State, prediction: int, asked: int) -> bool:
    """Whether a prediction is the answer that a request waits for: each was in time for the other's pane."""
    request = state.asked[asked]
    window = state.windows[request.window]
    return bool(
        window.model == model_of(state, prediction)
        and state.predictions[prediction].flags & SERVED
        and ts_of(state, prediction) <= request.answer_by
        and state.predictions[prediction].past <= window.deadline
        and request.past <= deadline_of(state, prediction)
    )


@inner
def tie(state: State, asked: int, prediction: int) -> None:
    """Of one model, each is needed as long as the other's pane is open, for that may rest on both."""
    request = state.asked[asked]
    window = state.windows[request.window]
    if window.model == model_of(state, prediction):
        need(state, OF_REQUESTS, request.batch, deadline_of(state, prediction))
        need(state, OF_PREDICTIONS, state.predictions[prediction].batch, window.deadline)


@inner
def seen_by(prediction: int, key: np.uint64) -> np.uint64:
    """Under which key a prediction remembers feedback."""
    return mix(key, np.uint64(prediction))


@inner
def beyond(item: np.uint64) -> np.uint64:
    """The key of a relevant item that is not in the list."""
    return mix(item, _BEYOND)


@inner
def first_said(state: State, visit: int) -> int:
    """The first feedback of a visit; `NONE` where there is none."""
    last = state.visits[visit].said
    return int(state.said[last].next) if last >= 0 else NONE


@inner
def next_said(state: State, visit: int, said: int) -> int:
    """The one after; `NONE` after the last."""
    return NONE if said == state.visits[visit].said else int(state.said[said].next)


@inner
def check_at(state: State, asked: int) -> int:
    """When to see whether a request was answered: once the pane of the last moment to do so has ended; before
    its own pane is final.
    """
    request = state.asked[asked]
    window = state.windows[request.window]
    entry = shapes.at(state, window.model, request.answer_by)
    end = shapes.pane_start(state, entry, request.answer_by) + state.shapes[entry].pane
    return int(min(window.deadline, end))


# Time.


@compiled
def settle_all(state: State, reached: int) -> bool:
    """All three topics have passed every deadline before `reached`: decides what waited for that. False where
    there is no room to go on: once there is, call again.
    """
    state.heads[REACHED] = reached
    for row in range(state.pools[DUES, USED]):
        due = state.dues[row]
        if not due.open or due.time >= reached:
            continue
        while due.visits >= 0:
            if not room(state, 0, 0, 0, 0):
                return False
            link = due.visits
            due.visits = state.links[link].next
            visit = state.links[link].row
            give(state.links, state.pools, LINKS, link)
            if state.visits[visit].due < reached:  # else it has been looked at, or is another's by now
                _settle(state, visit, reached)
        due.open = 0
        remove(state.by_time, mix(np.uint64(due.time), np.uint64(DUES)))
        give(state.dues, state.pools, DUES, row)
    return True


@inner
def _settle(state: State, row: int, reached: int) -> None:
    visit = state.visits[row]
    due = NEVER
    asked = visit.asked
    while asked >= 0:
        request = state.asked[asked]
        visit.until = max(visit.until, request.keep)
        if not request.unanswered and not _is_answered(state, row, asked):
            if min(request.answer_by, state.windows[request.window].deadline) >= reached:
                due = min(due, check_at(state, asked))
            elif state.windows[request.window].open:
                request.unanswered = 1
                add(state, cell_of_nobody(state, request.window), sums.UNANSWERED, 1.0)
        asked = request.next
    prediction = visit.predictions
    while prediction >= 0:
        visit.until = max(visit.until, state.predictions[prediction].keep)
        prediction = state.predictions[prediction].next
    said = first_said(state, row)
    while said >= 0:
        feedback = state.said[said]
        if not feedback.taken:
            if feedback.deadline >= reached:
                due = min(due, feedback.deadline)
            elif state.windows[feedback.window].open:
                feedback.taken = 1
                slot = sums.LATE if feedback.past > feedback.deadline else sums.UNMATCHED
                add(state, cell_of_nobody(state, feedback.window), slot, 1.0)
        said = next_said(state, row, said)
    visit.due = NEVER
    if visit.until < reached:
        _forget(state, row)
    else:
        schedule(state, row, min(due, visit.until))


@inner
def _is_answered(state: State, visit: int, asked: int) -> bool:
    prediction = state.visits[visit].predictions
    while prediction >= 0:
        if answers(state, prediction, asked):
            return True
        prediction = state.predictions[prediction].next
    return False


@inner
def _forget(state: State, row: int) -> None:
    visit = state.visits[row]
    remove(state.by_id, visit.id)
    prediction = visit.predictions
    while prediction >= 0:
        following = state.predictions[prediction].next
        said = first_said(state, row)
        while said >= 0:
            feedback = state.said[said]
            for key in (feedback.key, beyond(feedback.item)):
                if remove(state.seen, seen_by(prediction, key)):
                    state.pools[SEEN, USED] -= 1
            said = next_said(state, row, said)
        _forget_prediction(state, prediction)
        prediction = following
    asked = visit.asked
    while asked >= 0:
        following = state.asked[asked].next
        blob = state.asked[asked].blob
        if blob >= 0:
            give_blob(state, blob, get_number(state.blobs, blob * UNIT))
        let_go(state, state.asked[asked].window)
        give(state.asked, state.pools, ASKED_, asked)
        asked = following
    said = first_said(state, row)
    while said >= 0:
        following = next_said(state, row, said)
        let_go(state, state.said[said].window)
        give(state.said, state.pools, SAID_, said)
        said = following
    give(state.visits, state.pools, VISITS, row)


@inner
def _forget_prediction(state: State, row: int) -> None:
    prediction = state.predictions[row]
    if prediction.answers >= 0:
        free_list(state, state.answers[prediction.answers].delays)
        give(state.answers, state.pools, ANSWERS_, prediction.answers)
    free_list(state, prediction.links)
    give_items(state, prediction.items, prediction.length)
    let_go(state, prediction.window)
    give(state.predictions, state.pools, PREDICTIONS, row)
