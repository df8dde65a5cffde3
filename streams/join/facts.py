"""What is known of a held request or prediction, whichever way its row keeps that.

Rows have room for what is usual: `past` within 24 days of the pane's start, lists of up to 65,535 items, a
pane's deadline as the time until when later ones are duplicates. What is larger stands in an `ODD` row.
"""

import numpy as np

from streams.compiled import inner
from streams.join import shapes
from streams.join.hashmap import find, put, remove
from streams.join.layout import ODDS, State
from streams.join.tables import give, take

OK, TIMED, SLOW, SERVED, LISTED, SCORED = 1, 2, 4, 8, 16, 32
"""Flags of a prediction: status ok; its latency counts; slower than `slow_ms`; no shadow; it has items;
scores.
"""
DESCRIBED, NO_USER, NO_SURFACE, NO_SEGMENTS, NO_FEATURES = 64, 128, 256, 512, 1024
"""A request has told what it lacks; what it lacks."""
ODD_PREDICTION = 2048

USER, UNANSWERED, ODD_REQUEST = 1, 2, 4
"""Flags of a request: it names a user; it is counted as unanswered."""

NARROW = (1 << 31) - 1
"""Ms: `past` is at most so far from the start of its pane in a row of what is usual."""
SHORT = (1 << 16) - 1
"""Items: lists are at most so long there."""


# Predictions.


@inner
def window_of(state: State, prediction: int) -> int:
    """Its window."""
    return int(state.cells[state.predictions[prediction].cell].window)


@inner
def shape_of(state: State, prediction: int) -> int:
    """The shape in force in its pane."""
    return int(state.windows[window_of(state, prediction)].entry)


@inner
def deadline_of(state: State, prediction: int) -> int:
    """Until when feedback answers a prediction: its pane's deadline."""
    return int(state.windows[window_of(state, prediction)].deadline)


@inner
def model_of(state: State, prediction: int) -> int:
    """Its model."""
    return int(state.windows[window_of(state, prediction)].model)


@inner
def ts_of(state: State, prediction: int) -> int:
    """Its time."""
    return int(state.windows[window_of(state, prediction)].start + state.predictions[prediction].age)


@inner
def _key(row: int, of_request: int) -> np.uint64:
    return np.uint64(2 * row + of_request + 2)


@inner
def _odd(state: State, row: int, of_request: int) -> int:
    return find(state.by_odd, _key(row, of_request))


@inner
def _make_odd(state: State, row: int, of_request: int) -> int:
    odd = take(state.odds, state.pools, ODDS)
    put(state.by_odd, _key(row, of_request), odd)
    return odd


@inner
def _forget_odd(state: State, row: int, of_request: int) -> None:
    give(state.odds, state.pools, ODDS, _odd(state, row, of_request))
    remove(state.by_odd, _key(row, of_request))


@inner
def past_of(state: State, prediction: int) -> int:
    """How late it came."""
    row = state.predictions[prediction]
    if row.flags & ODD_PREDICTION:
        return int(state.odds[_odd(state, prediction, 0)].past)
    return int(state.windows[window_of(state, prediction)].start + row.past)


@inner
def length_of(state: State, prediction: int) -> int:
    """How many items it has."""
    row = state.predictions[prediction]
    if row.flags & ODD_PREDICTION:
        return int(state.odds[_odd(state, prediction, 0)].length)
    return int(row.length)


@inner
def shown_of(state: State, prediction: int) -> int:
    """How many of them were shown."""
    row = state.predictions[prediction]
    if row.flags & ODD_PREDICTION:
        return int(state.odds[_odd(state, prediction, 0)].shown)
    return int(row.shown)


@inner
def keep_of(state: State, prediction: int) -> int:
    """Until when later ones are its duplicates."""
    if state.predictions[prediction].flags & ODD_PREDICTION:
        return int(state.odds[_odd(state, prediction, 0)].keep)
    return deadline_of(state, prediction)


@inner
def note_prediction(state: State, prediction: int, past: int, length: int, shown: int) -> None:
    """Notes how late a new prediction came, and how many items it has; its cell and flags are known."""
    row = state.predictions[prediction]
    offset = past - state.windows[window_of(state, prediction)].start
    if -NARROW <= offset <= NARROW and length <= SHORT:
        row.past, row.length, row.shown = offset, length, shown
    else:
        _put_odd(state, prediction, past, length, shown)


@inner
def _put_odd(state: State, prediction: int, past: int, length: int, shown: int) -> int:
    odd = _make_odd(state, prediction, 0)
    row = state.odds[odd]
    row.past, row.length, row.shown, row.keep = past, length, shown, deadline_of(state, prediction)
    state.predictions[prediction].flags |= ODD_PREDICTION
    return odd


@inner
def keep_prediction(state: State, prediction: int, until: int) -> None:
    """Later ones are its duplicates until then at least."""
    if until <= keep_of(state, prediction):
        return
    if state.predictions[prediction].flags & ODD_PREDICTION:
        odd = _odd(state, prediction, 0)
    else:
        past, length = past_of(state, prediction), length_of(state, prediction)
        odd = _put_odd(state, prediction, past, length, shown_of(state, prediction))
    state.odds[odd].keep = until


@inner
def forget_oddity(state: State, prediction: int) -> None:
    """Frees what a prediction has that others have not."""
    if state.predictions[prediction].flags & ODD_PREDICTION:
        _forget_odd(state, prediction, 0)


# Requests.


@inner
def answer_by(state: State, asked: int) -> int:
    """The last moment at which a prediction answers a request in time."""
    window = state.windows[state.asked[asked].window]
    return int(window.start + state.asked[asked].age + state.shapes[window.entry].answer)


@inner
def described_until(state: State, asked: int) -> int:
    """The deadline up to which predictions may be described by a request: that of the pane of its last
    answer, or its own pane's.
    """
    window = state.windows[state.asked[asked].window]
    return int(max(window.deadline, shapes.deadline_at(state, window.model, answer_by(state, asked))))


@inner
def request_past(state: State, asked: int) -> int:
    """How late it came."""
    row = state.asked[asked]
    if row.flags & ODD_REQUEST:
        return int(state.odds[_odd(state, asked, 1)].past)
    return int(state.windows[row.window].start + row.past)


@inner
def request_keep(state: State, asked: int) -> int:
    """Until when later ones repeat it."""
    if state.asked[asked].flags & ODD_REQUEST:
        return int(state.odds[_odd(state, asked, 1)].keep)
    return described_until(state, asked)


@inner
def note_request(state: State, asked: int, past: int) -> None:
    """Notes how late a new request came; its age, window and flags are known."""
    offset = past - state.windows[state.asked[asked].window].start
    if -NARROW <= offset <= NARROW:
        state.asked[asked].past = offset
    else:
        _put_odd_request(state, asked, past)


@inner
def _put_odd_request(state: State, asked: int, past: int) -> int:
    odd = _make_odd(state, asked, 1)
    state.odds[odd].past, state.odds[odd].keep = past, described_until(state, asked)
    state.asked[asked].flags |= ODD_REQUEST
    return odd


@inner
def keep_request(state: State, asked: int, until: int) -> None:
    """Later ones repeat it until then at least."""
    if until <= request_keep(state, asked):
        return
    if state.asked[asked].flags & ODD_REQUEST:
        odd = _odd(state, asked, 1)
    else:
        odd = _put_odd_request(state, asked, request_past(state, asked))
    state.odds[odd].keep = until


@inner
def forget_odd_request(state: State, asked: int) -> None:
    """Frees what a request has that others have not."""
    if state.asked[asked].flags & ODD_REQUEST:
        _forget_odd(state, asked, 1)
