"""Simulated releases: users with click rates and activities of their own, who stay in their arm, and whose
clicks come later; what the judge's panes would add up to at each look.

Nothing is tested here: `judge.py` lays these sums before the judge's own code.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from schemas.records import BUCKETS

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int32]

HOUR = 360
"""Panes of 10 s in an hour."""


class Metric(NamedTuple):
    """A share that is measured: `rate` on average over users, whose own rates are Beta-distributed with the
    weight of `spread` observations. `effect`: the candidate's relative difference. `delay`: how many panes
    events take on average (exponential); those beyond `window` panes do not count. `hourly`: how far
    the rate moves up and down in an hour, as a fraction.
    """

    rate: float
    effect: float = 0.0
    spread: float = 20.0
    delay: float = 0.0
    window: int = 60
    hourly: float = 0.0


class Traffic(NamedTuple):
    """A release's traffic. `weights`: the candidate's share in generations of equal length. `requests`: how
    many on average in a pane. Users' activities are `floor(1 + Pareto(tail))`, and at most `most`.
    `maturity`: how many panes old a pane is at its first look. `lost`: the share of the candidate's answers
    that never come; `routed`: what the router makes of a weight.
    """

    metrics: tuple[Metric, ...]
    weights: tuple[float, ...] = (0.1,)
    panes: int = 1000
    requests: float = 300.0
    users: int = 20_000
    tail: float = 2.0
    most: int = 1_000_000
    maturity: int = 9
    lost: float = 0.0
    routed: float = 1.0


class Sums(NamedTuple):
    """Cumulated at each look. `numerators`: (metrics, looks, generations, 2, buckets), the candidate first;
    `denominators` the same without the metrics.
    """

    numerators: Floats
    denominators: Floats


def simulate(traffic: Traffic, seed: int) -> Sums:
    """One release, looked at whenever a pane is mature."""
    random = np.random.default_rng(seed)
    activity = (
        np.floor(1 + random.pareto(traffic.tail, traffic.users)).clip(max=traffic.most).astype(np.int64)
    )
    visits = np.repeat(np.arange(traffic.users, dtype=np.int32), activity)
    several = len(traffic.metrics)
    rates = np.array(
        [
            random.beta(metric.spread * metric.rate, metric.spread * (1 - metric.rate), traffic.users)
            for metric in traffic.metrics
        ]
    ).reshape(several, traffic.users)
    panes = np.arange(traffic.panes)
    generation = panes * len(traffic.weights) // traffic.panes
    tempo = np.array(
        [1 + metric.hourly * np.sin(2 * np.pi * panes / HOUR) for metric in traffic.metrics]
    ).reshape(several, traffic.panes)
    numerators, denominators = _visit(
        seed,
        random.poisson(traffic.requests, traffic.panes),
        visits,
        random.random(traffic.users),
        random.integers(0, BUCKETS, traffic.users),
        rates,
        generation,
        np.array(traffic.weights)[generation] * traffic.routed,
        traffic.lost,
        tempo,
        np.array([1 + metric.effect for metric in traffic.metrics], float),
        np.array([metric.delay for metric in traffic.metrics], float),
        np.array([metric.window for metric in traffic.metrics], np.int64),
        traffic.maturity,
    )
    return Sums(numerators.cumsum(axis=1, dtype=float), denominators.cumsum(axis=0, dtype=float))


@numba.njit(cache=True)
def _visit(
    seed: int,
    requests: npt.NDArray[np.int64],
    visits: Counts,
    unit: Floats,
    bucket: npt.NDArray[np.int64],
    rates: Floats,
    generation: npt.NDArray[np.int64],
    weights: Floats,
    lost: float,
    tempo: Floats,
    effects: Floats,
    delays: Floats,
    windows: npt.NDArray[np.int64],
    maturity: int,
) -> tuple[Counts, Counts]:
    """What each look adds: a request in the pane that becomes mature there, its events no sooner than they
    have come.
    """
    np.random.seed(seed)
    metrics, panes = tempo.shape
    strata = generation.max() + 1
    numerators = np.zeros((metrics, panes, strata, 2, BUCKETS), np.int32)
    denominators = np.zeros((panes, strata, 2, BUCKETS), np.int32)
    for pane in range(panes):
        stratum = generation[pane]
        for _ in range(requests[pane]):
            user = visits[int(np.random.random() * len(visits))]
            arm = 0 if unit[user] < weights[pane] else 1
            if arm == 0 and lost > 0 and np.random.random() < lost:
                continue
            place = bucket[user]
            denominators[pane, stratum, arm, place] += 1
            for metric in range(metrics):
                rate = rates[metric, user] * tempo[metric, pane]
                if arm == 0:
                    rate *= effects[metric]
                if np.random.random() >= rate:
                    continue
                delay = np.random.exponential(delays[metric]) if delays[metric] > 0 else 0.0
                at = pane + max(0, int(delay) - maturity)
                if delay <= windows[metric] and at < panes:
                    numerators[metric, at, stratum, arm, place] += 1
    return numerators, denominators
