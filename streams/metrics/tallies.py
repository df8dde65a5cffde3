"""All that panes tally, as a commutative monoid: `merge` adds up, `EMPTY` changes nothing, and it does not
matter where a stream of events was cut or in which order the pieces are added.

A snapshot of a pane (`schemas.records.Pane`) is one tally from one source partition under a key; coarser
windows, all sources and all arms together are merges. What is made of a tally is `evaluate.py`'s business.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.records import BUCKETS, QUALITY, Pane
from streams.metrics.catalogue import HITS, OF_ALL_CUT_OFFS

Floats = npt.NDArray[np.float64]
Key = TypeVar("Key", str, int)
Value = TypeVar("Value")
Number = TypeVar("Number", int, float)

RELIABILITY = ("pairs", "scores", "positives")
"""What is added up in each bin of `Tally.reliability`."""


class Tally(NamedTuple):
    """The fields of `schemas.records.Pane` of the same names; what is absent is 0. Not to be changed.

    `bucketed`: sums by user bucket, each of shape (`BUCKETS`,).
    """

    sums: Mapping[str, float] = {}
    latency: Mapping[int, int] = {}
    click_delay: Mapping[int, int] = {}
    positive_scores: Mapping[int, int] = {}
    negative_scores: Mapping[int, int] = {}
    reliability: Mapping[int, Sequence[float]] = {}
    features: Mapping[str, Sequence[int]] = {}
    quality: Mapping[str, Sequence[int]] = {}
    bucketed: Mapping[str, Floats] = {}


EMPTY = Tally()
"""Of nothing: merged with any other it is that other."""


def merge(tallies: Iterable[Tally]) -> Tally:
    """All of them together."""
    several = [tally for tally in tallies if tally is not EMPTY]
    if len(several) < 2:
        return several[0] if several else EMPTY
    return Tally(
        sums=add(tally.sums for tally in several),
        latency=add(tally.latency for tally in several),
        click_delay=add(tally.click_delay for tally in several),
        positive_scores=add(tally.positive_scores for tally in several),
        negative_scores=add(tally.negative_scores for tally in several),
        reliability=add_lists(tally.reliability for tally in several),
        features=add_lists(tally.features for tally in several),
        quality=add_lists(tally.quality for tally in several),
        bucketed=add_arrays(tally.bucketed for tally in several),
    )


def add(tallies: Iterable[Mapping[Key, Number]]) -> dict[Key, Number]:
    """Numbers by name or bin, added up."""
    total: dict[Key, Number] = {}
    for tally in tallies:
        for key, value in tally.items():
            total[key] = total.get(key, 0) + value
    return total


def add_lists(tallies: Iterable[Mapping[Key, Sequence[Number]]]) -> dict[Key, Sequence[Number]]:
    """Lists by name or bin, added up place by place; a shorter one has zeros at its end."""
    return _merge(tallies, _add_places)


def add_arrays(tallies: Iterable[Mapping[Key, Floats]]) -> dict[Key, Floats]:
    """Arrays of one shape by name, added up."""
    return _merge(tallies, np.add)


def of(pane: Pane) -> Tally:
    """What a snapshot says, the sums that it has once for all its cut-offs (`OF_ALL_CUT_OFFS`) said for each
    of them too; a retracted one says nothing.

    Raises ValueError for user buckets that are none, sums that are not one for each bucket, and lists of a
    length that is not theirs.
    """
    if pane.retracted:
        return EMPTY
    _check("reliability", pane.reliability, RELIABILITY)
    _check("quality", pane.quality, QUALITY)
    ks = cut_offs(pane.sums)
    return Tally(
        sums=at_cut_offs(pane.sums, ks),
        latency=pane.latency,
        click_delay=pane.click_delay,
        positive_scores=pane.positive_scores,
        negative_scores=pane.negative_scores,
        reliability=pane.reliability,
        features=pane.features,
        quality=pane.quality,
        bucketed=bucketed(pane.buckets, pane.bucket_sums, ks),
    )


def cut_offs(sums: Iterable[str]) -> list[str]:
    """Of which cut-offs a snapshot with sums of these names has some."""
    return [name[len(HITS) :] for name in sums if name.startswith(HITS)]


def at_cut_offs(sums: Mapping[str, Value], ks: Sequence[str]) -> Mapping[str, Value]:
    """A snapshot's sums, those that it has once for all its cut-offs (`OF_ALL_CUT_OFFS`) said for each of
    them too.
    """
    if not ks:
        return sums
    return {f"{name}@{k}": sums[name] for name in OF_ALL_CUT_OFFS if name in sums for k in ks} | dict(sums)


def bucketed(
    buckets: Sequence[int], sums: Mapping[str, Sequence[float]], ks: Sequence[str]
) -> Mapping[str, Floats]:
    """A snapshot's sums by user bucket. Raises ValueError as `of` does."""
    if buckets and max(buckets) >= BUCKETS:
        raise ValueError(f"buckets: found {max(buckets)}, expected numbers below {BUCKETS}")
    for name, values in sums.items():
        if len(values) != len(buckets):
            raise ValueError(
                f"bucket_sums.{name}: found {len(values)} values, expected {len(buckets)}, one a bucket"
            )
    if not sums:
        return {}
    return Bucketed(buckets, at_cut_offs({name: array("d", values) for name, values in sums.items()}, ks))


def snapshot(tally: Tally, pane: Pane) -> Pane:
    """`pane` with this tally instead of its own; `of` reads it back."""
    filled = [
        bucket for bucket in range(BUCKETS) if any(values[bucket] for values in tally.bucketed.values())
    ]
    return msgspec.structs.replace(
        pane,
        retracted=False,
        sums=dict(tally.sums),
        latency=dict(tally.latency),
        click_delay=dict(tally.click_delay),
        positive_scores=dict(tally.positive_scores),
        negative_scores=dict(tally.negative_scores),
        reliability={bin_: list(values) for bin_, values in tally.reliability.items()},
        features={name: list(counts) for name, counts in tally.features.items()},
        quality={name: list(counts) for name, counts in tally.quality.items()},
        buckets=filled,
        bucket_sums={name: values[filled].tolist() for name, values in tally.bucketed.items()},
    )


def _merge(
    tallies: Iterable[Mapping[Key, Value]], together: Callable[[Value, Value], Value]
) -> dict[Key, Value]:
    total: dict[Key, Value] = {}
    for tally in tallies:
        for key, value in tally.items():
            total[key] = together(total[key], value) if key in total else value
    return total


def _add_places(one: Sequence[Number], other: Sequence[Number]) -> Sequence[Number]:
    common = min(len(one), len(other))
    longer = one if len(one) > common else other
    return [x + y for x, y in zip(one, other, strict=False)] + list(longer[common:])


class Late(Mapping[Key, Value]):
    """A mapping that is made when it is first asked for."""

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], Mapping[Key, Value]]) -> None:
        self._make: Callable[[], Mapping[Key, Value]] | None = make
        self._made: Mapping[Key, Value] = {}

    def _all(self) -> Mapping[Key, Value]:
        if self._make is not None:
            self._made, self._make = self._make(), None
        return self._made

    def __getitem__(self, key: Key) -> Value:
        return self._all()[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


class Bucketed(Mapping[str, Floats]):
    """Sums by user bucket as a snapshot has them, those of users that there are: each becomes an array when
    it is asked for. Most never are, and a judge holds very many.
    """

    __slots__ = ("_buckets", "_sums")

    def __init__(self, buckets: Sequence[int], sums: "Mapping[str, array[float]]") -> None:
        self._buckets = bytes(buckets)
        self._sums = sums

    def __getitem__(self, name: str) -> Floats:
        found = np.zeros(BUCKETS)
        np.add.at(found, np.frombuffer(self._buckets, np.uint8), np.frombuffer(self._sums[name]))
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._sums)

    def __len__(self) -> int:
        return len(self._sums)


def _check(field: str, lists: Mapping[Key, Sequence[Number]], places: Sequence[str]) -> None:
    for key, values in lists.items():
        if len(values) != len(places):
            raise ValueError(
                f"{field}.{key}: found {len(values)} values, expected {len(places)}: {', '.join(places)}"
            )
