"""Snapshots of cells, written from copies of what the cells hold: whenever, and in whatever thread, for the
cells may have gone on meanwhile.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.records import QUALITY, Pane
from streams.join import sums
from streams.join.layout import Floats, Integers
from streams.join.references import References
from streams.join.sums import RANKED, RELIABILITY
from streams.join.tallies import DELAY, FEATURES, LATENCY
from streams.metrics import tallies
from streams.metrics.scored import TENTHS
from streams.metrics.tallies import Late, Tally

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


class Tallied(NamedTuple):
    """A snapshot, and what it says. Of one that is not final `pane` has the sums alone, and what else there
    is in `tally` is made when it is asked for: the next will replace it soon.
    """

    pane: Pane
    tally: Tally


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
        return (_written(content) for content in self._contents())

    def tallied(self) -> Iterator[Tallied]:
        """The same, with what they say."""
        for content in self._contents():
            pane = content.subject.pane
            if content.subject.final:
                yield Tallied(pane, tallies.of(_written(content)))
            else:
                yield Tallied(pane, _asked(content.kept()))

    def _contents(self) -> Iterator["_Content"]:
        buckets, first = iter(self._buckets), 0
        kinds, bins, counts, all_ends = self._counters
        for subject, sums_, total, ends in zip(
            self._subjects, self._sums(), self._totals, all_ends.tolist(), strict=True
        ):
            subject.pane.sums = sums_
            of = slice(first, ends[FEATURES])
            places = [end - first for end in (first, *ends)]
            held = None if subject.bucketed is None else next(buckets)
            yield _Content(subject, total, places, kinds[of], bins[of], counts[of], held, self._references)
            first = ends[FEATURES]

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


class _Content(NamedTuple):
    """What there is of a cell, its sums being in its pane: `total`, shape (slots,); its counters, of which
    those of kind i are from the i-th of `places` to the next, and those of all features last; `buckets`,
    shape (slots with buckets, `BUCKETS`).
    """

    subject: Subject
    total: Floats
    places: Sequence[int]
    kinds: Integers
    bins: Integers
    counts: Integers
    buckets: Floats | None
    references: References

    def kept(self) -> "_Content":
        """With copies of its own, so that it does not hold on to all that was told with it."""
        return self._replace(
            total=self.total.copy(),
            kinds=self.kinds.copy(),
            bins=self.bins.copy(),
            counts=self.counts.copy(),
            buckets=None if self.buckets is None else self.buckets.copy(),
        )

    def histogram(self, kind: int) -> dict[int, int]:
        """The counters of a kind, by bin."""
        of = slice(self.places[kind], self.places[kind + 1])
        return dict(zip(self.bins[of].tolist(), self.counts[of].tolist(), strict=True))

    def features(self, quality: bool) -> dict[str, list[int]]:
        """What counters of features say: the counts by bin, or of `QUALITY`."""
        first = self.places[FEATURES]
        counters = zip(*(column[first:].tolist() for column in self[3:6]), strict=True)
        found: dict[str, list[int]] = {}
        for kind, bin_, count in counters:
            feature, is_quality = divmod(kind - FEATURES, 2)
            if is_quality == quality:
                name = self.references.names[feature]
                if name not in found:
                    found[name] = [0] * (len(QUALITY) if quality else self.references.bins[feature])
                found[name][bin_] = count
        return found

    @property
    def filled(self) -> list[int]:
        """The user buckets that there is anybody in."""
        return [] if self.buckets is None else np.flatnonzero(self.buckets[0]).tolist()

    def bucket_sums(self) -> dict[str, list[float]]:
        """The sums by user bucket, of those that are filled."""
        if self.buckets is None:
            return {}
        held = self.buckets[:, self.filled]
        held_back = () if self.subject.final else HELD_BACK
        columns = zip(self.subject.bucketed or (), _plain(held).tolist(), np.any(held, axis=1), strict=True)
        return {
            self.subject.names[slot]: values
            for slot, values, told in columns
            if told and slot >= 0 and slot not in held_back
        }


def _written(content: _Content) -> Pane:
    """A snapshot as a record."""
    pane = content.subject.pane
    pane.latency, pane.click_delay, pane.positive_scores, pane.negative_scores = map(
        content.histogram, range(FEATURES)
    )
    pane.features, pane.quality = content.features(quality=False), content.features(quality=True)
    pane.buckets, pane.bucket_sums = content.filled, content.bucket_sums()
    if content.subject.final:
        pane.reliability = _reliability(content.total)
    return pane


def _asked(content: _Content) -> Tally:
    """What a snapshot that is not final says: its sums, and the rest once it is asked for."""
    sums_ = content.subject.pane.sums
    ks = tallies.cut_offs(sums_)
    return Tally(
        sums=tallies.at_cut_offs(sums_, ks),
        latency=Late(partial(content.histogram, LATENCY)),
        click_delay=Late(partial(content.histogram, DELAY)),
        features=Late(partial(content.features, quality=False)),
        quality=Late(partial(content.features, quality=True)),
        bucketed=Late(lambda: tallies.bucketed(content.filled, content.bucket_sums(), ks)),
    )


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
