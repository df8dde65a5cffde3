"""Snapshots of panes as a reader of `metrics.panes` adds them up, and where they differ from the truth."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.records import Pane
from tests.oracle.truth import Series, Truth

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
ACCURACY = 0.01

Key = tuple[str, str, str, str, str, int, int, int, int, int]


@dataclass
class Measured:
    """A series' sums over generations, source partitions and parts."""

    sums: Counter[str] = field(default_factory=Counter)
    latency: Counter[int] = field(default_factory=Counter)


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
        name = Series(pane.model, pane.version, pane.arm, pane.segment, pane.segment_value, pane.start)
        measured = series.setdefault(name, Measured())
        for total, value in pane.sums.items():
            measured.sums[total] += value  # type: ignore[assignment]
        measured.latency.update(pane.latency)
    return {name: measured for name, measured in series.items() if any(measured.sums.values())}


def differences(truth: Truth, measured: dict[Series, Measured]) -> list[str]:
    """One line for each number that is not as it must be: counts exactly, latencies within 1 %."""
    found = []
    for series in sorted(truth.keys() | measured.keys()):
        expected = truth[series].sums if series in truth else Counter()
        latencies = truth[series].latencies if series in truth else []
        got = measured.get(series, Measured())
        wanted = dict(expected) | {"timed": len(latencies), "latency_ms": sum(latencies)}
        for name in sorted(wanted.keys() | got.sums.keys()):
            one, other = wanted.get(name, 0), got.sums[name]
            if one != other and not (name == "latency_ms" and math.isclose(one, other, abs_tol=1e-6)):
                found.append(f"{series}: {name}: found {other}, expected {one}")
        found += [f"{series}: {line}" for line in _quantiles(sorted(latencies), got.latency)]
    return found


def _quantiles(latencies: list[float], histogram: Counter[int]) -> Iterable[str]:
    if histogram.total() != len(latencies):
        yield f"latency: found {histogram.total()} values, expected {len(latencies)}"
        return
    values = [value for bin_, count in sorted(histogram.items()) for value in [middle(bin_)] * count]
    for q in QUANTILES if latencies else ():
        rank = math.ceil(q * len(latencies)) - 1
        if not math.isclose(values[rank], latencies[rank], rel_tol=ACCURACY * 1.001):
            yield f"latency of rank {rank + 1}: found {values[rank]}, expected {latencies[rank]}"


def middle(bin_: int) -> float:
    """The value within 1 % of all in a bin of the records' histograms: bins grow by γ = 1.01/0.99, and bin i
    ends at γ^i (as `schemas.records.Histogram` refers to)."""
    gamma = (1 + ACCURACY) / (1 - ACCURACY)
    return 2 * gamma**bin_ / (gamma + 1) if bin_ > -1000 else 0.0
