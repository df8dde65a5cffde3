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
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from confluent_kafka import Message

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

SETTLE = 0.25
"""Seconds between commits, each of what was answered at the one before."""

Score = Callable[[str, Request], Sequence[float]]
"""Given a version and a request, returns a score for each of its items, in their order; raises where there
are none: what the exception says is the answer's `error`. Called from several threads."""


class Taken(NamedTuple):
    """A record that is taken and not committed, and its answers on their way: none where it is no request for
    this model, two where there is a shadow."""

    message: Message
    answers: list[Future[None]]


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
        self._outage = Outage(settings.kafka.brokers)
        self._delivery = Delivery(settings, Meter(), self._outage)
        self._turn_at_delivery = threading.Lock()
        self._pool = ThreadPoolExecutor(concurrency, "respond")
        self._taken: deque[Taken] = deque()
        """In the order of their offsets; the first one is not answered yet."""
        self._asked: set[Future[None]] = set()
        """The answers that are not handed over yet."""
        self._next_settle = 0.0

    def run(self, stop: threading.Event) -> None:
        """Waits until a release is in force, and answers until `stop` is set, once; what has been taken by
        then is answered. Raises what made the follower give up."""
        while not (stop.is_set() or self._follower.failure or self._follower.in_force(self._model)):
            stop.wait(IDLE)
        if not (stop.is_set() or self._follower.failure):
            self._answer_all(stop)
        if self._follower.failure is not None:
            raise self._follower.failure

    def _answer_all(self, stop: threading.Event) -> None:
        intake: Intake = Intake(
            self._settings,
            group_of(self._settings, [self._model]),
            f"{self._follower.worker}-{uuid4().hex[:12]}",
            self._outage,
            settle=lambda: self._settle(intake),
            ready=lambda _partitions: None,
        )
        try:
            while not (stop.is_set() or self._follower.failure):
                self._turn(intake)
        finally:
            intake.close()
            self._pool.shutdown()

    def _turn(self, intake: Intake) -> None:
        self._asked = {one for one in self._asked if not one.done()}
        free = self._concurrency - len(self._asked)
        if free > 0:
            messages = intake.consume(1, IDLE)
            if messages and free > 1:
                messages += intake.consume(free - 1, 0.0)
            self._take(messages)
        else:
            wait(self._asked, IDLE, FIRST_COMPLETED)
        self._retire(intake)
        if time.monotonic() >= self._next_settle:
            self._next_settle = time.monotonic() + SETTLE
            self._commit(intake)

    def _take(self, messages: Sequence[Message]) -> None:
        """Puts requests on their way. Nobody waits for a shadow's answers, so those are asked for last."""
        release = self._follower.in_force(self._model)
        assert release is not None  # there was one, and one follows another
        taken = [Taken(message, []) for message in messages]
        shadows: list[tuple[Taken, Job]] = []
        for one in taken:
            found = self._reader.read(one.message)
            if isinstance(found, Job):
                self._ask(one, found, *self._route(found.request, release), release)
                shadows.append((one, found))
            elif isinstance(found, DeadLetter):
                with self._turn_at_delivery:
                    self._delivery.bury([found])
        if release.shadow is not None:
            for one, job in shadows:
                self._ask(one, job, "shadow", release.shadow, release)
        self._taken += taken

    def _ask(self, taken: Taken, job: Job, arm: Arm, version: str, release: Release) -> None:
        answer = self._pool.submit(self._reply, job, arm, version, release)
        taken.answers.append(answer)
        self._asked.add(answer)

    def _retire(self, intake: Intake) -> None:
        """Lets go of what is answered, and of which all before it is. Raises what kept an answer from being
        handed over; those behind it are never let go then, for they would vouch for it."""
        answered: list[Message] = []
        while self._taken and all(one.done() for one in self._taken[0].answers):
            message, answers = self._taken.popleft()
            try:
                for one in answers:
                    one.result()
            except BaseException:
                self._taken.clear()
                raise
            answered.append(message)
        intake.answered(answered)

    def _commit(self, intake: Intake) -> None:
        """Commits as far as the broker has the answers. Where it does not take some, their requests are taken
        once more; what is on its way comes in first, for it may be among them."""
        with self._turn_at_delivery:
            arrived = self._delivery.arrived()
        if arrived:
            intake.commit()
            intake.mark()
        elif self._delivery.undelivered:
            wait(self._asked)
            self._retire(intake)
            if intake.rewind():
                self._delivery.begin_anew()

    def _settle(self, intake: Intake) -> bool:
        """Waits until all that was taken is answered, and says whether the broker has the answers."""
        wait(self._asked)
        self._retire(intake)
        return self._delivery.settle()

    def _route(self, request: Request, release: Release) -> tuple[Arm, str]:
        if release.candidate is not None and is_candidate(
            release.salt, unit_of(request, self._unit), release.weight
        ):
            return "candidate", release.candidate
        return "stable", release.stable

    def _reply(self, job: Job, arm: Arm, version: str, release: Release) -> None:
        """In a thread of the pool."""
        answer = self._answer(job, arm, version, release)
        with self._turn_at_delivery:
            self._delivery.send_all([answer])

    def _answer(self, job: Job, arm: Arm, version: str, release: Release) -> Prediction:
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
