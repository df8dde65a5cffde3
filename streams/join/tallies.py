"""What a counted prediction adds to the sums of its pane: a function of what is known of it, so that whatever
becomes known is added as the difference of after and before, in whatever order things were read.

Contributions that are no whole numbers are rounded to multiples of 2⁻³⁰, so that adding them is exact (up to
2²³ of them), and order does not matter there either.
"""

import math

import numpy as np

from streams.compiled import inner
from streams.join import sums
from streams.join.cells import count, touch
from streams.join.facts import LISTED, OK, SCORED, SERVED, SLOW, TIMED, length_of, shape_of, shown_of
from streams.join.hashmap import NONE
from streams.join.items import (
    CLICKED,
    IMPRESSED,
    LABELLED,
    OVER,
    PAIR,
    POSITIVE,
    PURCHASED,
    RELEVANT,
    heard_at,
    marks_at,
)
from streams.join.layout import Floats, State
from streams.join.lists import element, rest
from streams.metrics.histogram import GAMMA, SMALLEST, ZERO
from streams.metrics.scores import bin_of, tenth_of

LATENCY, DELAY, POSITIVE_SCORES, NEGATIVE_SCORES, FEATURES = range(5)
"""Kinds of counters; of feature f the bins are `FEATURES` + 2f, its quality `FEATURES` + 2f + 1."""

_FINE = float(1 << 30)
_SURE = 1e-15
_PER_LOG = 1 / math.log(GAMMA)


@inner
def exact(value: float) -> float:
    """The nearest multiple of 2⁻³⁰; what is too large for that, as it is."""
    if value > _FINE:
        return value
    return float(np.round(value * _FINE) / _FINE)


@inner
def histogram_bin(value: float) -> int:
    """As `streams.metrics.histogram.bin_of`, which is not compiled."""
    return math.ceil(math.log(value) * _PER_LOG) if value >= SMALLEST else ZERO


@inner
def sum_up(state: State, row: int, out: Floats) -> None:
    """All sums of a prediction, into `out`, shape (slots,)."""
    sum_up_of(state, row, 0, shown_of(state, row), out)


@inner
def sum_up_at(state: State, row: int, rank: int, out: Floats) -> None:
    """As `sum_up`, but of what adds up item by item only the item of this rank: feedback changes nothing
    else there, and slates can be long.
    """
    if 0 <= rank < shown_of(state, row):
        sum_up_of(state, row, rank, rank + 1, out)
    else:
        sum_up_of(state, row, 0, 0, out)


@inner
def sum_up_of(state: State, row: int, first: int, last: int, out: Floats) -> None:
    """As `sum_up`, but of what adds up item by item only items from rank `first` on, up to `last`."""
    out[:] = 0.0
    prediction = state.predictions[row]
    flags = prediction.flags
    out[sums.PREDICTIONS] = 1.0
    out[sums.FRESHNESS_MS] = prediction.freshness_ms
    if not flags & OK:
        out[sums.ERRORS] = 1.0
    if flags & SLOW:
        out[sums.SLOW] = 1.0
    if flags & TIMED:
        out[sums.TIMED] = 1.0
        out[sums.LATENCY_MS] = exact(prediction.latency_ms)
    if prediction.answers >= 0:
        answers = state.answers[prediction.answers]
        out[sums.EXPIRED] = answers.expired
        out[sums.DUPLICATES] = answers.duplicates
        out[sums.LABELLED] = answers.labelled
        out[sums.SQUARED_ERROR] = answers.squared_error
        out[sums.ABSOLUTE_ERROR] = answers.absolute_error
        out[sums.ANOMALIES] = answers.anomalies
        if answers.relevant:
            _rank(state, row, out)
    if flags & OK and flags & SERVED:
        _show(state, row, first, last, out)
        if flags & SCORED:
            _classify(state, row, first, last, out)


@inner
def _show(state: State, row: int, first: int, last: int, out: Floats) -> None:
    prediction = state.predictions[row]
    heard = heard_at(state, row)
    impressed = 0
    for rank in range(first, last if heard >= 0 else first):
        marks = marks_at(state, prediction.items + rank, rank, heard)
        out[sums.CLICKS] += (marks & CLICKED) != 0
        out[sums.CONVERSIONS] += (marks & PURCHASED) != 0
        impressed += (marks & IMPRESSED) != 0
    if state.shapes[shape_of(state, row)].heard:
        out[sums.IMPRESSIONS] = impressed
    elif prediction.flags & LISTED:
        out[sums.IMPRESSIONS] = shown_of(state, row)


@inner
def _rank(state: State, row: int, out: Floats) -> None:
    """Binary relevance. With d(i) = 1/log₂(i + 2) for rank i from 0 and R relevant items: NDCG@k = Σ d(i) of
    relevant i < k over Σ d(i) of i < min(k, R); average precision@k = Σ precision@(i + 1) of relevant i < k
    over min(k, R).
    """
    prediction = state.predictions[row]
    entry = shape_of(state, row)
    relevant = state.answers[prediction.answers].relevant
    out[sums.RELEVANT] = relevant
    out[sums.RELEVANT_PREDICTIONS] = 1.0
    cutoffs = state.shapes[entry].cutoffs
    most = 0
    for j in range(cutoffs):
        most = max(most, state.cutoffs[entry, j])
        out[sums.RANKED + 5 * j + sums.PLACES] = state.cutoffs[entry, j]
    heard, hits = heard_at(state, row), 0
    for rank in range(length_of(state, row) if heard >= 0 else 0):
        if not marks_at(state, prediction.items + rank, rank, heard) & RELEVANT:
            continue
        hits += 1
        if hits == 1:
            out[sums.RECIPROCAL_RANK] = exact(1.0 / (rank + 1))
        if rank >= most:
            break
        for j in range(cutoffs):
            if rank < state.cutoffs[entry, j]:
                first = sums.RANKED + 5 * j
                out[first + sums.HITS] = hits
                out[first + sums.HIT_PREDICTIONS] = 1.0
                out[first + sums.NDCG] += 1.0 / math.log2(rank + 2.0)
                out[first + sums.AVERAGE_PRECISION] += hits / (rank + 1.0)
    for j in range(cutoffs):
        first = sums.RANKED + 5 * j
        if out[first + sums.HITS] > 0:
            best = min(state.cutoffs[entry, j], relevant)
            ideal = 0.0
            for rank in range(best):
                ideal += 1.0 / math.log2(rank + 2.0)
            out[first + sums.NDCG] = exact(out[first + sums.NDCG] / ideal)
            out[first + sums.AVERAGE_PRECISION] = exact(out[first + sums.AVERAGE_PRECISION] / best)


@inner
def _classify(state: State, row: int, first: int, last: int, out: Floats) -> None:
    labels = state.shapes[shape_of(state, row)].labels
    items, heard = state.predictions[row].items, heard_at(state, row)
    for rank in range(first, last):
        marks = marks_at(state, items + rank, rank, heard)
        if not marks & PAIR or (labels and not marks & LABELLED):
            continue
        score = np.float64(state.scores[items + rank])
        positive = (marks & (POSITIVE if labels else CLICKED)) != 0
        over = (marks & OVER) != 0
        sure = min(max(score if positive else 1.0 - score, _SURE), 1.0 - _SURE)
        off = 1.0 - score if positive else score
        out[sums.PAIRS] += 1.0
        out[sums.POSITIVES] += positive
        out[sums.PREDICTED_POSITIVES] += over
        out[sums.TRUE_POSITIVES] += positive and over
        out[sums.CORRECT] += positive == over
        out[sums.LOG_LOSS] += exact(-math.log(sure))
        out[sums.SQUARED_SCORE_ERROR] += exact(off * off)
        out[sums.EXPECTED_POSITIVES] += exact(score)
        tenth = sums.RELIABILITY + 3 * tenth_of(score)
        out[tenth] += 1.0
        out[tenth + 1] += exact(score)
        out[tenth + 2] += positive


@inner
def add_all(state: State, cell: int, row: int) -> None:
    """Adds all that a prediction has to a cell; its sums stand in `after`."""
    _add(state, cell, state.predictions[row].bucket)
    prediction = state.predictions[row]
    if prediction.flags & TIMED:
        count(state, cell, LATENCY, histogram_bin(prediction.latency_ms), 1)
    if prediction.flags & OK and prediction.flags & SERVED and prediction.flags & SCORED:
        labels, heard = state.shapes[shape_of(state, row)].labels, heard_at(state, row)
        for rank in range(shown_of(state, row)):
            marks = marks_at(state, prediction.items + rank, rank, heard)
            if marks & PAIR and (not labels or marks & LABELLED):
                positive = (marks & (POSITIVE if labels else CLICKED)) != 0
                kind = POSITIVE_SCORES if positive else NEGATIVE_SCORES
                count(state, cell, kind, bin_of(np.float64(state.scores[prediction.items + rank])), 1)
    if prediction.answers >= 0:
        delays = state.answers[prediction.answers].delays
        while delays != NONE:
            count(state, cell, DELAY, element(state, delays) + ZERO, 1)
            delays = rest(state, delays)


@inner
def _add(state: State, cell: int, bucket: int) -> None:
    """Adds `after` to a cell."""
    touch(state, cell)
    total = state.sums[cell]
    for slot in range(len(total)):
        total[slot] += state.after[slot]
    row = state.cells[cell].buckets
    if row >= 0:
        slots = state.bucketed[state.windows[state.cells[cell].window].entry]
        for j in range(len(slots)):
            if slots[j] >= 0:
                state.buckets[row, j, bucket] += state.after[slots[j]]


@inner
def add_difference(state: State, row: int) -> None:
    """Adds what has changed of a prediction, `after` less `before`, to all its cells."""
    for slot in range(len(state.after)):
        state.after[slot] -= state.before[slot]
    prediction = state.predictions[row]
    _add(state, prediction.cell, prediction.bucket)
    links = prediction.links
    while links != NONE:
        _add(state, element(state, links), prediction.bucket)
        links = rest(state, links)


@inner
def count_everywhere(state: State, row: int, kind: int, bin_: int, by: int) -> None:
    """Adds to a bin of a histogram of all cells of a prediction."""
    count(state, state.predictions[row].cell, kind, bin_, by)
    links = state.predictions[row].links
    while links != NONE:
        count(state, element(state, links), kind, bin_, by)
        links = rest(state, links)


@inner
def move_to(state: State, row: int, bucket: int) -> None:
    """Moves a prediction to the bucket of its user, who was not known."""
    prediction = state.predictions[row]
    cell = prediction.cell
    place = state.cells[cell].buckets
    if place >= 0 and bucket != prediction.bucket:
        sum_up(state, row, state.after)
        slots = state.bucketed[shape_of(state, row)]
        for j in range(len(slots)):
            if slots[j] >= 0:
                state.buckets[place, j, prediction.bucket] -= state.after[slots[j]]
                state.buckets[place, j, bucket] += state.after[slots[j]]
        touch(state, cell)
    prediction.bucket = bucket
