"""A serving worker's process: requests from Kafka, batch by batch through ONNX Runtime, predictions back to
Kafka. Started by `supervisor.py`, as `python -m serving.worker`.

Six threads: this one takes requests and reads them, two run them and hand the answers over (`pipeline.py`),
`control.py`'s follows releases, one loads versions, and one sums their files ahead; between those and these
there is one pointer a model.
What is lost by a crash is nothing: answers are with the broker before the offsets of their requests are
committed, and only this thread commits.
"""

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import msgspec
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from schemas.errors import HeadgateError
from schemas.records import DeadLetter, Prediction
from serving import batcher
from serving.control import Control
from serving.delivery import Delivery
from serving.engine import Engine, Leg, Ran
from serving.exposition import Exposition
from serving.fitness import Fitness
from serving.flight import Flight
from serving.gpu import Gpus
from serving.health import ELSEWHERE, Health
from serving.intake import Intake, group_of
from serving.jobs import Job
from serving.loads import Guard, Loads
from serving.meter import Meter
from serving.outage import Outage
from serving.pipeline import Pipeline
from serving.post import MENDABLE, PATIENCE, Post, log_to_stderr
from serving.repository import Repository
from serving.requests import Others, Reader
from serving.runtime import providers
from serving.suspects import Suspects
from serving.usage import Sampler
from streams import lifeline, probes
from streams.garbage import Garbage

log = logging.getLogger("headgate.serving")

SETTLE = 0.25
"""Seconds between commits, each of what was answered at the one before: what may be answered twice after a
crash is twice that old at most."""

AHEAD = 1
"""Batches on their way (and settling) while another one is collected and read: with it one runs and one
waits for its run."""

FAREWELL = 10.0
"""Seconds that a worker which is told to stop waits for the broker to take its last answers."""

IDLE = 0.1
"""Seconds to wait for a first request; a signal is heard after that."""


def clock() -> float:
    """Wall time in epoch ms."""
    return time.time() * 1000


def main() -> int:
    """The process: its `Post` comes on standard input. Answers the exit status."""
    faulthandler.enable(all_threads=False)  # of a crash in native code the log has at least our lines
    log_to_stderr()
    told = msgspec.json.decode(sys.stdin.buffer.read(), type=Post)
    stop = threading.Event()

    def halt(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, halt)
    if told.parent is not None:
        lifeline.end_with_parent(told.parent, PATIENCE)
    try:
        Worker(told, stop).run()
    except HeadgateError as error:
        print(error, file=sys.stderr)
        return MENDABLE
    return 0


class Flown(NamedTuple):
    """What came of a leg: answers that needed no run, and what ran; one, but for a release that changed."""

    answers: Sequence[Prediction]
    legs: Sequence[Ran]


class Worker:
    """One worker at its `post`, from the first release read to the last offset committed; `stop` ends it."""

    def __init__(self, post: Post, stop: threading.Event) -> None:
        settings = post.settings
        self._post = post
        self._settings = settings
        self._stop = stop
        self._group = group_of(settings, post.only)
        self._outage = Outage(settings.kafka.brokers)
        flight = Flight(post.flight)
        repository = Repository(Path(post.models))
        self._control = Control(
            settings,
            repository,
            post.only,
            self._outage,
            stop,
            post.name,
            clock,
            post.threads,
            Guard(repository, flight, Loads(post.loads)).loading,
        )
        self._flight = flight
        self._meter = Meter()
        self._engine = Engine(
            post.name,
            clock,
            settings.serving,
            flight,
            Suspects(post.suspects),
            Fitness(post.unfit),
            self._meter,
        )
        self._delivery = Delivery(settings, self._meter, self._outage)
        self._pipeline = Pipeline(self._run, self._deliver)
        self._gpus = Gpus()
        self._health = Health(
            flight, self._control, self._outage, settings.kafka.brokers, settings.serving.hang_s
        )
        self._reader = Reader(clock, self._control.serves)
        self._is_ready = False
        self._next_settle = 0.0

    def run(self) -> None:
        """Serves until `stop` is set. Raises what made the control thread give up, where that set it."""
        exposition = Exposition(self._meter, self._health, self._control, self._gpus, self._post.restarts)
        probes.serve(self._health, exposition, self._settings.serving.health_address, ELSEWHERE)
        self._control.start()
        Sampler(self._post.name, self._gpus, self._control, clock, self._stop).start()
        self._control.ready.wait()
        if not self._stop.is_set():
            intake = Intake(
                self._settings, self._group, self._post.instance, self._outage, self._settle, self._announce
            )
            try:
                self._loop(intake)
            finally:
                self._part(intake)
        self._control.join()
        if self._control.failure is not None:
            raise self._control.failure

    def _loop(self, intake: Intake) -> None:
        garbage = Garbage()  # a full pass over all modules takes longer than a small model's run
        while not self._stop.is_set():
            self._health.turns(intake.partitions)
            self._pipeline.land(AHEAD)
            if self._delivery.undelivered:
                self._again(intake)
            most, wait_ms = self._control.limits()
            messages = batcher.collect(intake.consume, most, wait_ms / 1000, IDLE, _age, self._pipeline.rest)
            if messages:
                self._answer(messages, intake)
            if time.monotonic() >= self._next_settle:
                self._next_settle = time.monotonic() + SETTLE
                garbage.collect(time.monotonic())
                self._pipeline.follow(
                    self._delivery.arrived, lambda arrived: self._commit(intake) if arrived else None
                )

    def _commit(self, intake: Intake) -> None:
        """The answers to what was marked before are with the broker."""
        intake.commit()
        intake.mark()

    def _answer(self, messages: Sequence[Message], intake: Intake) -> None:
        """Puts a batch on its way."""
        self._meter.in_flight += len(messages)
        jobs: list[Job] = []
        letters: list[DeadLetter] = []
        for message in messages:
            found = self._reader.read(message)
            if isinstance(found, Job):
                jobs.append(found)
            elif isinstance(found, DeadLetter):
                self._meter.died()
                letters.append(found)
            elif isinstance(found, Others):
                self._meter.left_alone(found.model)
        asked = {job.request.model for job in jobs}
        states = {model: self._control.state(model) for model in asked}
        policies = {model: self._control.policy(model) for model in asked}
        plan = self._engine.plan(jobs, states, policies)

        def at_once() -> None:
            self._delivery.bury(letters)
            self._delivery.send_all(plan.answers)

        def answered() -> None:
            intake.answered(messages)
            self._meter.in_flight -= len(messages)

        if letters or plan.answers:
            self._pipeline.follow(at_once, lambda _: None)
        self._pipeline.put(plan.legs, answered)

    def _run(self, leg: Leg) -> Flown:
        """A leg's turn, under the release that is in force by now. In the pipeline's first thread."""
        model = leg.run.runtime.model
        plan = self._engine.renew(leg, self._control.state(model), self._control.policy(model))
        return Flown(plan.answers, [self._engine.run(one) for one in plan.legs])

    def _deliver(self, flown: Flown) -> None:
        """In its second."""
        self._delivery.send_all(flown.answers)
        for ran in flown.legs:
            self._delivery.send_all(self._engine.answers(ran))

    def _again(self, intake: Intake) -> None:
        """Answers did not arrive: takes their requests once more, if it can. What is on its way comes down
        first, for it may be among them."""
        self._pipeline.land(0)
        if intake.rewind():
            self._delivery.begin_anew()

    def _settle(self) -> bool:
        """Waits until all that was taken is answered, and says whether the broker has the answers."""
        found: list[bool] = []
        self._pipeline.follow(self._delivery.settle, found.append)
        self._pipeline.land(0)
        return found == [True]

    def _part(self, intake: Intake) -> None:
        """The last answers out, their offsets committed, the group left."""
        deadline = time.monotonic() + FAREWELL
        while not (self._settle() or self._delivery.undelivered) and time.monotonic() < deadline:
            pass
        intake.close()
        self._pipeline.close()

    def _announce(self, partitions: Sequence[int]) -> None:
        """One line, once requests come in."""
        if self._is_ready:
            return
        self._is_ready = True
        self._flight.serve()
        log.info(
            "%s ready: %s; on %s; group %s, partitions %s",
            self._post.name,
            ", ".join(self._control.loaded()) or "no version loaded yet",
            ", ".join(providers()),
            self._group,
            ", ".join(map(str, partitions)) or "none yet",
        )


def _age(message: Message) -> float:
    """Seconds since a message's Kafka timestamp."""
    kind, timestamp = message.timestamp()
    return 0.0 if kind == TIMESTAMP_NOT_AVAILABLE else (clock() - timestamp) / 1000


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # else a load that is under way would be waited for, however long it takes
