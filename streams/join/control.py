"""Policies and reference profiles in force, for all joins of a process: as objects, and as arrays for
compiled code.
"""

from typing import Any

import numpy as np

from schemas.timeline import BEGINNING, Timeline
from streams.columns import Bytes
from streams.join.references import References
from streams.join.rows import Rows, Scanned
from streams.join.shapes import Shapes
from streams.join.sums import layout
from streams.join.text import text

_ODD = np.uint64(0x9E3779B97F4A7C15)
"""Makes one number of two hashes."""


class Control:
    """Holds them, and says by `edition` when the arrays have changed."""

    def __init__(self, timeline: Timeline, references: References) -> None:
        self.timeline = timeline
        self.references = references
        self.shapes = Shapes(timeline)
        self.edition = 0
        self._versions: set[int] = set()
        self.refresh()

    def refresh(self) -> None:
        """To be called when the timeline or the references have changed."""
        self.arrays: dict[str, Any] = self.shapes.refresh() | self.references.refresh()
        self.slots = len(layout(self.shapes.cutoffs))
        self.bucketed = self.arrays["bucketed"].shape[1]
        self.features = self.references.most_features
        self.segments = self.shapes.most_segments
        self.edition += 1

    def has_strangers(self, scanned: Scanned) -> bool:
        """Whether some request or prediction is of a model without a policy."""
        models = np.unique(scanned.rows["model"][scanned.rows["fault"] == 0]).tolist()
        return not all(map(self.shapes.has_policy, models))

    def new_versions(self, scanned: Scanned) -> set[int]:
        """The versions of good predictions, as numbers, that have not been `welcome` yet."""
        rows, good = scanned.rows, scanned.rows["fault"] == 0
        return set(np.unique(rows["model"][good] * _ODD + rows["version"][good]).tolist()) - self._versions

    def welcome(self, versions: set[int]) -> None:
        """The references have been read since these were predicted by for the first time."""
        self._versions |= versions

    def meet(self, data: Bytes, rows: Rows) -> None:
        """Gives every model of scanned requests or predictions a row."""
        hashes, firsts = np.unique(rows["model"][rows["fault"] == 0], return_index=True)
        strange = [i for i, hashed in enumerate(hashes.tolist()) if not self.shapes.knows(hashed)]
        if not strange:
            return
        good = np.flatnonzero(rows["fault"] == 0)
        for i in strange:
            row = rows[good[firsts[i]]]
            self.shapes.model(int(hashes[i]), text(data, row["model_start"], row["model_end"]))
        self.refresh()


def latest_of(scanned: Scanned) -> int:
    """The highest time (ms) of good records."""
    return int(scanned.rows["ts"][scanned.rows["fault"] == 0].max(initial=BEGINNING))
