"""The other half for whoever serves with something else: requests in, answers out. `follower.py` makes
releases so, this routes by them, asks the server for scores, and sees to it that each request is answered.

    def score(version: str, request: Request) -> list[float]:
        return server.score(version, request.items)

    with Follower(settings, ["ranker"], make_so) as follower:
        Responder(settings, follower, "ranker", score).run(stop)

A request past its deadline is answered `timeout` and one without an answer from the server `error`, each for
itself; what is no request becomes a dead letter; answers are with the broker before offsets are committed.
All that as Headgate's own workers do it, by the same classes. For other languages: CONTRACT.md.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any, Literal
from uuid import uuid4

from schemas.records import Arm, DeadLetter, Prediction, Release, Request
from schemas.settings import Settings
from serving.admission import Admission
from serving.delivery import Delivery
from serving.follower import Follower
from serving.intake import Intake, group_of
from serving.jobs import Job, Source, answer_to
from serving.meter import Meter
from serving.outage import Outage
from serving.requests import Reader
from serving.router import is_candidate, unit_of

IDLE = 0.1
"""Seconds to wait for a release, or for a first request; whoever ends it is heard after that."""

Score = Callable[[str, Request], Sequence[float]]
"""Given a version and a request, returns a score for each of its items, in their order; raises where there
are none: what the exception says is the answer's `error`. Called from several threads."""


class Responder:
    """Answers the requests for `model` under the releases of `follower`, up to `concurrency` at a time.

    `unit`: whom the model's policy randomizes. Processes for one model share its requests, those of
    `headgate serve --only MODEL` too: the group is the same.
    """

    def __init__(
        self,
        settings: Settings,
        follower: Follower,
        model: str,
        score: Score,
        concurrency: int = 8,
        unit: Literal["user", "request"] = "user",
    ) -> None:
        self._settings = settings
        self._follower = follower
        self._model = model
        self._score = score
        self._concurrency = concurrency
        self._unit: Literal["user", "request"] = unit
        self._admission = Admission(settings.serving, _clock)
        self._reader = Reader(_clock, lambda name: name == model)

    def run(self, stop: threading.Event) -> None:
        """Waits until a release is in force, and answers until `stop` is set; what has been taken by then is
        answered, unless Kafka is away. Raises what made the follower give up."""
        while not (stop.is_set() or self._follower.failure or self._follower.in_force(self._model)):
            stop.wait(IDLE)
        if not (stop.is_set() or self._follower.failure):
            self._answer_all(stop)
        if self._follower.failure is not None:
            raise self._follower.failure

    def _answer_all(self, stop: threading.Event) -> None:
        outage = Outage(self._settings.kafka.brokers)
        delivery = Delivery(self._settings, Meter(), outage)
        intake = Intake(
            self._settings,
            group_of(self._settings, [self._model]),
            f"{self._follower.worker}-{uuid4().hex[:12]}",
            outage,
            settle=lambda: True,  # between two turns there is nothing left to wait for
            ready=lambda _partitions: None,
        )
        with ThreadPoolExecutor(self._concurrency, "respond") as pool:
            try:
                while not (stop.is_set() or self._follower.failure):
                    self._turn(intake, delivery, pool, stop)
            finally:
                intake.close()

    def _turn(
        self, intake: Intake, delivery: Delivery, pool: ThreadPoolExecutor, stop: threading.Event
    ) -> None:
        """Some requests, from taken to committed."""
        messages = intake.consume(1, IDLE)
        if messages:
            messages += intake.consume(self._concurrency - 1, 0.0)
        found = [self._reader.read(message) for message in messages]
        delivery.bury(one for one in found if isinstance(one, DeadLetter))
        jobs = [one for one in found if isinstance(one, Job)]
        delivery.send_all(self._answers(jobs, pool))
        settled = delivery.settle()
        while not (settled or delivery.undelivered or stop.is_set()):  # Kafka is away
            settled = delivery.settle()
        if settled:
            intake.answered(messages)
            intake.mark()
            intake.commit()
        elif intake.rewind():
            delivery.begin_anew()

    def _answers(self, jobs: Sequence[Job], pool: ThreadPoolExecutor) -> Iterator[Prediction]:
        """Each as soon as it is there. Nobody waits for a shadow's, so those are asked for last."""
        release = self._follower.in_force(self._model)
        assert release is not None  # there was one, and one follows another
        asked: list[Future[Prediction]] = [
            pool.submit(self._answer, job, *self._route(job.request, release), release) for job in jobs
        ]
        if release.shadow is not None:
            asked += [pool.submit(self._answer, job, "shadow", release.shadow, release) for job in jobs]
        return (one.result() for one in as_completed(asked))

    def _route(self, request: Request, release: Release) -> tuple[Arm, str]:
        if release.candidate is not None and is_candidate(
            release.salt, unit_of(request, self._unit), release.weight
        ):
            return "candidate", release.candidate
        return "stable", release.stable

    def _answer(self, job: Job, arm: Arm, version: str, release: Release) -> Prediction:
        """In a thread of the pool."""
        started = _clock()
        refusal = None if arm == "shadow" else self._admission.refusal(job.request, job.timestamp)
        outcome: dict[str, Any]
        if refusal is not None:
            outcome = {"status": refusal.status, "error": refusal.reason}
        else:
            try:
                outcome = self._ranked(job.request, version)
            except Exception as error:  # whatever a callback raises is what its request came to
                outcome = {"status": "error", "error": f"{version}: {' '.join(str(error).split())}"}
        now = _clock()
        source = Source(arm, version, release.generation)
        answer = answer_to(job, source, self._follower.worker, now, **outcome)
        answer.queue_ms = round(max(0.0, started - job.timestamp), 3)
        if refusal is None:
            answer.infer_ms = round(max(0.0, now - started), 3)
        return answer

    def _ranked(self, request: Request, version: str) -> dict[str, Any]:
        """What an answer says of its items, the best first; of equal scores, the one that was asked for
        first. Raises `ValueError` where there is nothing to say."""
        items = request.items or []
        if not items:
            raise ValueError("items: found none, expected at least one candidate")
        scores = [float(score) for score in self._score(version, request)]
        if len(scores) != len(items):
            raise ValueError(f"found {len(scores)} scores, expected {len(items)}, one an item")
        if not all(map(math.isfinite, scores)):
            raise ValueError("found a score that is not a finite number")
        order = sorted(range(len(items)), key=lambda place: -scores[place])
        return {
            "status": "ok",
            "items": [items[place] for place in order],
            "scores": [scores[place] for place in order],
            "shown": len(items) if request.k is None else min(request.k, len(items)),
        }


def _clock() -> float:
    return time.time() * 1000
