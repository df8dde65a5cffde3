"""Events as rows of columns: what the scanners write and the join reads. No text, only hashes of it and where
it stands.
"""

from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streams.columns import Bytes

_SUBJECT = [
    ("id", np.uint64),
    ("ts", np.int64),
    ("model", np.uint64),
    ("user", np.uint64),
    ("model_start", np.int32),
    ("model_end", np.int32),
    ("surface_start", np.int32),
    ("surface_end", np.int32),
    ("segments_start", np.int32),
    ("segments_end", np.int32),
    ("features_start", np.int32),
    ("features_end", np.int32),
    ("place", np.int32),
    ("fault", np.uint8),
]

REQUEST = np.dtype(_SUBJECT, align=True)
"""A request. `fault`: 0, or 1 for what is no event, and then the rest means nothing. `id`, `model`, `user`:
hashes (`text_hash`) of request_id, model and the user as text (0: none). `place`: murmur2 of request_id,
without its sign. `ts`: ms. `…_start`, `…_end`: where in `Scanned.data` the text stands, without quotes, or
the JSON object with its braces; -1: absent.
"""

PREDICTION = np.dtype(
    [
        *_SUBJECT[:-1],
        ("arm", np.uint8),
        ("status", np.uint8),
        ("has_items", np.uint8),
        ("has_scores", np.uint8),
        ("fault", np.uint8),
        ("version_start", np.int32),
        ("version_end", np.int32),
        ("length", np.int32),
        ("version", np.uint64),
        ("latency_ms", np.float64),
        ("generation", np.int64),
        ("shown", np.int64),
        ("first", np.int64),
    ],
    align=True,
)
"""A prediction: as a request, and `version` (hash, text), `arm` and `status` (their places in the types `Arm`
and `Status`), `latency_ms`, `generation` and `shown` (-1: absent). Its `length` items and scores start at
`first` in `Scanned.items` and `Scanned.scores`; the length is that of the items, or of the scores where there
are no items.
"""

FEEDBACK = np.dtype(
    [
        ("id", np.uint64),
        ("ts", np.int64),
        ("kind", np.uint64),
        ("item", np.uint64),
        ("event", np.uint64),
        ("value", np.float64),
        ("place", np.int32),
        ("fault", np.uint8),
    ],
    align=True,
)
"""Feedback: `id`, `ts`, `place`, `fault` as in a request; `kind`, `item` as text, `event` (event_id): hashes,
0 for none; `value`: NaN for none.
"""

Rows: TypeAlias = NDArray[np.void]
Hashes: TypeAlias = NDArray[np.uint64]
Floats: TypeAlias = NDArray[np.float64]

Hash: TypeAlias = int | np.uint64


ELEMENT = 2
"""Bytes that an element of a list takes at least, with its comma."""


class Room(NamedTuple):
    """What the loops write into beside rows.

    `items` and `scores` have a place for each element that there may be (`ELEMENT`) in all values together,
    `spare` for each in the longest; `names` is a table of `grammar.NAMES`.
    """

    items: Hashes
    scores: Floats
    names: Hashes
    spare: Hashes


class Row(Protocol):
    """One row as compiled code sees it: an attribute for each column that its kind of rows has."""

    fault: int
    id: Hash
    place: int
    ts: int
    model: Hash
    model_start: int
    model_end: int
    user: Hash
    surface_start: int
    surface_end: int
    segments_start: int
    segments_end: int
    features_start: int
    features_end: int
    version: Hash
    version_start: int
    version_end: int
    arm: int
    status: int
    latency_ms: float
    generation: int
    shown: int
    first: int
    length: int
    has_items: int
    has_scores: int
    kind: Hash
    item: Hash
    event: Hash
    value: float


class Scanned(NamedTuple):
    """n records as rows of `REQUEST`, `PREDICTION` or `FEEDBACK`.

    - `data`, uint8, read-only: what the rows' positions count in; the batch's bytes, and more behind them.
    - `items` (hashes of their text), `scores`: of all predictions, one behind the other; 0 and NaN where a
      prediction has only the others.
    - `reasons`: why a record is no event, by its index.
    """

    data: Bytes
    rows: Rows
    items: Hashes
    scores: Floats
    reasons: dict[int, str]
