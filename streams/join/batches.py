"""A batch of events as compiled code sees it, and what all three kinds have in common: their time, and how
they are counted where they are none, or come too late.
"""

import numpy as np

from streams.compiled import compiled, inner
from streams.join import sums
from streams.join.cells import add, cell_of_nobody, cell_of_version, window_of_loss
from streams.join.held import OF_PREDICTIONS, need
from streams.join.layout import CLOCK, Bytes, Floats, Integers, Rows, State, Words
from streams.join.pointers import Arrays, Fields
from streams.join.rows import FEEDBACK, PREDICTION, REQUEST, Scanned
from streams.join.shapes import NOBODY
from streams.join.text import mix

SKEW = 300_000
"""A `ts` more than this many ms after the Kafka timestamp is replaced by that."""

GRACE = 60_000
"""A Kafka timestamp this many ms after a deadline is past it, whatever the clock says."""

GOOD, UNREADABLE, MISPLACED, REPEATED = range(4)
"""What a record is: an event; none; one of another partition; one that was re-published here before."""

LARGEST = 1e150
"""An error or a latency beyond is taken for this, so that sums of squares stay numbers."""

_USER = np.uint64(0x0B5E)
_BUCKETS = np.uint64(57)


class Batch(Arrays):
    """Records of one topic as they were scanned (`scan.py`), their Kafka timestamps (ms) and what each is;
    `number` is the batch's in the ledger.
    """

    def __init__(self, scanned: Scanned, timestamps: Integers, kinds: Bytes, number: int) -> None:
        super().__init__(
            {
                **scanned._asdict(),
                "timestamps": np.ascontiguousarray(timestamps),
                "kinds": kinds,
                "numbers": np.array([number]),
            }
        )

    data: Bytes
    rows: Rows
    items: Words
    scores: Floats
    timestamps: Integers
    kinds: Bytes
    numbers: Integers


def _fields(dtype: np.dtype[np.void]) -> Fields:
    return Fields(
        data=("u1", 1),
        rows=(dtype, 1),
        items=("u8", 1),
        scores=("f8", 1),
        timestamps=("i8", 1),
        kinds=("u1", 1),
        numbers=("i8", 1),
    )


class Requests(Batch):
    """A batch of requests."""

    fields = _fields(REQUEST)


class Predictions(Batch):
    """A batch of predictions."""

    fields = _fields(PREDICTION)


class Feedbacks(Batch):
    """A batch of feedback."""

    fields = _fields(FEEDBACK)


@inner
def bucket_of(unit: np.uint64) -> int:
    """The bucket of a user or a request, 0 to 127. It says nothing about the arm, which is a SHA-256 with a
    salt of its own.
    """
    return int(mix(unit, _USER) >> _BUCKETS)


@inner
def time_of(state: State, batch: Batch, i: int) -> tuple[int, int]:
    """A good or misplaced record's time, corrected for skew, and how late it came. Moves the clock."""
    timestamp, ts = batch.timestamps[i], batch.rows[i].ts
    past = max(state.heads[CLOCK], timestamp - GRACE)
    if ts > timestamp + SKEW:
        ts = timestamp
    state.heads[CLOCK] = max(state.heads[CLOCK], min(ts, timestamp))
    return ts, past


@compiled
def lose(state: State, topic: int, number: int, model: int, timestamp: int, past: int, slot: int) -> int:
    """Counts a record in the pane of its Kafka timestamp, of no version; answers the window."""
    window = window_of_loss(state, model, timestamp, past)
    need(state, topic, number, state.windows[window].deadline)
    add(state, cell_of_nobody(state, window), slot, 1.0)
    return window


@compiled
def mark_incomplete(state: State, window: int) -> None:
    """Counts a pane that cannot be kept whole."""
    add(state, cell_of_nobody(state, window), sums.INCOMPLETE, 1.0)


@inner
def lose_unread(state: State, topic: int, batch: Batch, i: int) -> None:
    past = max(state.heads[CLOCK], batch.timestamps[i] - GRACE)
    lose(state, topic, batch.numbers[0], NOBODY, batch.timestamps[i], past, sums.DEAD_LETTERS)


@inner
def lose_prediction(state: State, batch: Batch, i: int, model: int, past: int, slot: int) -> None:
    """Counts a prediction in the pane of its Kafka timestamp, under its version."""
    row = batch.rows[i]
    window = window_of_loss(state, model, batch.timestamps[i], past)
    need(state, OF_PREDICTIONS, batch.numbers[0], state.windows[window].deadline)
    cell = cell_of_version(state, window, row.version, row.arm, -1, row.version_start, row.version_end)
    add(state, cell, slot, 1.0)
