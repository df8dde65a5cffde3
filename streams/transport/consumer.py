"""Faust's Kafka transport, by the batch: one message per partition and fetch, and commits that follow the
stage, not what was acknowledged.

Stock Faust makes four asyncio tasks a record and commits what its agents have acknowledged. Here a message
carries what a fetch brought of a partition, as columns (`driver.Batch`, `fetch.py`), and what is committed is
what the stage calls safe, with its note. These parts belong together; changing one alone loses or doubles
records:

- `BatchThread.getmany` (`transport_thread.py`) makes batches, each knowing where it starts and which seek it
  follows;
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
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition as KafkaPartition
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver_module
from faust.types import TP, AppT, ConsumerMessage, Message
from yarl import URL

from schemas.settings import Settings
from streams.driver import Batch, Driver
from streams.stage import ReadsAhead, TopicPartition
from streams.transport.thread import BatchThread, Fetched

log = logging.getLogger(__name__)


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
        self.settings = self.transport.settings
        self._prefix = self.settings.topics.prefix
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
