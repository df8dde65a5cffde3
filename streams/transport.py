"""Faust's Kafka transport, by the batch: one message per partition and fetch, and commits that follow the
stage, not what was acknowledged.

Stock Faust makes four asyncio tasks a record and commits what its agents have acknowledged. Here a message
carries what a fetch brought of a partition, as columns (`driver.Batch`, `fetch.py`), and what is committed is
what the stage calls safe, with its note. These parts belong together; changing one alone loses or doubles
records:

- `BatchThread.getmany` makes batches, each knowing where it starts and which seek it follows;
- `BatchConsumer._getmany` fetches the next batches while the stage is at work on the last, and hands on none
  that a seek has overtaken: Faust would note how far they went;
- `BatchConsumer.perform_seek` seeks to what the driver holds, where stock Faust seeks every partition back to
  its commit;
- `BatchConsumer.force_commit` and `BatchThread.commit` commit offset and note as the stage answers, in the
  generation that owns them;
- `BatchConsumer.hold` has aiokafka fetch nothing of partitions that the stage holds back; what is fetched
  already waits in the driver;
- `ack`, `_add_gap` and the buffer callbacks do nothing: there is no other book of offsets than the driver's.

Of a rebalance everything is told to the driver before Faust goes on with it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar, cast

import aiokafka
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, NoOffsetForPartitionError
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as KafkaPartition
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver_module
from faust.types import TP, AppT, ConsumerMessage, Message
from yarl import URL

from schemas.errors import HeadgateError
from schemas.settings import Settings
from streams import fetch
from streams.assignor import CopartitionedAssignor
from streams.columns import Records
from streams.driver import Batch, Driver, Survey
from streams.stage import Assigned, Committed, ReadsAhead, TopicPartition

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


class BatchThread(driver_module.AIOKafkaConsumerThread):
    """The thread that owns the aiokafka consumer. Coroutines of this class run in its loop; others reach them
    through `ask`."""

    consumer: "BatchConsumer"
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
        settings = self.consumer.transport.settings
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


class BatchConsumer(driver_module.Consumer):
    """Faust's consumer, in the service of a `Driver`."""

    transport: "BatchTransport"
    logger = logging.getLogger("faust")
    _thread: BatchThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.driver = self.transport.driver
        self._held: frozenset[TopicPartition] = frozenset()
        self._committing = asyncio.Lock()
        self._commits_fail = False
        self._prefix = self.transport.settings.topics.prefix
        self._ahead: asyncio.Task[Fetched] | None = None

    def _new_consumer_thread(self) -> BatchThread:
        return BatchThread(self, loop=self.loop, beacon=self.beacon)

    def contract_name(self, partition: KafkaPartition | TP) -> TopicPartition:
        """A partition as stages know it."""
        return TopicPartition(partition.topic.removeprefix(self._prefix), partition.partition)

    def full_name(self, partition: TopicPartition) -> KafkaPartition:
        """A partition as the broker knows it."""
        return KafkaPartition(self._prefix + partition.topic, partition.partition)

    # Messages

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Fetched:
        """Hands over what was fetched ahead, and has more fetched, while the stage is at work on that."""
        if self._ahead is None:
            self._ahead = asyncio.create_task(self._fetch(active_partitions, timeout))
        # Cancelled, this leaves the task as it is: what it brings counts as delivered.
        await asyncio.wait((self._ahead,))
        ahead, self._ahead = self._ahead, None
        fetched = ahead.result()
        self._ahead = asyncio.create_task(self._fetch(active_partitions, timeout))
        return {tp: batches for tp, batches in fetched.items() if self.driver.is_current(batches[0])}

    async def _fetch(self, active_partitions: set[TP] | None, timeout: float) -> Fetched:
        """The next batches, prepared for the stage."""
        fetched: Fetched = await self._thread.getmany(active_partitions, timeout)
        stage = self.driver.stage
        if not fetched or not isinstance(stage, ReadsAhead):
            return fetched
        try:
            return await asyncio.to_thread(_prepared, stage, fetched)
        except Exception as error:
            await self.fail(error)
            return {}

    async def on_stop(self) -> None:
        """What is still fetched is for nobody."""
        if self._ahead is not None:
            self._ahead.cancel()
        await super().on_stop()

    def _to_message(self, tp: TP, record: Batch) -> ConsumerMessage:
        offset, timestamp = int(record.records.offsets[-1]), int(record.records.timestamps[-1])
        message = ConsumerMessage(
            tp.topic, tp.partition, offset, timestamp / 1000, 0, [], None, None, None, tp=tp,
            generation_id=self.app.consumer_generation_id,
        )  # fmt: skip
        message.value = cast(Any, record)
        return message

    def ack(self, message: Message) -> bool:
        """Acknowledging means nothing here; see `force_commit`."""
        message.acked = True
        self._unacked_messages.discard(message)
        return False

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        pass

    def on_buffer_full(self, tp: TP) -> None:
        """Stock Faust stops fetching here, and sleeps a second where no other partition is left. Our queue of
        one batch holds back enough."""

    def on_buffer_drop(self, tp: TP) -> None:
        """See `on_buffer_full`."""

    async def verify_all_partitions_active(self) -> None:
        """`liveness.py` judges that. Stock Faust asks even a consumer that has not started yet, and dies of
        it."""

    async def fail(self, error: Exception) -> None:
        """Stops the process."""
        await self.transport.on_failure(error)

    def hold(self) -> None:
        """Has nothing fetched of the partitions that the stage holds back, and of the others again."""
        if self.driver.held != self._held:
            self._held = self.driver.held
            self._thread.hold(frozenset(map(self.full_name, self._held)))

    # Rebalances

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """The group wants to rebalance: finish the call of the stage that is under way, and commit, while all
        is still ours."""
        self.driver.discard_in_flight()
        if self.app.should_stop:
            return
        async with self.driver.quiet():
            await self.commit()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """The group has settled. Tells the stage first; Faust then seeks (`perform_seek`) and resumes."""
        if self.app.should_stop:
            return
        try:
            await self._take(assigned, generation_id)
        except Exception as error:
            await self.transport.on_failure(error)
            return
        await super().on_partitions_assigned(assigned, generation_id)

    async def _take(self, assigned: Iterable[TP], generation: int) -> None:
        partitions = {self.contract_name(tp) for tp in assigned}
        staying = self.driver.staying(partitions, generation)
        asked = time.time_ns() // 1_000_000
        fresh = partitions - staying
        standing = {}
        if fresh:
            answer = await self._thread.ask(
                self._thread.standing([self.full_name(p) for p in fresh]), timeout=None
            )
            standing = {self.contract_name(partition): stands for partition, stands in answer.items()}
        async with self.driver.quiet():
            self.driver.assign(staying, standing, generation, asked)
        self._thread.begin(generation)
        log.info(
            "assigned in generation %d: %s",
            generation,
            ", ".join(f"{p.topic}-{p.partition}" for p in sorted(partitions)) or "nothing",
        )

    async def perform_seek(self) -> None:
        """Seeks every partition to where the stage has read to."""
        self.hold()
        positions = {
            self.full_name(partition): offset for partition, offset in self.driver.positions().items()
        }
        await self._thread.ask(self._thread.seek_all(positions, self.driver.discard_in_flight()))
        self._read_offset.update(
            {ensure_TP(partition): offset or None for partition, offset in positions.items()}
        )

    # Commits

    async def commit(self, topics: object = None, start_new_transaction: bool = True) -> bool:
        """Commits, after any commit that is under way. Stock Faust takes that one for its own, and the last
        one before a rebalance is lost."""
        async with self._committing:
            return await self.force_commit(topics, start_new_transaction)

    async def force_commit(self, topics: object = None, start_new_transaction: bool = True) -> bool:
        """Commits what the stage calls safe, with its notes, where it has changed. False where nothing was
        committed."""
        try:
            due = self.driver.due()
        except Exception as error:
            await self.transport.on_failure(error)
            return False
        if not due:
            return False
        commits = {self.full_name(partition): commit for partition, commit in due.items()}
        try:
            done = await self._thread.ask(self._thread.commit_notes(commits))
        except (TimeoutError, KafkaError) as error:
            if not self._commits_fail:
                log.warning("not committed, to be tried again: %s", str(error) or type(error).__name__)
            self._commits_fail = True
            return False
        self._commits_fail = False
        if done:
            self.driver.committed(due)
        return done

    async def survey(self) -> None:
        """Asks the broker for the ends of the logs, and tells the driver. Raises `TimeoutError` or
        `KafkaError`."""
        asked = time.time_ns() // 1_000_000
        stamp, surveys = await self._thread.ask(self._thread.survey())
        self.driver.surveyed({self.contract_name(p): survey for p, survey in surveys.items()}, stamp, asked)


def _prepared(stage: ReadsAhead, fetched: Fetched) -> Fetched:
    """The same batches, as the stage wants them."""
    return {
        tp: [batch._replace(records=stage.prepare(batch.partition.topic, batch.records)) for batch in batches]
        for tp, batches in fetched.items()
    }


class BatchTransport(driver_module.Transport):
    """Install with `app.transport = BatchTransport(…)`. `on_failure` is told of errors that must stop the
    process."""

    Consumer = BatchConsumer

    def __init__(
        self,
        app: AppT,
        driver: Driver,
        settings: Settings,
        on_failure: Callable[[Exception], Awaitable[None]],
    ) -> None:
        super().__init__([URL("aiokafka://")], app)
        self.driver = driver
        self.settings = settings
        self.on_failure = on_failure
