"""What one source partition holds, as columns: tables of numpy rows that point at each other by row number,
maps that find them, and arenas for what varies in length. Python objects would take ten times the memory.

Here is what there is; `tables.py` allocates it.

```
visit (a request id) ─┬─ asked ─────── requests, as far as predictions may still need them
                      ├─ predictions ─ items and scores, what feedback made of them, cells of segments
                      └─ said ──────── feedback
due (a time) ─────────── visits that are looked at then
window (a pane) ──────── cells ─┬───── sums, a row of numbers
                                ├───── counters: bins of histograms, in runs
                                └───── buckets: sums by user bucket
```
"""

import numpy as np
import numpy.typing as npt

from streams.join.hashmap import SLOT, Slots
from streams.join.index import Index
from streams.join.pointers import Arrays, Fields

Rows = npt.NDArray[np.void]
Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]


def _sharing(dtype: np.dtype[np.void], field: str) -> np.dtype[np.void]:
    """The rows with another field, `next`, in the place of one that only rows in use need: free rows are
    listed by it.
    """
    columns = [(name, *dtype.fields[name][:2]) for name in dtype.names or () if dtype.fields]
    columns.append(("next", *next(column[1:] for column in columns if column[0] == field)))
    names, formats, offsets = zip(*columns, strict=True)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": dtype.itemsize})


VISIT = np.dtype(
    [
        ("id", "u8"),  # 0: a free row
        ("next", "i4"),  # that is looked at at the same time
        ("due", "i4"),  # when it is looked at: the due time that lists it
        ("asked", "i4"),  # a list of them
        ("predictions", "i4"),  # a list of them
        ("said", "i4"),  # the last of a ring
    ]
)
ASKED = _sharing(
    np.dtype(
        [
            ("age", "i4"),  # ts - the start of its pane
            ("past", "i4"),  # after the start of its pane
            ("window", "i4"),
            ("batch", "i4"),
            ("blob", "i4"),  # surface, segments and features, as they came; or none
            ("bucket", "u1"),
            ("flags", "u1"),
        ]
    ),
    "window",
)
PREDICTION = _sharing(
    np.dtype(
        [
            ("latency_ms", "f8"),
            ("age", "i4"),  # ts - the start of its pane
            ("past", "i4"),  # after the start of its pane
            ("freshness_ms", "i4"),
            ("cell", "i4"),  # of all predictions of its series; it tells pane, version and arm
            ("links", "i4"),  # a list of cells of segments
            ("batch", "i4"),
            ("items", "i4"),
            ("answers", "i4"),
            ("length", "u2"),
            ("shown", "u2"),
            ("flags", "u2"),
            ("bucket", "u1"),
        ]
    ),
    "cell",
)
ODD = np.dtype([("past", "i8"), ("keep", "i8"), ("length", "i4"), ("shown", "i4"), ("next", "i4")])
"""What few requests and predictions have: facts that are too large for their rows, and a time until when
later ones are their duplicates that is not their pane's deadline. Found by `by_odd`.
"""

ANSWERS = np.dtype(
    [
        ("squared_error", "f8"),
        ("absolute_error", "f8"),
        ("next", "i4"),
        ("relevant", "i4"),
        ("expired", "i4"),
        ("duplicates", "i4"),
        ("labelled", "i4"),
        ("anomalies", "i4"),
        ("delays", "i4"),  # a list of bins
        ("marks", "i4"),  # a blob with a byte for each item; or none
    ]
)
"""What feedback made of a prediction; only those that have any hold one."""

SAID = np.dtype(
    [
        ("ts", "i8"),
        ("past", "i8"),
        ("deadline", "i8"),  # after which no prediction in time for it can come any more
        ("kind", "u8"),
        ("item", "u8"),
        ("key", "u8"),  # by which it is told from its duplicates
        ("value", "f8"),
        ("next", "i4"),
        ("window", "i4"),  # in which it is counted where it answers none
        ("batch", "i4"),
        ("number", "i4"),  # how many of the visit there are with it
        ("taken", "u1"),  # by a prediction, or as lost
    ]
)
WINDOW = np.dtype(
    [
        ("start", "i8"),
        ("end", "i8"),
        ("part", "i8"),
        ("deadline", "i8"),
        ("due", "i8"),  # wall time of its next emission
        ("next", "i4"),
        ("model", "i4"),
        ("entry", "i4"),  # of the policy in force
        ("cells", "i4"),
        ("holders", "i4"),  # requests, feedback and cells of predictions that point here
        ("open", "u1"),
        ("changed", "u1"),
    ]
)
CELL = np.dtype(
    [
        ("version", "u8"),
        ("value", "u8"),
        ("generation", "i8"),
        ("next", "i4"),
        ("window", "i4"),
        ("segment", "i4"),  # 0: all; else the policy's segment, counted from 1
        ("counters", "i4"),  # the last of them
        ("profile", "i4"),  # in whose bins features and scores are counted; -1: in none
        ("buckets", "i4"),
        ("holders", "i4"),  # predictions that point here
        ("arm", "u1"),
        ("changed", "u1"),
    ]
)
COUNTER = np.dtype([("count", "i8"), ("kind", "i4"), ("bin", "i4")])
RUN = np.dtype([("next", "i4")])
"""`IN_RUN` counters of one cell, side by side: they are read far more often than they are made. Counters are
numbered through all runs; `next` is the last one of the run before.
"""

RUN_BITS = 3
IN_RUN = 1 << RUN_BITS
LINK = np.dtype([("next", "i4"), ("row", "i4")])
"""An element of a list of numbers, see `lists.py`."""

DUE = np.dtype([("time", "i8"), ("next", "i4"), ("visits", "i4"), ("early", "i4"), ("open", "i4")])
"""A time at which visits are looked at: those that it lists by their `next`, and a list of others that are
listed for later.
"""
BUCKET = np.dtype([("next", "i4")])
BIRTH = np.dtype(
    [
        ("cell", "i8"),
        ("version_start", "i8"),
        ("version_end", "i8"),
        ("value_start", "i8"),
        ("value_end", "i8"),
        ("in_blob", "i8"),
    ]
)
"""A new cell, and where its version and its segment's value stand in words, for Python to note."""

VISITS, ASKED_, PREDICTIONS, ODDS, ANSWERS_, SAID_ = range(6)
WINDOWS, CELLS, RUNS, LINKS, DUES, BUCKETS_ = range(6, 12)
ITEMS, BLOBS, BIRTHS, SEEN, COUNTERS = range(12, 17)
"""Resources: tables, then arenas, and what else is counted. Rows of `State.pools`, `State.needs`."""

RESOURCES = 17

FREE, USED, SPARE, LENGTH = range(4)
"""Columns of `State.pools`: the first free row, rows ever used, free rows among them, all rows (of tables).
"""

REACHED, CLOCK, LOW, HIGH, LONGEST, FEATURES, SEGMENTS = range(7)
"""Numbers in `State.heads`: what all topics have passed; the clock of the topic that is read; for which
feedback times the longest deadline is remembered; most features of a profile; most segments of a policy.
"""

SHAPE = np.dtype(
    [
        ("start", "i8"),  # in force from
        ("pane", "i8"),
        ("window", "i8"),
        ("lateness", "i8"),
        ("answer", "i8"),
        ("slow_ms", "f8"),
        ("threshold", "f8"),
        ("anomaly", "f8"),
        ("earlier", "i4"),  # the model's shape before
        ("cutoffs", "i4"),
        ("relevant", "i4"),
        ("segments", "i4"),
        ("by_user", "u1"),
        ("labels", "u1"),  # truth: label
        ("heard", "u1"),  # impressions: feedback
    ]
)
MODEL = np.dtype([("name", "u8"), ("latest", "i4"), ("known", "u1")])
"""A model's last shape, and whether it has a policy of its own."""

FEATURE = np.dtype(
    [
        ("name", "u8"),
        ("lowest", "f8"),
        ("highest", "f8"),
        ("edges", "i4"),  # the first of them
        ("length", "i4"),
        ("bins", "i4"),
        ("numeric", "u1"),
    ]
)
PROFILE = np.dtype([("first", "i4"), ("length", "i4"), ("score", "i4")])

UNIT = 8
"""Bytes in a unit of the arena of blobs."""
SMALL = 512
"""Blocks up to this size have a list of free ones of their own size; above, of the next power of two."""
SIZES = SMALL + 32


class State(Arrays):
    """All arrays, for compiled code."""

    fields = Fields(
        pools=("i8", 2),
        needs=("i8", 1),
        heads=("i8", 1),
        visits=(VISIT, 1),
        asked=(ASKED, 1),
        predictions=(PREDICTION, 1),
        odds=(ODD, 1),
        answers=(ANSWERS, 1),
        said=(SAID, 1),
        windows=(WINDOW, 1),
        cells=(CELL, 1),
        runs=(RUN, 1),
        counters=(COUNTER, 2),
        links=(LINK, 1),
        dues=(DUE, 1),
        bucket_rows=(BUCKET, 1),
        births=(BIRTH, 1),
        by_id=("u4", 1),
        by_odd=(SLOT, 1),
        by_pane=(SLOT, 1),
        by_series=(SLOT, 1),
        by_bin=(SLOT, 1),
        by_time=(SLOT, 1),
        seen=(SLOT, 1),
        items=("u4", 1),
        tails=("u2", 1),
        scores=("f4", 1),
        free_items=("i8", 1),
        blobs=("u1", 1),
        free_blobs=("i8", 1),
        sums=("f8", 2),
        buckets=("f8", 3),
        batches=("i8", 2),
        before=("f8", 1),
        after=("f8", 1),
        marked=("u1", 1),
        shapes=(SHAPE, 1),
        cutoffs=("i8", 2),
        relevant=("u8", 2),
        segments=("u8", 2),
        bucketed=("i8", 2),
        models=(MODEL, 1),
        by_model=(SLOT, 1),
        features=(FEATURE, 1),
        profiles=(PROFILE, 1),
        by_version=(SLOT, 1),
        edges=("f8", 1),
        categories=(SLOT, 1),
    )
    pools: Integers
    needs: Integers
    heads: Integers
    visits: Rows
    asked: Rows
    predictions: Rows
    odds: Rows
    answers: Rows
    said: Rows
    windows: Rows
    cells: Rows
    runs: Rows
    counters: Rows  # (runs, IN_RUN)
    links: Rows
    dues: Rows
    bucket_rows: Rows
    births: Rows
    by_id: Index  # visits
    by_odd: Slots  # odds
    by_pane: Slots  # windows
    by_series: Slots  # cells
    by_bin: Slots  # counters
    by_time: Slots  # dues
    seen: Slots  # feedback of a prediction, values of a segment
    items: npt.NDArray[np.uint32]  # of their hashes the lower 32 bits
    tails: npt.NDArray[np.uint16]  # and 14 more, above two marks (`facts.py`)
    scores: Singles
    free_items: Integers
    blobs: Bytes
    free_blobs: Integers
    sums: Floats  # (cells, slots)
    buckets: Floats  # (rows, slots with buckets, BUCKETS)
    batches: Integers  # (topics, ring): until when each batch is needed
    before: Floats  # (slots), scratch
    after: Floats
    marked: Bytes  # (most features), scratch
    shapes: Rows  # see `shapes.py`
    cutoffs: Integers
    relevant: Words
    segments: Words
    bucketed: Integers
    models: Rows
    by_model: Slots
    features: Rows  # see `profiles.py`
    profiles: Rows
    by_version: Slots
    edges: Floats
    categories: Slots


DTYPES = {
    VISITS: VISIT,
    ASKED_: ASKED,
    PREDICTIONS: PREDICTION,
    ODDS: ODD,
    ANSWERS_: ANSWERS,
    SAID_: SAID,
    WINDOWS: WINDOW,
    CELLS: CELL,
    RUNS: RUN,
    LINKS: LINK,
    DUES: DUE,
    BUCKETS_: BUCKET,
}
TABLES = {
    VISITS: "visits",
    ASKED_: "asked",
    PREDICTIONS: "predictions",
    ODDS: "odds",
    ANSWERS_: "answers",
    SAID_: "said",
    WINDOWS: "windows",
    CELLS: "cells",
    RUNS: "runs",
    LINKS: "links",
    DUES: "dues",
    BUCKETS_: "bucket_rows",
}
MAPS = {
    ODDS: "by_odd",
    WINDOWS: "by_pane",
    CELLS: "by_series",
    DUES: "by_time",
    SEEN: "seen",
    COUNTERS: "by_bin",
}
"""Which map finds the rows of which table, or what is no row; visits have an index of their own."""
BESIDE: dict[int, tuple[str, ...]] = {
    CELLS: ("sums",),
    RUNS: ("counters",),
    BUCKETS_: ("buckets",),
    ITEMS: ("tails", "scores"),
}
"""Arrays with a row for each row of a table, or each item."""

FIRST = 256
"""Rows to begin with."""
