"""What producers, serving workers and anybody with a metric send: the event topics and `metrics.samples`."""

from typing import Literal

from msgspec import Raw

from schemas.records.fields import (
    Arm,
    Count,
    Feature,
    Item,
    Milliseconds,
    Name,
    Record,
    Status,
    Time,
)

ORIGIN = "headgate-origin"
"""Header of a record that was re-published to its right partition: topic/partition/offset of the first."""


class Request(Record):
    """`inference.requests`: candidates to be ranked for one user, once."""

    request_id: Name
    ts: Time
    model: Name
    items: list[Item] | None = None
    inputs: dict[str, Raw] | None = None
    features: dict[str, Feature] | None = None
    user: str | int | None = None
    surface: str | None = None
    segments: dict[str, str] | None = None
    k: Count | None = None
    deadline_ms: Milliseconds | None = None


class Prediction(Record):
    """`inference.predictions`: the answer to a request, best item first."""

    request_id: Name
    ts: Time
    model: Name
    version: Name
    arm: Arm
    status: Status
    latency_ms: Milliseconds
    generation: Count | None = None
    items: list[Item] | None = None
    scores: list[float] | None = None
    shown: Count | None = None
    propensities: list[float] | None = None
    infer_ms: Milliseconds | None = None
    queue_ms: Milliseconds | None = None
    batch: Count | None = None
    worker: str | None = None
    user: str | int | None = None
    surface: str | None = None
    segments: dict[str, str] | None = None
    features: dict[str, Feature] | None = None
    error: str | None = None


class Feedback(Record):
    """`feedback.events`: what a user did with a shown item, or a label."""

    request_id: Name
    ts: Time
    kind: Name
    item: Item | None = None
    value: float | None = None
    event_id: str | None = None


class Sample(Record):
    """`metrics.samples`: one value of a metric of somebody else's."""

    model: Name
    ts: Time
    name: Name
    value: float
    version: str | None = None
    phase: Literal["training", "serving"] | None = None
    labels: dict[str, str] | None = None
