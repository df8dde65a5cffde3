"""Random streams for the laws: hypothesis strategies of small, nasty logs, and of ways to read them.

Few requests, models and instants, so that everything happens to everything: disorder, repetition, loss,
clocks that are wrong, feedback before its prediction, records in the wrong partition and re-published; lists
that repeat items, scores without items and beyond all bounds, labels with and without an item, features of
other types than their reference's.
"""

import json
import random
from collections import defaultdict
from dataclasses import dataclass

from hypothesis import strategies as st

from schemas import policies
from schemas.records import Distribution, Profile
from schemas.timeline import Timeline
from schemas.topics import EVENTS, REQUESTS, Topic
from tests.oracle import random_records
from tests.oracle.lives import Move, Read
from tests.oracle.log import ORIGIN, Raw, partition_of
from tests.oracle.random_records import FIELDS

BASE = 1_767_225_600_000
"""2026-01-01, where all streams begin (ms)."""

BAD = (b"", None, b"{", b"[]", b"{}", b"\xff\xfe", b'{"ts": 1}', b"\0\0\0\0\1{", b"[" * 2_000)

Log = dict[Topic, dict[int, list[Raw]]]


def timeline() -> Timeline:
    """Two models of different shapes. That of `a` changes 24 s after `BASE` to longer windows and to
    labels for truth, and 98 s after it, when more than a minute earlier panes of unmatched feedback are
    open, to shorter ones."""
    result = Timeline()
    result.add(_policy("a", pane="1s", window="3s", lateness="1s", answer="1s"), BASE)
    labelled: dict[str, object] = {"truth": "label", "threshold": 0.7, "k": [2, 3, 50], "anomaly": 0.25}
    from_feedback: dict[str, object] = {"impressions": "feedback", "relevant": ["purchase", "odd", "label"]}
    result.add(
        _policy("b", pane="2s", window="5s", lateness="2s", answer="500ms", **labelled, **from_feedback), BASE
    )
    result.add(_policy("a", pane="2s", window="18s", lateness="500ms", answer="3s", **labelled), BASE + 8_000)
    result.add(_policy("a", pane="1s", window="1s", lateness="0s", answer="0s"), BASE + 82_500)
    return result


def _policy(
    model: str, *, pane: str, window: str, lateness: str, answer: str, **others: object
) -> policies.Policy:
    return policies.parse(
        {
            "model": model,
            "pane": pane,
            "attribution": {"window": window, "lateness": lateness},
            "answer": answer,
            "k": [1, 3],
            "segments": ["surface", "country"],
            "slow_ms": 50,
        }
        | others
    )


PROFILES = (
    Profile(
        model="a",
        version="v1",
        ts=BASE,
        features={
            "age": Distribution(counts=[1, 2, 1], edges=[18.0, 65.0], lowest=0.0, highest=99.5),
            "height": Distribution(counts=[0, 5, 0], edges=[-1.5, 1e300]),
            "country": Distribution(counts=[3, 1, 0], categories=["de", "true"]),
            "gone": Distribution(counts=[3], categories=[]),
        },
        score=Distribution(counts=[1, 1, 1], edges=[0.5, 0.7]),
    ),
    Profile(model="a", version="v1", ts=BASE, features={"age": Distribution(counts=[1], edges=[])}),
    Profile(
        model="b",
        version="v2",
        ts=BASE,
        features={"country": Distribution(counts=[1, 0, 0], categories=["nz", 'é"\\'])},
    ),
    Profile(model="b", version="v1", ts=BASE, features={"age": Distribution(counts=[1, 1], edges=[0.0])}),
)
"""References of some versions: of `a` v1 the first holds; `b` v1 has none for scores."""


@dataclass(frozen=True)
class Step:
    """One record and how the wall clock went on before it: `ts` is `lag` before it, Kafka's time `stamp`
    before it (all ms). Before it misplaced records may be re-published: those that are due, or the last ones
    again as well, as a successor does that does not know how far its predecessor came."""

    topic: Topic
    fields: dict[str, object] | None
    bad: bytes | None
    ahead: int
    lag: int
    stamp: int
    place: str
    republish: str


_AHEAD = (0, 0, 50, 50, 400, 400, 1_000, 3_000, 9_000, 70_000)
_LAG = (0, 0, 0, 0, 100, 900, 1_500, 3_500, 6_000, 12_000, 65_000, -200, -50_000, -400_000)
_STAMP = (0, 0, 0, 0, 0, 2_000, 5_000, 70_000, -2_000, -65_000)
_PLACE = (*["right"] * 12, "elsewhere", "elsewhere", "no key")
_REPUBLISH = (*["no"] * 6, "due", "again")


def steps(seed: int, topics: tuple[Topic, ...]) -> list[Step]:
    """Of each seed the same: a record that fits nothing, or now and then a whole visit."""
    rng = random.Random(seed)
    chance = rng.randrange(16)
    if len(topics) > 1 and chance > 11:
        return [
            Step(topic, fields, None, ahead=50, lag=0, stamp=0, place="right", republish="no")
            for topic, fields in random_records.visit(rng)
        ]
    topic = rng.choice(topics)
    return [
        Step(
            topic,
            fields=FIELDS[topic](rng) if chance else None,
            bad=None if chance else rng.choice(BAD),
            ahead=rng.choice(_AHEAD),
            lag=rng.choice(_LAG),
            stamp=rng.choice(_STAMP),
            place=rng.choice(_PLACE),
            republish=rng.choice(_REPUBLISH),
        )
    ]


def logs(partitions: int, *, size: int = 60, topics: tuple[Topic, ...] = EVENTS) -> st.SearchStrategy[Log]:
    """Logs of `partitions` partitions with up to `size` single records and visits, re-published ones
    behind them where they belong. Each is drawn as one number, which is many times faster than field by
    field; what fails shrinks to few records all the same.
    """
    seeds = st.integers(1, size).flatmap(lambda n: st.lists(st.integers(0, 1 << 32), min_size=n, max_size=n))
    return seeds.map(
        lambda drawn: written([step for seed in drawn for step in steps(seed, topics)], partitions)
    )


def written(steps: list[Step], partitions: int) -> Log:
    """The logs that `steps` leave."""
    log: Log = {topic: defaultdict(list) for topic in EVENTS}
    copies: list[tuple[Topic, int, Raw]] = []
    published = 0
    now = BASE
    for step in [*steps, LAST]:
        if step.republish != "no":
            for topic, partition, copy in copies[max(0, published - 3 * (step.republish == "again")) :]:
                _append(log, topic, partition, copy)
            published = len(copies)
        now += step.ahead
        if step.fields is None:
            _append(log, step.topic, 0, Raw(0, now, b"r0", step.bad))
            continue
        value = {name: field for name, field in step.fields.items() if field is not None}
        key = str(step.fields["request_id"]).encode()
        right = partition_of(key, partitions)
        place = (right + (step.place == "elsewhere")) % partitions
        raw = Raw(0, now - step.stamp, key, json.dumps(value | {"ts": now - step.lag}).encode())
        if step.place == "no key":
            raw = raw._replace(key=None)
        offset = _append(log, step.topic, place, raw)
        if place != right or raw.key is None:
            origin = (ORIGIN, f"{step.topic.name}/{place}/{offset}".encode())
            copies.append((step.topic, right, raw._replace(key=key, headers=(origin,))))
    return log


LAST = Step(REQUESTS, None, b"", 0, 0, 0, "right", "again")
"""Behind all others: what is left is re-published, and the last ones again."""


def _append(log: Log, topic: Topic, partition: int, raw: Raw) -> int:
    """Offsets have gaps, as transactions leave them."""
    records = log[topic][partition]
    offset = records[-1].offset + 1 + len(records) % 2 if records else 3
    records.append(raw._replace(offset=offset))
    return offset


_READS: list[Move] = [Read(topic, count) for topic in EVENTS for count in range(1, 9)]
_EMIT: list[Move] = ["emit"]
_COMMIT: list[Move] = ["commit"]
_CRASH: list[Move] = ["crash"]


def readings() -> st.SearchStrategy[list[Move]]:
    """Ways to read logs in one life: batches and rounds of output in any order."""
    return _moves(12 * _EMIT, most=40)


def lives() -> st.SearchStrategy[list[Move]]:
    """Ways to read logs in several lives."""
    return _moves(5 * _EMIT + 5 * _COMMIT + 2 * _CRASH, most=60)


def _moves(turns: list[Move], most: int) -> st.SearchStrategy[list[Move]]:
    choice = st.sampled_from(_READS + turns)
    return st.integers(0, most).flatmap(lambda n: st.lists(choice, min_size=n, max_size=n))
