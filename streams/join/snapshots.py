"""Snapshots of cells, written from copies of what the cells hold: whenever, and in whatever thread, for the
cells may have gone on meanwhile.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.records import BUCKETS, QUALITY, Pane
from streams.join import sums
from streams.join.layout import Floats, Integers
from streams.join.references import References
from streams.join.sums import RANKED, RELIABILITY
from streams.join.tallies import FEATURES
from streams.metrics.scored import TENTHS

Objects = npt.NDArray[np.object_]

HELD_BACK = range(sums.PAIRS, RANKED)
"""Slots of what is in final snapshots only."""


class Counters(NamedTuple):
    """The counters of n cells.

    - `kinds`, `bins`, `counts`, shape (m,): those of a cell together, among these those of a kind, those of
      all features last.
    - `ends`, shape (n, `FEATURES` + 1): where a cell's counters of each kind end.
    """

    kinds: Integers
    bins: Integers
    counts: Integers
    ends: Integers


class Subject(NamedTuple):
    """Whose snapshot: `pane` as yet without tallies, and whether it is `final`. `names` of its sums by slot,
    empty where a slot is no sum by itself; `bucketed`, the slots of its sums by user bucket; None: it has
    none.
    """

    pane: Pane
    final: bool
    names: Sequence[str]
    bucketed: Sequence[int] | None


class Snapshots:
    """Those of n cells, to be written once: `totals`, shape (n, slots), are their sums, `buckets`, shape (k,
    slots with buckets, `BUCKETS`), the sums by bucket of the k that have them.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        totals: Floats,
        counters: Counters,
        buckets: Floats,
        references: References,
    ) -> None:
        self._subjects = subjects
        self._totals = totals
        self._counters = counters
        self._buckets = buckets
        self._references = references

    def panes(self) -> Iterator[Pane]:
        """The snapshots."""
        kinds, buckets = self._counters.kinds, iter(self._buckets)
        bins, counts, first = self._counters.bins.tolist(), self._counters.counts.tolist(), 0
        for subject, sums_, total, ends in zip(
            self._subjects, self._sums(), self._totals, self._counters.ends.tolist(), strict=True
        ):
            pane = subject.pane
            pane.sums = sums_
            pane.latency, pane.click_delay, pane.positive_scores, pane.negative_scores = (
                dict(zip(bins[begin:end], counts[begin:end], strict=True))
                for begin, end in pairwise([first, *ends[:FEATURES]])
            )
            described, first = slice(ends[FEATURES - 1], ends[FEATURES]), ends[FEATURES]
            self._describe(pane, kinds[described].tolist(), bins[described], counts[described])
            if subject.final:
                pane.reliability = _reliability(total)
            if subject.bucketed is not None:
                _bucket(subject, subject.bucketed, next(buckets))
            yield pane

    def _sums(self) -> Iterator[dict[str, float]]:
        """The sums of each by name: those that are not 0."""
        told = self._totals != 0.0
        young = [not subject.final for subject in self._subjects]
        told[young, HELD_BACK.start : HELD_BACK.stop] = False
        rows, slots = np.nonzero(told)
        places, values, first = slots.tolist(), _plain(self._totals[rows, slots]).tolist(), 0
        ends = np.cumsum(np.count_nonzero(told, axis=1)).tolist()
        for (_, _, names, _), last in zip(self._subjects, ends, strict=True):
            found = {
                name: value
                for place, value in zip(places[first:last], values[first:last], strict=True)
                if (name := names[place])
            }
            if "relevant" in found:
                found |= {name: found.get(name, 0) for name in names[RANKED:] if name}
            first = last
            yield found

    def _describe(self, pane: Pane, kinds: Sequence[int], bins: Sequence[int], counts: Sequence[int]) -> None:
        """What counters of features say."""
        found: dict[int, list[int]] = {}
        for kind, bin_, count in zip(kinds, bins, counts, strict=True):
            if (places := found.get(kind)) is None:
                feature, quality = divmod(kind - FEATURES, 2)
                places = found[kind] = [0] * (len(QUALITY) if quality else self._references.bins[feature])
            places[bin_] = count
        pane.features, pane.quality = {}, {}
        for kind, places in found.items():
            feature, quality = divmod(kind - FEATURES, 2)
            (pane.quality if quality else pane.features)[self._references.names[feature]] = places


def _bucket(subject: Subject, slots: Sequence[int], buckets: Floats) -> None:
    """The sums by user bucket, of the buckets that there is anybody in."""
    filled = np.flatnonzero(buckets[0])
    held = buckets if len(filled) == BUCKETS else buckets[:, filled]
    held_back = () if subject.final else HELD_BACK
    subject.pane.buckets = filled.tolist()
    columns = zip(slots, _plain(held).tolist(), np.any(held, axis=1), strict=True)
    subject.pane.bucket_sums = {
        subject.names[slot]: values
        for slot, values, told in columns
        if told and slot >= 0 and slot not in held_back
    }


def _reliability(total: Floats) -> dict[int, list[float]]:
    """What stands in a cell's sums of the tenths that have pairs."""
    pairs = _plain(total[RELIABILITY:RANKED]).tolist()
    return {i: pairs[3 * i : 3 * i + 3] for i in range(TENTHS) if pairs[3 * i]}


def _plain(values: Floats) -> Objects | Integers:
    """Numbers as short as JSON can have them: whole ones as integers; of the same shape."""
    whole = (np.abs(values) < 1 << 53) & (values == np.trunc(values))
    if whole.all():
        return values.astype(np.int64)
    found = values.astype(object)
    found[whole] = values[whole].astype(np.int64)
    return found
