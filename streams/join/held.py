"""What is held under one request id until nothing can change any more, and when that is looked at; what one
record is to another.

Every rule here is symmetric: it holds in whatever order two records were read.
"""

import numpy as np

from schemas.timeline import BEGINNING
from streams.compiled import compiled, inner
from streams.join import index, shapes, sums
from streams.join.blobs import forget_blob
from streams.join.cells import add, cell_of_nobody, let_go, let_go_cell
from streams.join.facts import (
    SERVED,
    UNANSWERED,
    answer_by,
    deadline_of,
    described_until,
    forget_odd_request,
    forget_oddity,
    keep_of,
    length_of,
    model_of,
    past_of,
    request_keep,
    request_past,
    ts_of,
)
from streams.join.hashmap import NONE, find, put, remove
from streams.join.items import give_items, give_marks
from streams.join.layout import (
    ANSWERS_,
    ASKED_,
    DUES,
    PREDICTIONS,
    REACHED,
    SAID_,
    SEEN,
    USED,
    VISITS,
    State,
)
from streams.join.lists import element, free_first, free_list, link_to, rest
from streams.join.tables import NEVER, give, room, take
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
    row = index.find(state.by_id, state.visits, id_)
    if row >= 0:
        return row
    row = take(state.visits, state.pools, VISITS)
    visit = state.visits[row]
    visit.id, visit.due = id_, NONE
    visit.asked, visit.predictions, visit.said = NONE, NONE, NONE
    index.put(state.by_id, id_, row)
    return row


@inner
def schedule(state: State, row: int, time: int) -> None:
    """A visit is looked at once `time` is passed, or before. It stands in the list of one time only; where it
    has to be looked at earlier than that, in another list besides.
    """
    due = state.visits[row].due
    if due >= 0 and state.dues[due].time <= time:
        return
    early, due = due >= 0, _due_at(state, time)
    if early:
        state.dues[due].early = link_to(state, state.dues[due].early, row)
        return
    state.visits[row].next = state.dues[due].visits
    state.visits[row].due = due
    state.dues[due].visits = row


@inner
def _due_at(state: State, time: int) -> int:
    key = mix(np.uint64(time), np.uint64(DUES))
    due = find(state.by_time, key)
    if due < 0:
        due = take(state.dues, state.pools, DUES)
        put(state.by_time, key, due)
        state.dues[due].time, state.dues[due].open = time, 1
        state.dues[due].visits, state.dues[due].early = NONE, NONE
    return due


@inner
def describes(state: State, asked: int, prediction: int) -> bool:
    """Whether a prediction takes user, surface and features from a request of its model: each was in time for
    the other's pane.
    """
    return bool(
        state.windows[state.asked[asked].window].model == model_of(state, prediction)
        and past_of(state, prediction) <= described_until(state, asked)
        and request_past(state, asked) <= deadline_of(state, prediction)
    )


@inner
def answers(state: State, prediction: int, asked: int) -> bool:
    """Whether a prediction is the answer that a request waits for: each was in time for the other's pane."""
    window = state.windows[state.asked[asked].window]
    return bool(
        window.model == model_of(state, prediction)
        and state.predictions[prediction].flags & SERVED
        and ts_of(state, prediction) <= answer_by(state, asked)
        and past_of(state, prediction) <= window.deadline
        and request_past(state, asked) <= deadline_of(state, prediction)
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
def _predicted(state: State, visit: int) -> int:
    """How many predictions a visit has."""
    count, predictions = 0, state.visits[visit].predictions
    while predictions != NONE:
        count += 1
        predictions = rest(state, predictions)
    return count


@inner
def held_under(state: State, visit: int) -> tuple[int, int]:
    """How many predictions and how much feedback a visit has; `NONE` has none."""
    if visit < 0:
        return 0, 0
    last = state.visits[visit].said
    return _predicted(state, visit), int(state.said[last].number) if last >= 0 else 0


@inner
def longest(state: State, visit: int) -> int:
    """The length of the longest list of a visit's predictions; `NONE` has none."""
    found, predictions = 0, state.visits[visit].predictions if visit >= 0 else NONE
    while predictions != NONE:
        found = max(found, length_of(state, element(state, predictions)))
        predictions = rest(state, predictions)
    return found


@inner
def is_answered(state: State, visit: int, asked: int) -> bool:
    """Whether a visit has the answer to one of its requests."""
    predictions = state.visits[visit].predictions
    while predictions != NONE:
        if answers(state, element(state, predictions), asked):
            return True
        predictions = rest(state, predictions)
    return False


@inner
def check_at(state: State, asked: int) -> int:
    """When to see whether a request was answered: once the pane of the last moment to do so has ended; before
    its own pane is final.
    """
    window, last = state.windows[state.asked[asked].window], answer_by(state, asked)
    entry = shapes.at(state, window.model, last)
    end = shapes.pane_start(state, entry, last) + state.shapes[entry].pane
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
        while due.visits >= 0 or due.early != NONE:
            if not room(state, 0, 0, 0, 0):
                return False
            if due.visits >= 0:
                visit = due.visits
                due.visits = state.visits[visit].next
                state.visits[visit].due = NONE
                _settle(state, visit, reached)
                continue
            visit, early = element(state, due.early), due.early
            due.early = rest(state, early)
            free_first(state, early)
            listed = state.visits[visit].due
            if listed >= 0 and state.dues[listed].time >= reached:  # else its turn comes, or it is gone
                _settle(state, visit, reached)
        due.open = 0
        remove(state.by_time, mix(np.uint64(due.time), np.uint64(DUES)))
        give(state.dues, state.pools, DUES, row)
    return True


@inner
def _settle(state: State, row: int, reached: int) -> None:
    """Looks at a visit; forgets it once nothing of it can change any more and no list has it."""
    visit = state.visits[row]
    due, until = NEVER, BEGINNING
    requests = visit.asked
    while requests != NONE:
        asked = element(state, requests)
        request, window = state.asked[asked], state.windows[state.asked[asked].window]
        until = max(until, request_keep(state, asked))
        if not request.flags & UNANSWERED and not is_answered(state, row, asked):
            if min(answer_by(state, asked), window.deadline) >= reached:
                due = min(due, check_at(state, asked))
            elif window.open:
                request.flags |= UNANSWERED
                add(state, cell_of_nobody(state, request.window), sums.UNANSWERED, 1.0)
        requests = rest(state, requests)
    predictions = visit.predictions
    while predictions != NONE:
        until = max(until, keep_of(state, element(state, predictions)))
        predictions = rest(state, predictions)
    said = first_said(state, row)
    while said >= 0:
        feedback = state.said[said]
        until = max(until, feedback.deadline)
        if not feedback.taken:
            if feedback.deadline >= reached:
                due = min(due, feedback.deadline)
            elif state.windows[feedback.window].open:
                feedback.taken = 1
                slot = sums.LATE if feedback.past > feedback.deadline else sums.UNMATCHED
                add(state, cell_of_nobody(state, feedback.window), slot, 1.0)
        said = next_said(state, row, said)
    if until >= reached:
        schedule(state, row, min(due, until))
    elif visit.due < 0:
        _forget(state, row)


@inner
def _forget(state: State, row: int) -> None:
    visit = state.visits[row]
    index.remove(state.by_id, state.visits, visit.id)
    predictions = visit.predictions
    while predictions != NONE:
        prediction = element(state, predictions)
        said = first_said(state, row)
        while said >= 0:
            feedback = state.said[said]
            for key in (feedback.key, beyond(feedback.item)):
                if remove(state.seen, seen_by(prediction, key)):
                    state.pools[SEEN, USED] -= 1
            said = next_said(state, row, said)
        _forget_prediction(state, prediction)
        predictions = rest(state, predictions)
    free_list(state, visit.predictions)
    requests = visit.asked
    while requests != NONE:
        asked = element(state, requests)
        forget_blob(state, state.asked[asked].blob)
        forget_odd_request(state, asked)
        let_go(state, state.asked[asked].window)
        give(state.asked, state.pools, ASKED_, asked)
        requests = rest(state, requests)
    free_list(state, visit.asked)
    said = first_said(state, row)
    while said >= 0:
        following = next_said(state, row, said)
        let_go(state, state.said[said].window)
        give(state.said, state.pools, SAID_, said)
        said = following
    visit.id = 0
    give(state.visits, state.pools, VISITS, row)


@inner
def _forget_prediction(state: State, row: int) -> None:
    prediction, length = state.predictions[row], length_of(state, row)
    if prediction.answers >= 0:
        free_list(state, state.answers[prediction.answers].delays)
        give_marks(state, state.answers[prediction.answers].marks, length)
        give(state.answers, state.pools, ANSWERS_, prediction.answers)
    free_list(state, prediction.links)
    give_items(state, prediction.items, length)
    forget_oddity(state, row)
    let_go_cell(state, prediction.cell)
    give(state.predictions, state.pools, PREDICTIONS, row)
