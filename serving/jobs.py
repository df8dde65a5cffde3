"""A request on its way to an answer, and the answer's record. Light to import, and pure: time comes in."""

from collections.abc import Callable
from typing import Any, NamedTuple

from schemas.records import Arm, Prediction, Request
from serving.flight import NOWHERE, Place

Clock = Callable[[], float]
"""Wall time in epoch ms."""


class Job(NamedTuple):
    """A request, its Kafka timestamp (ms), and where it stands in the log."""

    request: Request
    timestamp: int
    place: Place = NOWHERE


class Source(NamedTuple):
    """Whose answer it is, as its record says."""

    arm: Arm
    version: str
    generation: int | None


def answer_to(job: Job, source: Source, worker: str, now: float, **outcome: Any) -> Prediction:
    """The answer that `worker` has for a request at `now` (epoch ms): `outcome` has its status, and what
    else the record is to say."""
    return Prediction(
        request_id=job.request.request_id,
        ts=int(now),
        model=job.request.model,
        version=source.version,
        arm=source.arm,
        generation=source.generation,
        latency_ms=round(max(0.0, now - job.timestamp), 3),
        worker=worker,
        **outcome,
    )
