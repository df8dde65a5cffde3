"""Random streams for the laws: hypothesis strategies of small, nasty logs, and of ways to read them.

Few requests, models and instants, so that everything happens to everything: disorder, repetition, loss,
clocks that are wrong, feedback before its prediction, records in the wrong partition and re-published.
"""

import json
from collections import defaultdict
from dataclasses import dataclass

from hypothesis import strategies as st

from schemas import policies
from schemas.timeline import Timeline
from schemas.topics import EVENTS, FEEDBACK, PREDICTIONS, REQUESTS, Topic
from tests.oracle.lives import Move, Read
from tests.oracle.log import ORIGIN, Raw, partition_of

BASE = 1_767_225_600_000
"""2026-01-01, where all streams begin (ms)."""

REQUEST_IDS = ("r0", "r1", "r2", "r3")
BAD = (b"", None, b"{", b"[]", b"{}", b"\xff\xfe", b'{"ts": 1}', b"\0\0\0\0\1{", b"[" * 2_000)

Log = dict[Topic, dict[int, list[Raw]]]


def timeline() -> Timeline:
    """Two models of different shapes. That of `a` changes 24 s after `BASE` to longer windows, and 98 s after
    it, when more than a minute earlier panes of unmatched feedback are open, to shorter ones."""
    result = Timeline()
    result.add(_policy("a", pane="1s", window="3s", lateness="1s", answer="1s"), BASE)
    result.add(
        _policy("b", pane="2s", window="5s", lateness="2s", answer="500ms", impressions="feedback"), BASE
    )
    result.add(_policy("a", pane="2s", window="18s", lateness="500ms", answer="3s"), BASE + 8_000)
    result.add(_policy("a", pane="1s", window="1s", lateness="0s", answer="0s"), BASE + 82_500)
    return result


def _policy(
    model: str, pane: str, window: str, lateness: str, answer: str, impressions: str = "shown"
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
            "impressions": impressions,
        }
    )


_ids = st.sampled_from(REQUEST_IDS)
_models = st.sampled_from(["a", "a", "a", "b", "c"])
_items = st.lists(st.sampled_from(["x", "y", 7, "7", "z", ""]), max_size=4)
_surfaces = st.sampled_from([None, None, "home", "search"])
_countries = st.sampled_from([None, None, {"country": "de"}, {"country": "nz"}, {}])
_users = st.sampled_from([None, "u1", 2])


def _requests() -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries(
        {"request_id": _ids, "model": _models, "user": _users, "surface": _surfaces, "segments": _countries}
    )


def _predictions() -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries(
        {
            "request_id": _ids,
            "model": _models,
            "version": st.sampled_from(["v1", "v2"]),
            "arm": st.sampled_from(["stable", "stable", "candidate", "shadow"]),
            "status": st.sampled_from(["ok", "ok", "ok", "error", "timeout"]),
            "latency_ms": st.sampled_from([0, 0.3, 12, 50, 50.5, 80, 12_345]),
            "generation": st.sampled_from([None, 1, 2]),
            "items": _items,
            "shown": st.sampled_from([None, 0, 1, 2, 9]),
            "user": _users,
            "surface": _surfaces,
            "segments": _countries,
        }
    )


def _feedback() -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries(
        {
            "request_id": _ids,
            "kind": st.sampled_from(["click", "click", "purchase", "impression", "relevant", "odd"]),
            "item": st.sampled_from(["x", "y", 7, "7", "z", "", None]),
            "event_id": st.sampled_from([None, None, "e1", "e2"]),
        }
    )


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


_FIELDS = {REQUESTS: _requests(), PREDICTIONS: _predictions(), FEEDBACK: _feedback()}
_ahead = st.sampled_from([0, 0, 50, 50, 400, 400, 1_000, 3_000, 9_000, 70_000])
_lag = st.sampled_from([0, 0, 0, 0, 100, 900, 1_500, 3_500, 6_000, 12_000, 65_000, -200, -50_000, -400_000])
_stamp = st.sampled_from([0, 0, 0, 0, 0, 2_000, 5_000, 70_000, -2_000, -65_000])
_place = st.sampled_from(["right"] * 12 + ["elsewhere", "elsewhere", "no key"])
_republish = st.sampled_from(["no"] * 6 + ["due", "again"])


@st.composite
def _step(draw: st.DrawFn, topics: tuple[Topic, ...]) -> Step:
    topic = draw(st.sampled_from(topics))
    good = draw(st.integers(0, 15)) > 0
    fields = draw(_FIELDS[topic]) if good else None
    bad = None if good else draw(st.sampled_from(BAD))
    return Step(topic, fields, bad, draw(_ahead), draw(_lag), draw(_stamp), draw(_place), draw(_republish))


def logs(partitions: int, *, size: int = 60, topics: tuple[Topic, ...] = EVENTS) -> st.SearchStrategy[Log]:
    """Logs of `partitions` partitions with up to `size` records, re-published ones behind them where they
    belong."""
    return st.lists(_step(topics), min_size=1, max_size=size).map(lambda steps: written(steps, partitions))


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


_reads: st.SearchStrategy[Move] = st.builds(Read, st.sampled_from(EVENTS), st.integers(1, 8))


_turns: st.SearchStrategy[Move] = st.sampled_from(["emit", "emit", "commit", "commit", "crash"])


def readings() -> st.SearchStrategy[list[Move]]:
    """Ways to read logs in one life: batches and rounds of output in any order."""
    return st.lists(_reads | st.just("emit"), max_size=40)


def lives() -> st.SearchStrategy[list[Move]]:
    """Ways to read logs in several lives."""
    return st.lists(_reads | _reads | _turns, max_size=60)
