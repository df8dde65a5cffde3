"""What the benchmarks feed to Headgate and to others: one model's requests with features, its predictions of
ten items, and clicks, made by a seed; and the policy and the reference profiles that go with them.

Two arms, the second with a tenth of the traffic; a fifth of the predictions get a click, on an item that was
shown. Values are made by filling templates, at several 100,000 a second.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from schemas import policies, topics
from schemas.policies import Policy
from schemas.records import ENCODER, Distribution, PolicyRecord, Profile
from schemas.settings import Settings
from streams.log import Output

MODEL = "ranker"
START = 1_700_000_000_000
PANE = 10_000
RATE = 5_000
"""Predictions a second of event time where nothing else is said: 1 M of them are 200 s, 20 panes."""
CLICKS = 0.2
"""Share of the predictions that get a click."""
DELAY, LONGEST = 2_000, 15_000
"""Mean and longest time (ms) from a prediction to its click; exponential."""
EVENTS_A_PREDICTION = 2 + CLICKS
ITEMS = 10
CATALOGUE = 10_007
USERS = 50_000
CHUNK = 50_000
"""Predictions that are drawn together."""

SERIES = (("v1", "stable"), ("v2", "candidate"))
CANDIDATE = 0.1
"""The candidate's share of the predictions."""

WINDOW, LATENESS = 20_000, 5_000
"""The policy's attribution window and lateness (ms); a click comes well within."""

Ints = npt.NDArray[np.int64]


class Event(NamedTuple):
    """A record to be produced; `ts` is its time, epoch ms."""

    key: bytes
    ts: int
    value: bytes


class Key(NamedTuple):
    """A pane of a series; `start` in epoch ms."""

    version: str
    arm: str
    start: int


class Click(NamedTuple):
    """A click, and the pane that it belongs to: that of its prediction."""

    event: Event
    pane: Key


class Counts(NamedTuple):
    """What everybody counts of a pane; `latency_ms` is the sum."""

    predictions: int
    impressions: int
    clicks: int
    latency_ms: float

    def plus(self, other: "Counts") -> "Counts":
        """The sums of both."""
        return Counts(
            self.predictions + other.predictions,
            self.impressions + other.impressions,
            self.clicks + other.clicks,
            self.latency_ms + other.latency_ms,
        )


def identity(number: int) -> bytes:
    """The request id of a prediction: 32 hexadecimal digits, as UUIDs have."""
    return b"%016x%016x" % (number * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF, number)


class Slates:
    """Predictions `first` to `first + count` (at most `CHUNK`) of the workload, with their requests and
    clicks, as columns. `rate` predictions a second from `start` on.
    """

    def __init__(self, first: int, count: int, start: int = START, rate: int = RATE) -> None:
        draw = np.random.default_rng(first)
        self._numbers = np.arange(first, first + count)
        self._times: Ints = start + self._numbers * 1000 // rate
        starts, strides = draw.integers(0, CATALOGUE, CHUNK), draw.integers(1, CATALOGUE, CHUNK)
        self._items: Ints = ((starts[:, None] + strides[:, None] * np.arange(ITEMS)) % CATALOGUE)[:count]
        self._scores = -np.sort(-draw.random((CHUNK, ITEMS)).round(4), axis=1)[:count]
        self._latency = draw.lognormal(2, 0.5, CHUNK).round(2)[:count]
        self._arm: Ints = (draw.random(CHUNK) < CANDIDATE).astype(np.int64)[:count]
        self._clicked = (draw.random(CHUNK) < CLICKS)[:count]
        self._delays: Ints = np.minimum(draw.exponential(DELAY, CHUNK), LONGEST).astype(np.int64)[:count]
        self._places: Ints = draw.integers(0, ITEMS, CHUNK)[:count]
        self._users: Ints = draw.integers(0, USERS, CHUNK)[:count]
        self._ages: Ints = draw.integers(0, 80, CHUNK)[:count]
        self._baskets = draw.random(CHUNK)[:count]

    def requests(self) -> Iterator[Event]:
        """In order of time."""
        text = (
            b'{"request_id":"%b","ts":%d,"model":"%b","user":"user-%d","surface":"%b",'
            b'"features":{"age":%d,"basket":%.12f},"k":10}'
        )
        model, surfaces = MODEL.encode(), (b"home", b"search")
        columns = (self._numbers, self._times, self._users, self._ages, self._baskets)
        for number, ts, user, age, basket in zip(*(column.tolist() for column in columns), strict=True):
            key = identity(number)
            yield Event(key, ts, text % (key, ts, model, user, surfaces[user & 1], age, basket))

    def predictions(self) -> Iterator[Event]:
        """In order of time, each 8 ms after its request."""
        text = (
            b'{"request_id":"%b","ts":%d,"model":"%b","version":"%b","arm":"%b","status":"ok",'
            b'"latency_ms":%.2f,"generation":2,"items":['
            + b",".join([b"%d"] * ITEMS)
            + b'],"scores":['
            + b",".join([b"%.4f"] * ITEMS)
            + b'],"infer_ms":1.2,"queue_ms":3.1,"batch":16,"worker":"worker-1"}'
        )
        model, series = MODEL.encode(), [(version.encode(), arm.encode()) for version, arm in SERIES]
        columns = (self._numbers, self._times + 8, self._arm, self._latency, self._items, self._scores)
        for number, ts, arm, latency, items, scores in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            key = identity(number)
            yield Event(key, ts, text % (key, ts, model, *series[arm], latency, *items, *scores))

    def clicks(self) -> Iterator[Click]:
        """In order of their predictions."""
        text = b'{"request_id":"%b","ts":%d,"kind":"click","item":%d}'
        clicked = np.flatnonzero(self._clicked)
        predicted = self._times[clicked] + 8
        columns = (
            self._numbers[clicked],
            predicted + self._delays[clicked],
            self._items[clicked, self._places[clicked]],
            self._arm[clicked],
            predicted // PANE * PANE,
        )
        for number, ts, item, arm, start in zip(*(column.tolist() for column in columns), strict=True):
            key = identity(number)
            yield Click(Event(key, ts, text % (key, ts, item)), Key(*SERIES[arm], start))

    def counts(self) -> dict[Key, Counts]:
        """What these predictions and their clicks add to each pane."""
        starts: Ints = (self._times + 8) // PANE * PANE
        found = {}
        for arm, series in enumerate(SERIES):
            for start in np.unique(starts).tolist():
                mine = (starts == start) & (self._arm == arm)
                count, clicks = int(mine.sum()), int(self._clicked[mine].sum())
                if count:
                    latency = float(self._latency[mine].sum())
                    found[Key(*series, start)] = Counts(count, count * ITEMS, clicks, latency)
        return found


def policy(**changes: object) -> Policy:
    """10 s panes, 20 s of attribution, 5 s of lateness, a release with three guardrails; and what is changed
    of it.
    """
    base: dict[str, object] = {
        "model": MODEL,
        "attribution": {"window": f"{WINDOW}ms", "lateness": f"{LATENESS}ms"},
        "answer": "10s",
        "release": {
            "steps": [{"weight": 0.1, "for": "5m"}],
            "guardrails": [
                {"metric": "ctr", "worse_by": 0.0},
                {"metric": "error_rate", "above": 0.05},
                {"metric": "slow_rate", "worse_by": 0.1},
            ],
            "success": {"metric": "ctr", "better_by": -0.02},
        },
    }
    return policies.parse(base | changes)


def apply(settings: Settings, policy_: Policy, now: int) -> None:
    """Puts a policy into `control.policies`."""
    output = Output(settings)
    body = msgspec.Raw(ENCODER.encode(policies.to_object(policy_)))
    record = PolicyRecord(model=policy_.model, ts=now, policy=body, actor="bench")
    output.send(topics.POLICIES, policy_.model, ENCODER.encode(record))
    output.flush()


def profiles() -> Iterator[Profile]:
    """A reference profile of each version: eight bins for ages, ten for baskets and for scores."""
    ages = Distribution(counts=[100] * 8, edges=[10.0 * i for i in range(1, 8)], lowest=0.0, highest=79.0)
    shares = Distribution(counts=[80] * 10, edges=[i / 10 for i in range(1, 10)], lowest=0.0, highest=1.0)
    for version, _ in SERIES:
        features = {"age": ages, "basket": shares}
        yield Profile(model=MODEL, version=version, ts=START, features=features, score=shares)


def describe(settings: Settings) -> None:
    """Puts the profiles into `control.profiles`."""
    output = Output(settings)
    for profile in profiles():
        output.send(topics.PROFILES, f"{MODEL}/{profile.version}", ENCODER.encode(profile))
    output.flush()
