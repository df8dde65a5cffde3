"""A stage as a Faust application: one agent, one consumer, no web server, no tables, no topics of Faust's
own.

`run` is the whole life of a stage's process: wait for Kafka, start, work, end in good order or with an error.
"""

import asyncio
import logging
import random
import signal
import time
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

import faust
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from faust.app.base import BootStrategy
from faust.serializers.schemas import Schema
from faust.types import AppT, EventT, Message, StreamT
from mode.types import ServiceT

from schemas.errors import HeadgateError
from schemas.settings import Settings
from schemas.topics import Topic
from streams.driver import Batch, Driver
from streams.exposition import Exposition
from streams.garbage import Garbage
from streams.health import Checkup, Health
from streams.probes import serve
from streams.registry import group, number
from streams.stage import Stage, WaitsForWork
from streams.transport.consumer import BatchConsumer, BatchTransport
from streams.transport.liveness import Liveness, Vitals

log = logging.getLogger(__name__)

TICK = 0.1
SURVEY = 1.0
COMMIT = 1.0
REPORT = 1.0
"""Seconds between ticks, questions for the ends of the logs, commits, and reports to who asks for health."""
EARLY = 0.5
"""A process says that it is not healthy after this part of the patience after which it ends."""
STUCK = 5.0
"""Seconds without a report, at least, after which the event loop counts as stuck: a call may take one."""
BACKOFF = 10.0
"""Longest pause, in seconds, between two attempts to reach Kafka."""
ENDING = 20
"""Seconds after which a process that was told to end, but does not, is ended by the kernel."""


class _OnlyConsumer(BootStrategy):
    """Of Faust's services those that a stage needs: no producer, no web server, no leader election, no
    monitor."""

    def server(self) -> Iterable[ServiceT]:
        return [self.app.consumer, self.app.agents, self.app.topics, self.app.tables]


class _AsIs(Schema[Any, Any]):
    """Hands on batches as the transport made them."""

    def compile(self, app: AppT, **_errors: Any) -> Any:
        async def decode(message: Message, *, propagate: bool = False) -> EventT[Any]:
            return app.create_event(None, message.value, message.headers, message)

        return decode


class StageApp(faust.App):
    """The Faust application around a stage."""

    BootStrategy = _OnlyConsumer
    logger = logging.getLogger("faust")
    consumer: BatchConsumer

    def __init__(self, stage: Stage, settings: Settings, health: Health) -> None:
        super().__init__(
            group(stage.name, settings),
            broker="aiokafka://",
            broker_commit_interval=COMMIT,
            stream_buffer_maxsize=1,
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            store="memory://",
        )
        self.driver = Driver(stage)
        self.failed = asyncio.Event()
        self.transport = BatchTransport(self, self.driver, settings, self.fail)
        self._brokers = settings.kafka.brokers
        self._liveness = Liveness(settings.streams.liveness)
        patience = settings.streams.liveness * EARLY
        self._checkup = Checkup(self.driver, patience, self._brokers, time.monotonic())
        self._health = health
        self._garbage = Garbage()
        names = [topic.full_name(settings.topics) for topic in stage.topics]
        self.agent(self.topic(*names, schema=_AsIs()), name=stage.name)(self._process)
        for task in (self._tick, self._watch, self._report):
            self.task(task)

    async def fail(self, error: BaseException) -> None:
        """Stops the process; from now on nothing is committed."""
        if self.driver.failure is None:
            self.driver.failure = error
            self.failed.set()

    async def work(self) -> None:
        """Starts, and returns when Faust stops by itself, which it does for errors only; they are noted as
        ours."""
        try:
            await self.start()
            await self.wait_until_stopped()
        except Exception as error:
            await self.fail(error)
        else:
            await self.fail(self.crash_reason or RuntimeError("Faust has stopped by itself"))

    async def _process(self, batches: StreamT[Any]) -> None:
        """The agent. Ends with the first error: stock Faust would log it and go on with the next message."""
        batch: Batch
        async for batch in batches:
            try:
                await self.driver.process(batch)
            except Exception as error:
                await self.fail(error)
                return
            self.consumer.hold()

    async def _tick(self) -> None:
        while not self.should_stop:
            try:
                await self.driver.tick()
            except Exception as error:
                await self.fail(error)
                return
            self.consumer.hold()
            self._garbage.collect(time.monotonic())
            await self.sleep(TICK)

    async def _watch(self) -> None:
        """Keeps the ends of the logs known, and ends the process when it is dead without noticing."""
        answering = True
        while not self.should_stop:
            try:
                await self.consumer.survey()
            except (TimeoutError, KafkaError):
                if answering:
                    log.warning("Kafka at %s does not answer; waiting for it", self._brokers)
                answering = False
                self._liveness.unknown()
                self._checkup.broker_is_silent()
            else:
                if not answering:
                    log.info("Kafka at %s answers again", self._brokers)
                answering = True
                now, vitals = time.monotonic(), self._vitals()
                self._checkup.broker_answers(now, vitals)
                if wrong := self._liveness.observe(now, vitals):
                    await self.fail(RuntimeError(wrong))
                    return
            await self.sleep(SURVEY)

    def _vitals(self) -> Vitals:
        driver = self.driver
        return Vitals(
            driver.lag, driver.moves, bool(driver.due()), driver.commits, driver.busy_since, driver.held_back
        )

    async def _report(self) -> None:
        """Tells how things stand to who asks for health."""
        while not self.should_stop:
            self._health.tell(self._checkup.report(time.monotonic()))
            await self.sleep(REPORT)

    async def on_stop(self) -> None:
        """The last call of the stage and the last commit; then Faust leaves the group."""
        try:
            await self.driver.close()
            await self.consumer.commit()
        except Exception as error:
            await self.fail(error)
        await super().on_stop()

    def _create_directories(self) -> None:
        """Stock Faust makes a data folder in the working directory; a stage keeps nothing on disk."""


def run(stage: Stage, settings: Settings) -> int:
    """Runs a stage in the foreground, until SIGINT or SIGTERM (answers 0) or an error, which is logged
    (answers 1)."""
    return asyncio.run(_live(stage, settings))


async def _live(stage: Stage, settings: Settings) -> int:
    told_to_stop = asyncio.Event()

    def stop() -> None:
        told_to_stop.set()
        signal.alarm(ENDING)

    for signal_ in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_, stop)
    health = Health(stage.name, max(settings.streams.liveness * EARLY, STUCK))
    serve(health, Exposition(health), settings.streams.health_address(number(stage.name)))
    try:
        await _first(told_to_stop.wait(), _await_work(stage, settings, health))
        if told_to_stop.is_set():
            return 0
        app = StageApp(stage, settings, health)
        await _first(told_to_stop.wait(), app.failed.wait(), app.work())
        signal.alarm(ENDING)
        await app.stop()
    finally:
        signal.alarm(0)
    return _report(app.driver.failure)


async def _first(*coroutines: Coroutine[Any, Any, object]) -> None:
    """Returns when the first of them is done, or raises what it raised; the others are cancelled."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    for task in done:
        task.result()


def _report(failure: BaseException | None) -> int:
    """The exit status; says what went wrong."""
    if failure is None:
        return 0
    if isinstance(failure, HeadgateError):
        log.error("%s", failure)
    else:
        log.error("the stage failed; nothing is committed beyond what it called safe", exc_info=failure)
    return 1


async def _await_work(stage: Stage, settings: Settings, health: Health) -> None:
    """Returns once the broker has the stage's topics, and there is something to do."""
    await _await_topics(stage.topics, settings, health)
    if isinstance(stage, WaitsForWork):
        before, health.waits_for, health.idle = health.waits_for, stage.waits_for, True
        await stage.work()
        health.waits_for, health.idle = before, False


async def _await_topics(topics: Sequence[Topic], settings: Settings, health: Health) -> None:
    """Returns once the broker answers and has the topics. Says once what it waits for."""
    names = [topic.full_name(settings.topics) for topic in topics]
    said, pause = "", 0.5
    while True:
        try:
            missing = await _missing(names, settings)
        except (KafkaError, OSError):
            waits_for = f"Kafka at {settings.kafka.brokers} does not answer"
            hint = " (if it is up: check the address, and the security settings under [kafka])"
        else:
            if not missing:
                if said:
                    log.info("Kafka answers, and has the topics")
                return
            waits_for = f"Kafka at {settings.kafka.brokers} has no topic {', '.join(missing)}"
            hint = " (`headgate up` creates them, `headgate check` says what else is missing)"
        health.waits_for = waits_for
        if waits_for != said:
            log.warning("%s; waiting for it%s", waits_for, hint)
            said = waits_for
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (jitter, not a secret)
        pause = min(2 * pause, BACKOFF)


async def _missing(names: Sequence[str], settings: Settings) -> list[str]:
    admin = AIOKafkaAdminClient(**settings.kafka.aiokafka())
    try:
        await admin.start()
        present = set(await admin.list_topics())
    finally:
        await admin.close()
    return [name for name in names if name not in present]
