"""A serving worker: requests from Kafka, batch by batch through ONNX Runtime, predictions back to Kafka.

Three threads: this one batches and answers, `control.py`'s follows releases, and one loads versions. Between
them there is one pointer a model. What is lost by a crash is nothing: answers are with the broker before the
offsets of their requests are committed.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message

from schemas import topics
from schemas.errors import HeadgateError
from schemas.records import ENCODER, DeadLetter, Prediction
from schemas.settings import Settings
from serving import batcher
from serving.control import Control
from serving.engine import Engine, Job
from serving.intake import Intake
from serving.outage import Outage
from serving.repository import Repository
from serving.requests import Reader
from serving.runtime import providers
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


def serve(settings: Settings, models: Path, only: Sequence[str] = (), threads: int = 1) -> int:
    """Serves the model repository `models` (of its models `only` those named) until SIGTERM or Ctrl-C, then
    answers 0.

    `threads`: CPU threads of one model run. Raises `HeadgateError` for a folder or topic that is missing.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    repository = Repository(models)
    for model in only:
        if model not in repository.models():
            known = ", ".join(repository.models()) or "none"
            raise HeadgateError(f"{models}: found no model {model!r}, expected one of: {known}")
    stop = threading.Event()

    def halt(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, halt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        Worker(settings, repository, only, threads, stop).run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


class Worker:
    """One worker, from the first release read to the last offset committed."""

    def __init__(
        self,
        settings: Settings,
        repository: Repository,
        only: Sequence[str],
        threads: int,
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._stop = stop
        self._group = group_of(settings, only)
        self._name = f"{socket.gethostname()}-{os.getpid()}"
        self._outage = Outage(settings.kafka.brokers)
        self._output = Output(settings)
        self._control = Control(
            settings, repository, only, self._output, self._outage, stop, self._name, clock, threads
        )
        self._engine = Engine(self._name, clock)
        self._reader = Reader(clock, self._control.serves)
        self._is_ready = False
        self._undelivered = False
        self._next_settle = 0.0

    def run(self) -> None:
        """Serves until `stop` is set. Raises what made the control thread give up, where that set it."""
        self._control.start()
        self._control.ready.wait()
        if not self._stop.is_set():
            intake = Intake(self._settings, self._group, self._outage, self._settle, self._announce)
            try:
                self._loop(intake)
            finally:
                self._part(intake)
        self._control.join()
        if self._control.failure is not None:
            raise self._control.failure

    def _loop(self, intake: Intake) -> None:
        while not self._stop.is_set():
            most, wait_ms = self._control.limits()
            messages = batcher.collect(intake.consume, most, wait_ms / 1000, IDLE)
            if messages:
                self._answer(messages)
                intake.answered(messages)
            if time.monotonic() >= self._next_settle:
                self._next_settle = time.monotonic() + SETTLE
                if self._settle():
                    intake.commit()
                elif self._undelivered and intake.rewind():
                    self._undelivered = False

    def _answer(self, messages: Sequence[Message]) -> None:
        jobs: list[Job] = []
        for message in messages:
            found = self._reader.read(message)
            if isinstance(found, Job):
                jobs.append(found)
            elif isinstance(found, DeadLetter):
                self._output.send(topics.DEAD_LETTERS, found.key, ENCODER.encode(found))
        asked = {job.request.model for job in jobs}
        states = {model: self._control.state(model) for model in asked}
        policies = {model: self._control.policy(model) for model in asked}
        for prediction in self._engine.answer(jobs, states, policies):
            self._send(prediction)

    def _send(self, prediction: Prediction) -> None:
        value = ENCODER.encode(prediction)
        try:
            self._output.send(topics.PREDICTIONS, prediction.request_id, value)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise
            reason = f"the answer has {len(value)} bytes, more than a record may have: ask for fewer items"
            self._send(
                msgspec.structs.replace(
                    prediction, status="error", error=reason, items=None, scores=None, shown=None
                )
            )

    def _settle(self) -> bool:
        """Waits until the broker has all answers so far. False: it has not yet, or (`undelivered`, until the
        next rewind) never will."""
        try:
            self._output.flush(FLUSH)
        except KafkaException as error:
            reason = error.args[0]
            if reason.code() == KafkaError._TIMED_OUT:
                return False
            if not self._outage:
                log.error("answers not delivered (%s): their requests are answered again", reason.str())
            self._undelivered = True
        return not self._undelivered

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
        log.info(
            "%s ready: %s; on %s; group %s, partitions %s",
            self._name,
            ", ".join(self._control.loaded()) or "no version loaded yet",
            ", ".join(providers()),
            self._group,
            ", ".join(map(str, partitions)) or "none yet",
        )
