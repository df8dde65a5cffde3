"""What the benchmarks feed to Headgate: requests, predictions and clicks of one model, made by a seed."""

import random
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from schemas import policies, topics
from schemas.policies import Policy
from schemas.records import ENCODER, Feedback, PolicyRecord, Prediction, Request
from schemas.settings import Settings
from schemas.topics import Topic
from streams.log import Output

MODEL = "ranker"
ITEMS = 10
CATALOGUE = 10_000
USERS = 50_000
CLICKS = 0.2
"""Clicks a prediction."""


class Event(NamedTuple):
    """A record to be produced. `ts` is its time and its Kafka timestamp, epoch ms."""

    topic: Topic
    request_id: str
    ts: int
    value: bytes


def events(predictions: int, rate: float, start: int, seed: int = 0) -> Iterator[Event]:
    """A request, its prediction 8 ms later and, now and then, a click after some seconds, `rate`
    predictions a second of event time.

    In order of time but for the clicks, which come with the prediction that they answer; 1 in 50 is for
    nothing.
    """
    rng = random.Random(seed)
    for number in range(predictions):
        ts = start + int(number * 1000 / rate)
        request_id = f"request-{seed}-{number:09d}"
        items: list[str | int] = [rng.randrange(CATALOGUE) for _ in range(ITEMS)]
        request = Request(
            request_id=request_id,
            ts=ts,
            model=MODEL,
            user=f"user-{rng.randrange(USERS)}",
            surface=rng.choice(("home", "search")),
            features={"age": rng.randrange(80), "basket": rng.random()},
            k=ITEMS,
        )
        yield Event(topics.REQUESTS, request_id, ts, ENCODER.encode(request))
        yield Event(
            topics.PREDICTIONS,
            request_id,
            ts + 8,
            ENCODER.encode(_prediction(request_id, ts + 8, items, rng)),
        )
        if rng.random() < CLICKS:
            item = rng.choice(items) if rng.random() < 0.98 else -1
            clicked = ts + 8 + int(rng.expovariate(1 / 2000))
            click = Feedback(request_id=request_id, ts=clicked, kind="click", item=item)
            yield Event(topics.FEEDBACK, request_id, clicked, ENCODER.encode(click))


def policy(**changes: object) -> Policy:
    """10 s panes, 20 s of attribution, 5 s of lateness, and what is changed of it."""
    base: dict[str, object] = {"model": MODEL, "attribution": {"window": "20s", "lateness": "5s"}}
    return policies.parse(base | changes)


def apply(settings: Settings, policy_: Policy, now: int) -> None:
    """Puts a policy into `control.policies`."""
    output = Output(settings)
    body = msgspec.Raw(ENCODER.encode(policies.to_object(policy_)))
    record = PolicyRecord(model=policy_.model, ts=now, policy=body, actor="bench")
    output.send(topics.POLICIES, policy_.model, ENCODER.encode(record))
    output.flush()


def produce(settings: Settings, found: Iterator[Event]) -> int:
    """Sends all events, with their own times; answers how many."""
    output, count = Output(settings), 0
    for event in found:
        output.send(event.topic, event.request_id, event.value, timestamp=event.ts)
        count += 1
    output.flush()
    return count


def _prediction(request_id: str, ts: int, items: list[str | int], rng: random.Random) -> Prediction:
    return Prediction(
        request_id=request_id,
        ts=ts,
        model=MODEL,
        version="v1",
        arm="stable",
        status="ok",
        latency_ms=round(rng.lognormvariate(2, 0.5), 2),
        generation=1,
        items=items,
        scores=sorted((round(rng.random(), 4) for _ in items), reverse=True),
        infer_ms=1.2,
        queue_ms=3.1,
        batch=16,
        worker="bench-1",
    )
