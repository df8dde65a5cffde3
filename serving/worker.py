"""A serving worker's process: requests from Kafka, batch by batch through ONNX Runtime, predictions back to
Kafka. Started by `supervisor.py`, as `python -m serving.worker`.

Three threads: this one batches and answers, `control.py`'s follows releases, and one loads versions. Between
them there is one pointer a model. What is lost by a crash is nothing: answers are with the broker before the
offsets of their requests are committed.
"""

import faulthandler
import logging
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import msgspec
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException, Message

from schemas import topics
from schemas.errors import HeadgateError
from schemas.records import ENCODER, DeadLetter, Prediction
from schemas.settings import Settings
from serving import batcher
from serving.control import Control
from serving.engine import Engine, Job
from serving.exposition import Exposition
from serving.fitness import Fitness
from serving.flight import Flight
from serving.gpu import Gpus
from serving.health import ELSEWHERE, Health
from serving.intake import Intake
from serving.loads import Guard, Loads
from serving.meter import Meter
from serving.outage import Outage
from serving.post import MENDABLE, PATIENCE, Post, log_to_stderr
from serving.repository import Repository
from serving.requests import Others, Reader
from serving.runtime import providers
from serving.suspects import Suspects
from serving.usage import Sampler
from streams import lifeline, probes
from streams.garbage import Garbage
from streams.log import Output

log = logging.getLogger("headgate.serving")

GROUP = "headgate-serving"

SETTLE = 0.5
"""Seconds between commits: what may be answered twice after a crash."""

FLUSH = 1.0
"""Seconds that one wait for the broker may take; a signal is heard after that."""

FAREWELL = 10.0
"""Seconds that a worker which is told to stop waits for the broker to take its last answers."""

IDLE = 0.1
"""Seconds to wait for a first request; a signal is heard after that."""


def clock() -> float:
    """Wall time in epoch ms."""
    return time.time() * 1000


def group_of(settings: Settings, only: Sequence[str]) -> str:
    """The consumer group: one for all workers of a whole repository, one for each choice of models."""
    return "-".join([settings.topics.prefix + GROUP, *sorted(set(only))])


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


class Worker:
    """One worker at its `post`, from the first release read to the last offset committed; `stop` ends it."""

    def __init__(self, post: Post, stop: threading.Event) -> None:
        settings = post.settings
        self._post = post
        self._settings = settings
        self._stop = stop
        self._group = group_of(settings, post.only)
        self._outage = Outage(settings.kafka.brokers)
        self._refused: deque[bytes] = deque()
        self._output = Output(settings, self._refuse)
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
        self._gpus = Gpus()
        self._health = Health(
            flight, self._control, self._outage, settings.kafka.brokers, settings.serving.hang_s
        )
        self._reader = Reader(clock, self._control.serves)
        self._is_ready = False
        self._undelivered = False
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
            most, wait_ms = self._control.limits()
            messages = batcher.collect(intake.consume, most, wait_ms / 1000, IDLE, _age)
            if messages:
                self._answer(messages)
                intake.answered(messages)
            if time.monotonic() >= self._next_settle:
                self._next_settle = time.monotonic() + SETTLE
                garbage.collect(time.monotonic())
                if self._settle():
                    intake.commit()
                elif self._undelivered and intake.rewind():
                    self._undelivered = False

    def _answer(self, messages: Sequence[Message]) -> None:
        self._meter.in_flight = len(messages)
        jobs: list[Job] = []
        for message in messages:
            found = self._reader.read(message)
            if isinstance(found, Job):
                jobs.append(found)
            elif isinstance(found, DeadLetter):
                self._meter.died()
                self._output.send(topics.DEAD_LETTERS, found.key, ENCODER.encode(found))
            elif isinstance(found, Others):
                self._meter.left_alone(found.model)
        asked = {job.request.model for job in jobs}
        states = {model: self._control.state(model) for model in asked}
        policies = {model: self._control.policy(model) for model in asked}
        for prediction in self._engine.answer(jobs, states, policies):
            self._send(prediction)
        self._meter.in_flight = 0

    def _send(self, prediction: Prediction) -> None:
        """Hands an answer over; where it is too large for a record, an error instead. What is too large even
        so, for its request_id is, stays unanswered."""
        value = ENCODER.encode(prediction)
        if self._fits(prediction.request_id, value):
            self._meter.answered(prediction)
            return
        instead = _too_large(prediction, len(value))
        self._meter.answered(instead)
        if not self._fits(instead.request_id, ENCODER.encode(instead)):
            log.error("a request of %s stays unanswered: no answer to it fits a record", prediction.model)

    def _fits(self, request_id: str, value: bytes) -> bool:
        """Queues an answer, unless the client refuses it as too large."""
        try:
            self._output.send(topics.PREDICTIONS, request_id, value)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise
            return False
        return True

    def _refuse(self, message: Message) -> None:
        """The broker takes no record, or no batch of records, of this size. Called from within `_output`, in
        any thread."""
        value = message.value()
        if message.topic() == topics.PREDICTIONS.full_name(self._settings.topics) and value is not None:
            self._refused.append(value)
        else:
            log.error("%s: the broker takes no record of %d bytes", message.topic(), len(value or b""))

    def _settle(self) -> bool:
        """Waits until the broker has all answers so far. False: it has not yet, or (`undelivered`, until the
        next rewind) never will."""
        try:
            self._output.flush(FLUSH)
            while self._refused:
                self._send_alone(self._refused[0])
                self._refused.popleft()
        except KafkaException as error:
            reason = error.args[0]
            if reason.code() == KafkaError._TIMED_OUT:
                return False
            if not self._outage:
                log.error("answers not delivered (%s): their requests are answered again", reason.str())
            self._undelivered = True
        return not self._undelivered

    def _send_alone(self, value: bytes) -> None:
        """Sends an answer once more that the broker refused: perhaps only the batch that it was in was too
        large. Where it is not, an error instead."""
        prediction = msgspec.json.decode(value, type=Prediction)
        waiting = len(self._refused)
        for answer in (value, ENCODER.encode(_too_large(prediction, len(value)))):
            self._output.send(topics.PREDICTIONS, prediction.request_id, answer)
            self._output.flush(FLUSH)
            if len(self._refused) == waiting:
                return
            self._refused.pop()
        log.error("a request of %s stays unanswered: the broker takes no answer to it", prediction.model)

    def _part(self, intake: Intake) -> None:
        """The last answers out, their offsets committed, the group left."""
        deadline = time.monotonic() + FAREWELL
        while not (self._settle() or self._undelivered) and time.monotonic() < deadline:
            pass
        intake.close()

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


def _too_large(prediction: Prediction, size: int) -> Prediction:
    """The answer instead of one of `size` bytes that fits no record."""
    reason = f"the answer has {size} bytes, more than a record may have: ask for fewer items"
    return msgspec.structs.replace(
        prediction, status="error", error=reason, items=None, scores=None, shown=None, propensities=None
    )


if __name__ == "__main__":
    sys.exit(main())
