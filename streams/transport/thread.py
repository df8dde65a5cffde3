"""The thread of `transport.py` that owns the aiokafka consumer: it fetches, seeks, and commits what it is
told to.
"""

import asyncio
import contextlib
import logging
from collections.abc import Collection, Coroutine, Mapping
from typing import Any, Protocol, TypeAlias, TypeVar

import aiokafka
from aiokafka.errors import CommitFailedError, IllegalStateError, NoOffsetForPartitionError
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as KafkaPartition
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver_module
from faust.types import TP

from schemas.errors import HeadgateError
from schemas.settings import Settings
from streams.columns import Records
from streams.driver import Batch, Survey
from streams.stage import Assigned, Committed, TopicPartition
from streams.transport import fetch
from streams.transport.assignor import CopartitionedAssignor

log = logging.getLogger(__name__)

Result = TypeVar("Result")

Fetched: TypeAlias = Mapping[TP, list[Batch]]
"""What a fetch brought, none of it empty."""

MAX_PARTITION_BYTES = 2 << 20
"""What one fetch brings of one partition at most, as compressed as it was produced."""
MAX_FETCH_BYTES = 8 << 20
MAX_BATCHES = 4
"""Batches that are made at a time of what was fetched; each is bounded by `fetch.py`. So many are handed on,
as many fetched ahead, and up to three are in Faust's queue and in the stage's hands."""
FETCH_WAIT_MS = 100
"""How long the broker waits for data. A partition that was just emptied waits as long for its next fetch
where the others are idle."""
REBALANCE_MS = 30_000
"""How long the group waits for a member to finish its call and commit. aiokafka's default is the session."""
ANSWER = 5.0
"""Seconds that a question or a commit may take before it is given up, to be tried again."""
TRUNCATED_CHECKS = 5
"""How often, a second apart, the end of a log is asked for again where it ends before the committed
offset."""


class Owner(Protocol):
    """What the thread asks of the consumer that it works for."""

    @property
    def settings(self) -> Settings: ...
    def contract_name(self, partition: KafkaPartition | TP) -> TopicPartition: ...
    async def fail(self, error: Exception) -> None: ...


class BatchThread(driver_module.AIOKafkaConsumerThread):
    """The thread that owns the aiokafka consumer. Coroutines of this class run in its loop; others reach them
    through `ask`."""

    consumer: Owner  # type: ignore[assignment]  # the `BatchConsumer` that has made it
    logger = logging.getLogger("faust")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._stamp = 0
        self._delivered: dict[KafkaPartition, int] = {}
        self._generation = 0
        self._held: frozenset[KafkaPartition] = frozenset()

    async def on_thread_stop(self) -> None:
        """Leaves the group and closes the consumer."""
        # Closed between two attempts to reach a broker, aiokafka's fetcher lets its own cancellation through.
        with contextlib.suppress(asyncio.CancelledError):
            await super().on_thread_stop()

    async def ask(self, coroutine: Coroutine[Any, Any, Result], timeout: float | None = ANSWER) -> Result:
        """Runs a coroutine in this thread, past its queue of methods, which a waiting fetch may hold up.
        Raises `TimeoutError`."""
        future = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.thread_loop))
        return await asyncio.wait_for(future, timeout)

    def _create_worker_consumer(self, transport: driver_module.Transport) -> aiokafka.AIOKafkaConsumer:
        settings = self.consumer.settings
        session = settings.streams.session
        fetch.install()
        return aiokafka.AIOKafkaConsumer(
            **settings.kafka.aiokafka(),
            client_id=self.app.conf.id,
            group_id=self.app.conf.id,
            partition_assignment_strategy=[CopartitionedAssignor()],
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_partition_fetch_bytes=MAX_PARTITION_BYTES,
            fetch_max_bytes=MAX_FETCH_BYTES,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_poll_records=MAX_BATCHES,
            session_timeout_ms=int(session * 1000),
            heartbeat_interval_ms=int(session * 1000 / 5),
            rebalance_timeout_ms=REBALANCE_MS,
            max_poll_interval_ms=3_600_000,
            metadata_max_age_ms=60_000,
            retry_backoff_ms=300,
        )

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> Fetched:
        # Stock Faust never asks for the coordinator's errors; the coordinator waits until somebody does, and
        # the consumer is dead.
        consumer._coordinator.check_errors()
        try:
            fetched = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        except NoOffsetForPartitionError:
            # A partition without a commit, before we sought: `perform_seek` does so for every partition
            # before anything counts.
            return {}
        except HeadgateError as error:
            # A damaged log. Faust would say so with three tracebacks; a person needs the line that ends the
            # process.
            asyncio.run_coroutine_threadsafe(self.consumer.fail(error), self.parent_loop)
            await asyncio.sleep(timeout or 0)
            return {}
        batches: dict[TP, list[Batch]] = {}
        pieces: list[Records]
        for partition, pieces in fetched.items():
            start = self._delivered.get(partition)
            if start is None:
                continue
            ends = [int(records.offsets[-1]) + 1 for records in pieces]
            ends[-1] = max(ends[-1], await consumer.position(partition))
            self._delivered[partition] = ends[-1]
            name = self.consumer.contract_name(partition)
            batches[ensure_TP(partition)] = [
                Batch(name, records, first, end, self._stamp)
                for records, first, end in zip(pieces, [start, *ends], ends, strict=False)
            ]
        return batches

    def hold(self, partitions: frozenset[KafkaPartition]) -> None:
        """From any thread: fetches nothing of these partitions, and of the others again."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the thread has ended
            self.thread_loop.call_soon_threadsafe(self._hold, partitions)

    def _hold(self, partitions: frozenset[KafkaPartition]) -> None:
        """Pauses and resumes. aiokafka forgets pauses with each rebalance; `seek_all` follows on every
        one."""
        self._held = partitions
        if self._consumer is not None:
            assigned, paused = self._consumer.assignment(), self._consumer.paused()
            self._consumer.pause(*((partitions & assigned) - paused))
            self._consumer.resume(*(paused - partitions))

    async def seek_all(self, positions: Mapping[KafkaPartition, int], stamp: int) -> None:
        """Seeks those partitions that are assigned. Without suspension: no fetch comes between."""
        consumer = self._ensure_consumer()
        self._stamp = stamp
        self._delivered = {}
        for partition in consumer.assignment() & positions.keys():
            consumer.seek(partition, positions[partition])
            self._delivered[partition] = positions[partition]
        self._hold(self._held)

    async def survey(self) -> tuple[int, dict[KafkaPartition, Survey]]:
        """How all partitions stand that were sought to, and after which seek."""
        consumer = self._ensure_consumer()
        stamp = self._stamp
        ends = await consumer.end_offsets(list(self._delivered))
        surveys: dict[KafkaPartition, Survey] = {}
        if stamp == self._stamp:
            for partition in consumer.assignment() & ends.keys():
                consumed = await consumer.position(partition)
                surveys[partition] = Survey(ends[partition], self._delivered[partition], consumed)
        return stamp, surveys

    async def standing(self, partitions: Collection[KafkaPartition]) -> dict[KafkaPartition, Assigned]:
        """Commit, log start and log end of partitions."""
        consumer = self._ensure_consumer()
        committed = await consumer._coordinator.fetch_committed_offsets(list(partitions))
        starts = await consumer.beginning_offsets(partitions)
        for _ in range(TRUNCATED_CHECKS):
            ends = await consumer.end_offsets(partitions)
            beyond = [p for p, commit in committed.items() if commit.offset > ends[p]]
            if not beyond:
                break
            # A leader that has just been elected may not know the log's end yet.
            await asyncio.sleep(1.0)
        for partition in beyond:
            log.error(
                "%s-%d: offset %d is committed, but the log ends at %d: made anew, it is read from its start",
                *partition,
                committed.pop(partition).offset,
                ends[partition],
            )
        return {
            partition: Assigned(
                Committed(*committed[partition]) if partition in committed else None,
                starts[partition],
                ends[partition],
            )
            for partition in partitions
        }

    def begin(self, generation: int) -> None:
        """Commits are allowed in this generation of the group only."""
        self._generation = generation

    async def commit_notes(self, commits: Mapping[KafkaPartition, Committed]) -> bool:
        """Commits offsets with their notes. False where the group has moved on. Raises `KafkaError` for what
        the broker refuses."""
        consumer = self._ensure_consumer()
        if consumer._coordinator.generation != self._generation:
            return False
        try:
            await consumer.commit(
                {p: OffsetAndMetadata(commit.offset, commit.metadata) for p, commit in commits.items()}
            )
        except (CommitFailedError, IllegalStateError) as error:
            log.info("not committed: %s", error)
            return False
        return True
