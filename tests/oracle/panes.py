"""Snapshots of panes as a reader of `metrics.panes` adds them up, and where they differ from the truth."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from schemas.records import BUCKETS, Pane
from tests.oracle import scores
from tests.oracle.measures import Tally
from tests.oracle.truth import Series, Truth

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
ACCURACY = 0.01
SMALLEST = 1e-6
"""Latencies (ms) below count as 0."""

GRAIN = 2.0**-30
"""Fractions are kept in whole multiples of this, so that the order of adding never matters."""

Key = tuple[str, str, str, str, str, int, int, int, int, int]


@dataclass
class Measured:
    """A series' sums and bins over generations, source partitions and parts."""

    sums: Counter[str] = field(default_factory=Counter)
    latency: Counter[int] = field(default_factory=Counter)
    click_delay: Counter[int] = field(default_factory=Counter)
    positive_scores: Counter[int] = field(default_factory=Counter)
    negative_scores: Counter[int] = field(default_factory=Counter)
    reliability: dict[int, list[float]] = field(default_factory=dict)
    features: dict[str, Counter[int]] = field(default_factory=dict)
    quality: dict[str, Counter[int]] = field(default_factory=dict)

    def add(self, pane: Pane) -> None:
        """Takes in a snapshot."""
        for name, value in pane.sums.items():
            self.sums[name] += value  # type: ignore[assignment]
        for name in ("latency", "click_delay", "positive_scores", "negative_scores"):
            getattr(self, name).update(getattr(pane, name))
        for tenth, values in pane.reliability.items():
            held = self.reliability.setdefault(tenth, [0.0] * 3)
            self.reliability[tenth] = [a + b for a, b in zip(held, values, strict=True)]
        for mine, theirs in ((self.features, pane.features), (self.quality, pane.quality)):
            for feature, counts in theirs.items():
                mine.setdefault(feature, Counter()).update(dict(enumerate(counts)))


def key_of(pane: Pane) -> Key:
    """What identifies a snapshot but for its number."""
    return (
        pane.model,
        pane.version,
        pane.arm,
        pane.segment,
        pane.segment_value,
        pane.start,
        pane.end,
        pane.generation,
        pane.partition,
        pane.part,
    )


def newest(panes: Iterable[Pane]) -> dict[Key, Pane]:
    """Of each key the highest snapshot. Raises `AssertionError` where two with one number differ."""
    held: dict[Key, Pane] = {}
    for pane in panes:
        key = key_of(pane)
        other = held.get(key)
        if other is None or pane.snapshot > other.snapshot:
            held[key] = pane
        else:
            assert pane.snapshot < other.snapshot or pane == other, f"two snapshots of one number: {pane}"
    return held


def measure(panes: Iterable[Pane]) -> dict[Series, Measured]:
    """What the newest snapshots add up to. Series whose sums are all 0 are left out."""
    series: dict[Series, Measured] = {}
    for pane in newest(panes).values():
        if pane.retracted:
            continue
        check_buckets(pane)
        name = Series(pane.model, pane.version, pane.arm, pane.segment, pane.segment_value, pane.start)
        series.setdefault(name, Measured()).add(pane)
    return {name: measured for name, measured in series.items() if any(measured.sums.values())}


def check_buckets(pane: Pane) -> None:
    """Raises `AssertionError` where what stands by user bucket does not add up to the pane's sums."""
    assert all(0 <= bucket < BUCKETS for bucket in pane.buckets), pane
    assert len(set(pane.buckets)) == len(pane.buckets), pane
    for name, values in pane.bucket_sums.items():
        assert len(values) == len(pane.buckets), (name, pane)
        if name != "duplicates":  # those that repeat a prediction have no bucket
            assert math.isclose(sum(values), pane.sums.get(name, 0), rel_tol=1e-9, abs_tol=1e-9), (name, pane)


def differences(truth: Truth, measured: Mapping[Series, Measured]) -> list[str]:
    """One line for each number that is not as it must be: counts and bins exactly, fractions within what
    their grain allows, latencies and delays within 1 %."""
    return [
        f"{series}: {line}"
        for series in sorted(truth.keys() | measured.keys())
        for line in _differences(truth.get(series, Tally()), measured.get(series, Measured()))
    ]


def _differences(tally: Tally, got: Measured) -> Iterator[str]:
    timed = {"timed": len(tally.latencies), "latency_ms": sum(tally.latencies)}
    wanted: dict[str, float] = {**tally.sums, **tally.fractions, **timed}
    parts = tally.sums["relevant_predictions"] + tally.sums["pairs"] + len(tally.latencies)
    for name in sorted(wanted.keys() | got.sums.keys()):
        one, other = wanted.get(name, 0), got.sums[name]
        near = 1e-9 if name in tally.fractions or name == "latency_ms" else 0.0
        if not math.isclose(one, other, rel_tol=near, abs_tol=near and GRAIN * parts + near):
            yield f"{name}: found {other}, expected {one}"
    yield from (f"latency: {line}" for line in _quantiles(sorted(tally.latencies), got.latency))
    yield from (f"click_delay: {line}" for line in _quantiles(sorted(tally.delays), got.click_delay))
    for positive, bins in ((True, got.positive_scores), (False, got.negative_scores)):
        expected = scores.histogram(tally.pairs, positive=positive)
        if expected != +bins:
            yield f"scores of positive={positive}: found {+bins}, expected {expected}"
    yield from _unreliable(scores.reliability(tally.pairs), got.reliability)
    for what, mine, theirs in (
        ("bins", tally.features, got.features),
        ("quality", tally.quality, got.quality),
    ):
        for feature in sorted(mine.keys() | theirs.keys()):
            expected, counted = mine.get(feature, Counter()), +theirs.get(feature, Counter())
            if expected != counted:
                yield f"{what} of {feature}: found {counted}, expected {expected}"


def _unreliable(expected: Mapping[int, list[float]], found: Mapping[int, list[float]]) -> Iterator[str]:
    for tenth in sorted(expected.keys() | found.keys()):
        one, other = expected.get(tenth, [0.0] * 3), found.get(tenth, [0.0] * 3)
        if not all(math.isclose(a, b, abs_tol=GRAIN * one[0]) for a, b in zip(one, other, strict=True)):
            yield f"reliability of tenth {tenth}: found {other}, expected {one}"


def _quantiles(values: list[float], histogram: Counter[int]) -> Iterable[str]:
    if histogram.total() != len(values):
        yield f"found {histogram.total()} values, expected {len(values)}"
        return
    kept = [value for bin_, count in sorted(histogram.items()) for value in [middle(bin_)] * count]
    for q in QUANTILES if values else ():
        rank = math.ceil(q * len(values)) - 1
        if not math.isclose(kept[rank], values[rank], rel_tol=ACCURACY * 1.001, abs_tol=SMALLEST):
            yield f"rank {rank + 1}: found {kept[rank]}, expected {values[rank]}"


def middle(bin_: int) -> float:
    """The value within 1 % of all in a bin of the records' histograms: bins grow by γ = 1.01/0.99, and bin i
    ends at γ^i (as `schemas.records.Histogram` refers to)."""
    gamma = (1 + ACCURACY) / (1 - ACCURACY)
    return 2 / (gamma + 1) * math.exp(bin_ * math.log(gamma)) if bin_ > -1000 else 0.0
