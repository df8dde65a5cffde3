"""What one source partition holds, as columns: tables of numpy rows that point at each other by row number,
maps that find them, and arenas for what varies in length. Python objects would take ten times the memory.

Here is what there is; `tables.py` allocates it.

```
visit (a request id) ─┬─ asked ─────── requests, as far as predictions may still need them
                      ├─ predictions ─ items and scores, what feedback made of them, cells of segments
                      └─ said ──────── feedback
window (a pane) ──────── cells ─┬───── sums, a row of numbers
                                ├───── counters: bins of histograms
                                └───── buckets: sums by user bucket
```
"""

import numpy as np
import numpy.typing as npt

from streams.join.hashmap import SLOT, Slots
from streams.join.pointers import Arrays, Fields

Rows = npt.NDArray[np.void]
Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

VISIT = np.dtype(
    [
        ("id", "u8"),
        ("until", "i8"),  # when nothing of it can change any more
        ("due", "i8"),  # when it is looked at next
        ("next", "i4"),
        ("asked", "i4"),
        ("predictions", "i4"),
        ("said", "i4"),  # the last of a ring
        ("predicted", "i4"),  # how many predictions
        ("heard", "i4"),  # how much feedback
    ]
)
ASKED = np.dtype(
    [
        ("past", "i8"),
        ("until", "i8"),  # the deadline up to which predictions may be described by it
        ("keep", "i8"),  # until when later ones are its duplicates
        ("answer_by", "i8"),
        ("next", "i4"),
        ("window", "i4"),
        ("batch", "i4"),
        ("blob", "i4"),  # surface, segments and features, as they came; or none
        ("bucket", "u1"),
        ("user", "u1"),  # it names one
        ("unanswered", "u1"),  # it is counted as such
        ("topic", "u1"),  # of the batch
    ]
)
PREDICTION = np.dtype(
    [
        ("version", "u8"),  # known for longer than its cell
        ("past", "i8"),
        ("keep", "i8"),
        ("latency_ms", "f8"),
        ("age", "i4"),  # ts - the start of its pane
        ("freshness_ms", "i4"),
        ("next", "i4"),
        ("window", "i4"),
        ("cell", "i4"),  # of all predictions of its series
        ("links", "i4"),  # cells of segments
        ("batch", "i4"),
        ("items", "i4"),
        ("length", "i4"),
        ("shown", "i4"),
        ("answers", "i4"),
        ("flags", "u2"),
        ("bucket", "u1"),
        ("arm", "u1"),
    ]
)
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
        ("delays", "i4"),
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
        ("taken", "i4"),  # by a prediction, or as lost
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
        ("holders", "i4"),  # rows that point here
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
        ("counters", "i4"),
        ("buckets", "i4"),
        ("arm", "u1"),
        ("changed", "u1"),
    ]
)
COUNTER = np.dtype([("count", "i8"), ("next", "i4"), ("kind", "i4"), ("bin", "i4")])
LINK = np.dtype([("next", "i4"), ("row", "i4")])
"""An element of a list of numbers: cells of a prediction, delays of its clicks, visits that are due."""

DUE = np.dtype([("time", "i8"), ("next", "i4"), ("visits", "i4"), ("open", "i4")])
BUCKET = np.dtype([("next", "i4")])
BIRTH = np.dtype(
    [
        ("cell", "i4"),
        ("version_start", "i4"),
        ("version_end", "i4"),
        ("value_start", "i4"),
        ("value_end", "i4"),
        ("in_blob", "i4"),
    ]
)
"""A new cell, and where its version and its segment's value stand in words, for Python to note."""

VISITS, ASKED_, PREDICTIONS, ANSWERS_, SAID_, WINDOWS, CELLS, COUNTERS, LINKS, DUES, BUCKETS_ = range(11)
ITEMS, BLOBS, BIRTHS, SEEN = range(11, 15)
"""Resources: tables, then arenas, and what else is counted. Rows of `State.pools`, `State.needs`."""

RESOURCES = 15

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

UNIT = 16
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
        answers=(ANSWERS, 1),
        said=(SAID, 1),
        windows=(WINDOW, 1),
        cells=(CELL, 1),
        counters=(COUNTER, 1),
        links=(LINK, 1),
        dues=(DUE, 1),
        bucket_rows=(BUCKET, 1),
        births=(BIRTH, 1),
        by_id=(SLOT, 1),
        by_pane=(SLOT, 1),
        by_series=(SLOT, 1),
        by_bin=(SLOT, 1),
        by_time=(SLOT, 1),
        seen=(SLOT, 1),
        items=("u4", 1),
        tails=("u2", 1),
        scores=("f4", 1),
        marks=("u1", 1),
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
    answers: Rows
    said: Rows
    windows: Rows
    cells: Rows
    counters: Rows
    links: Rows
    dues: Rows
    bucket_rows: Rows
    births: Rows
    by_id: Slots  # visits
    by_pane: Slots  # windows
    by_series: Slots  # cells
    by_bin: Slots  # counters
    by_time: Slots  # dues
    seen: Slots  # feedback of a prediction, values of a segment
    items: npt.NDArray[np.uint32]  # of their hashes the lower 32 bits
    tails: npt.NDArray[np.uint16]  # and 16 more: of ten items one is taken for another once in 3e13 times
    scores: Singles
    marks: Bytes
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
    ANSWERS_: ANSWERS,
    SAID_: SAID,
    WINDOWS: WINDOW,
    CELLS: CELL,
    COUNTERS: COUNTER,
    LINKS: LINK,
    DUES: DUE,
    BUCKETS_: BUCKET,
}
TABLES = {
    VISITS: "visits",
    ASKED_: "asked",
    PREDICTIONS: "predictions",
    ANSWERS_: "answers",
    SAID_: "said",
    WINDOWS: "windows",
    CELLS: "cells",
    COUNTERS: "counters",
    LINKS: "links",
    DUES: "dues",
    BUCKETS_: "bucket_rows",
}
MAPS = {
    VISITS: "by_id",
    WINDOWS: "by_pane",
    CELLS: "by_series",
    COUNTERS: "by_bin",
    DUES: "by_time",
    SEEN: "seen",
}
"""Which map finds the rows of which table; `seen` has none."""
BESIDE: dict[int, tuple[str, ...]] = {
    CELLS: ("sums",),
    BUCKETS_: ("buckets",),
    ITEMS: ("tails", "scores", "marks"),
}
"""Arrays with a row for each row of a table, or each item."""

FIRST = 256
"""Rows to begin with."""
