"""Feedback: which predictions it answers, and what it makes of them; contract, section 3. Compiled."""

import numpy as np

from schemas.policies import EARLY
from streams.compiled import compiled, inner
from streams.join import held, index, shapes, sums
from streams.join.batches import (
    GOOD,
    LARGEST,
    MISPLACED,
    UNREADABLE,
    Batch,
    lose,
    lose_unread,
    time_of,
)
from streams.join.cells import hold, window_of_loss
from streams.join.facts import (
    LISTED,
    OK,
    SCORED,
    SERVED,
    deadline_of,
    length_of,
    past_of,
    shape_of,
    shown_of,
    ts_of,
)
from streams.join.hashmap import NONE, find, put
from streams.join.held import OF_FEEDBACK, OF_PREDICTIONS, held_under, longest, need
from streams.join.items import (
    CLICKED,
    IMPRESSED,
    LABELLED,
    PAIR,
    POSITIVE,
    PURCHASED,
    RELEVANT,
    heard_at,
    is_item,
    marks_at,
    marks_units,
    take_marks,
    unpair,
)
from streams.join.layout import ANSWERS_, REACHED, SAID_, SEEN, USED, State
from streams.join.lists import element, link_to, rest
from streams.join.shapes import NOBODY
from streams.join.tables import room, size_of, take
from streams.join.tallies import (
    DELAY,
    NEGATIVE_SCORES,
    POSITIVE_SCORES,
    add_difference,
    count_everywhere,
    histogram_bin,
    sum_up_at,
)
from streams.join.text import hash_of, mix
from streams.metrics.histogram import ZERO
from streams.metrics.scores import bin_of

CLICK = np.uint64(hash_of("click"))
PURCHASE = np.uint64(hash_of("purchase"))
IMPRESSION = np.uint64(hash_of("impression"))
LABEL = np.uint64(hash_of("label"))
"""Kinds of feedback that mean something to every policy."""

_BY_EVENT = np.uint64(1)
_BY_ITEM = np.uint64(2)


@compiled
def read_feedback(state: State, batch: Batch, i: int, until: int) -> int:
    """Takes in feedback from record `i` on, up to `until`; answers where it stopped for want of room."""
    while i < until:
        row, kind = batch.rows[i], batch.kinds[i]
        visit = index.find(state.by_id, state.visits, row.id) if kind == GOOD else NONE
        predicted, _ = held_under(state, visit)
        if not room(state, predicted, 0, 2, predicted * size_of(marks_units(longest(state, visit)))):
            return i
        if kind == UNREADABLE:
            lose_unread(state, OF_FEEDBACK, batch, i)
        else:
            ts, past = time_of(state, batch, i)
            if kind == MISPLACED:
                lose(
                    state,
                    OF_FEEDBACK,
                    batch.numbers[0],
                    NOBODY,
                    batch.timestamps[i],
                    past,
                    sums.MISPARTITIONED,
                )
            elif kind == GOOD:
                if ts != row.ts:
                    lose(state, OF_FEEDBACK, batch.numbers[0], NOBODY, batch.timestamps[i], past, sums.SKEWED)
                _hear(state, batch, i, ts, past)
        i += 1
    return i


@inner
def _hear(state: State, batch: Batch, i: int, ts: int, came: int) -> None:
    row = batch.rows[i]
    past = max(came, state.heads[REACHED])
    deadline = shapes.longest_deadline(state, ts + EARLY)
    visit = held.visit_of(state, row.id)
    window = window_of_loss(state, NOBODY, batch.timestamps[i] if past > deadline else ts, came)
    number = take(state.said, state.pools, SAID_)
    said = state.said[number]
    said.ts, said.past, said.deadline = ts, past, deadline
    said.kind, said.item, said.value = row.kind, row.item, row.value
    said.key = mix(row.event, _BY_EVENT) if row.event != 0 else mix(mix(row.kind, row.item), _BY_ITEM)
    said.window, said.batch, said.number, said.taken = window, batch.numbers[0], 1, 0
    said.next = number
    hold(state, window)
    last = state.visits[visit].said
    if last >= 0:
        said.number = state.said[last].number + 1
        said.next = state.said[last].next
        state.said[last].next = number
    state.visits[visit].said = number
    need(state, OF_FEEDBACK, batch.numbers[0], max(deadline, state.windows[window].deadline))
    held.schedule(state, visit, deadline)
    predictions = state.visits[visit].predictions
    while predictions != NONE:
        match(state, number, element(state, predictions))
        predictions = rest(state, predictions)


@inner
def match(state: State, said: int, prediction: int) -> None:
    """Feedback answers a prediction where neither came too late for the other. Each is needed as long as the
    pane that the other is counted in.
    """
    feedback, deadline = state.said[said], deadline_of(state, prediction)
    need(state, OF_FEEDBACK, feedback.batch, deadline)
    need(state, OF_PREDICTIONS, state.predictions[prediction].batch, state.windows[feedback.window].deadline)
    if feedback.past <= deadline and past_of(state, prediction) <= feedback.deadline:
        feedback.taken = 1
        _answer(state, said, prediction)


@inner
def _answers_of(state: State, prediction: int) -> int:
    row = state.predictions[prediction].answers
    if row < 0:
        row = take(state.answers, state.pools, ANSWERS_)
        answers = state.answers[row]
        answers.squared_error, answers.absolute_error = 0.0, 0.0
        answers.relevant, answers.expired, answers.duplicates = 0, 0, 0
        answers.labelled, answers.anomalies = 0, 0
        answers.delays, answers.marks = NONE, NONE
        state.predictions[prediction].answers = row
    return int(row)


@inner
def _answer(state: State, said: int, row: int) -> None:
    """A prediction takes feedback that is in time for its pane, in offset order."""
    feedback, prediction = state.said[said], state.predictions[row]
    shape = state.shapes[shape_of(state, row)]
    served = (prediction.flags & SERVED) != 0
    age = feedback.ts - ts_of(state, row)
    expired = age < -EARLY or age > shape.window
    key = held.seen_by(row, feedback.key)
    if expired or find(state.seen, key) >= 0:
        if served:
            sum_up_at(state, row, NONE, state.before)
            answers = state.answers[_answers_of(state, row)]
            if expired:
                answers.expired += 1
            else:
                answers.duplicates += 1
            sum_up_at(state, row, NONE, state.after)
            add_difference(state, row)
        return
    put(state.seen, key, 1)
    state.pools[SEEN, USED] += 1
    if not prediction.flags & OK:
        return
    rank = _rank_of(state, row, feedback.item)
    sum_up_at(state, row, rank, state.before)
    if served and feedback.kind == LABEL:
        _label(state, row, rank, feedback.value)
    if feedback.item != 0:
        if NONE < rank < shown_of(state, row) and served:
            _interact(state, row, rank, feedback.kind, age)
        if _is_relevant(state, row, feedback.kind):
            _mark_relevant(state, row, rank, feedback.item)
    sum_up_at(state, row, rank, state.after)
    add_difference(state, row)


@inner
def _rank_of(state: State, row: int, item: np.uint64) -> int:
    """Where in the list an item stands first; no item stands for a prediction's only score. `NONE` where it
    is not in the list.
    """
    prediction, length = state.predictions[row], length_of(state, row)
    if item == 0:
        return 0 if length == 1 else NONE
    if not prediction.flags & LISTED:
        return NONE
    for rank in range(length):
        if is_item(state, prediction.items + rank, item):
            return int(rank)
    return NONE


@inner
def _marks_of(state: State, row: int, rank: int) -> int:
    return marks_at(state, state.predictions[row].items + rank, rank, heard_at(state, row))


@inner
def _mark(state: State, row: int, rank: int, marks: int) -> None:
    """Notes what feedback says of an item."""
    answers = _answers_of(state, row)
    if state.answers[answers].marks < 0:
        state.answers[answers].marks = take_marks(state, length_of(state, row))
    state.blobs[heard_at(state, row) + rank] |= np.uint8(marks)


@inner
def _interact(state: State, row: int, rank: int, kind: np.uint64, age: int) -> None:
    """Feedback on a shown item."""
    marks = _marks_of(state, row, rank)
    if kind == CLICK and not marks & CLICKED:
        _mark(state, row, rank, CLICKED)
        delay = histogram_bin(np.float64(max(age, 0)))
        answers = _answers_of(state, row)
        state.answers[answers].delays = link_to(state, state.answers[answers].delays, delay - ZERO)
        count_everywhere(state, row, DELAY, delay, 1)
        if marks & PAIR and state.predictions[row].flags & SCORED and not _by_label(state, row):
            bin_ = bin_of(np.float64(state.scores[state.predictions[row].items + rank]))
            count_everywhere(state, row, NEGATIVE_SCORES, bin_, -1)
            count_everywhere(state, row, POSITIVE_SCORES, bin_, 1)
    elif kind == PURCHASE:
        _mark(state, row, rank, PURCHASED)
    elif kind == IMPRESSION:
        _mark(state, row, rank, IMPRESSED)


@inner
def _by_label(state: State, row: int) -> bool:
    return bool(state.shapes[shape_of(state, row)].labels)


@inner
def _label(state: State, row: int, rank: int, value: float) -> None:
    """The truth about a scored item."""
    prediction = state.predictions[row]
    if rank < 0 or np.isnan(value) or not prediction.flags & SCORED:
        return
    if _marks_of(state, row, rank) & LABELLED:
        return
    place = prediction.items + rank
    score = np.float64(state.scores[place])
    _mark(state, row, rank, LABELLED | (POSITIVE if value == 1.0 else 0))
    answers = state.answers[_answers_of(state, row)]
    answers.labelled += 1
    off = min(abs(score - value), LARGEST)
    answers.squared_error += off * off
    answers.absolute_error += off
    answers.anomalies += off > state.shapes[shape_of(state, row)].anomaly
    if not _by_label(state, row):
        return
    if value not in (0.0, 1.0):
        unpair(state, place)
    elif _marks_of(state, row, rank) & PAIR:
        count_everywhere(state, row, POSITIVE_SCORES if value == 1.0 else NEGATIVE_SCORES, bin_of(score), 1)


@inner
def _is_relevant(state: State, row: int, kind: np.uint64) -> bool:
    entry = shape_of(state, row)
    found = False
    for j in range(state.shapes[entry].relevant):
        found |= state.relevant[entry, j] == kind
    return found


@inner
def _mark_relevant(state: State, row: int, rank: int, item: np.uint64) -> None:
    """One more relevant item, unless it is known: by its mark in the list, else by what is remembered."""
    if rank >= 0:
        if _marks_of(state, row, rank) & RELEVANT:
            return
        _mark(state, row, rank, RELEVANT)
    else:
        key = held.seen_by(row, held.beyond(item))
        if find(state.seen, key) >= 0:
            return
        put(state.seen, key, 1)
        state.pools[SEEN, USED] += 1
    state.answers[_answers_of(state, row)].relevant += 1
