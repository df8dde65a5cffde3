"""The transport under a real stage (`counting.py`) in a process of its own, on a real broker."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

import infra.topics
from infra.local.kafka import Kafka
from schemas import topics
from schemas.settings import Settings
from schemas.topics import PREDICTIONS, REQUESTS, SAMPLES, Topic
from streams.log import Follower

STAGE = Path(__file__).with_name("counting.py")
PARTITIONS = 4
RANGE = 1000
names = count()


class Stage:
    """A process of the counting stage, and the journal that it keeps."""

    def __init__(self, settings: Settings, folder: Path, **options: object) -> None:
        number = next(names)
        self.journal = folder / f"journal-{number}"
        self.log = folder / f"log-{number}"
        arguments = [f"{name}={value}" for name, value in options.items()]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, STAGE, self.journal, *arguments],
                stdin=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdin is not None
        with self.process.stdin as stdin:
            stdin.write(msgspec.json.encode(settings))

    def entries(self, *whats: str) -> list[dict[str, Any]]:
        """The journal's entries of these kinds, in order; all where none is named."""
        if not self.journal.exists():
            return []
        lines = self.journal.read_bytes().split(b"\n")[:-1]
        entries = [msgspec.json.decode(line, type=dict[str, Any]) for line in lines]
        return [entry for entry in entries if not whats or entry["what"] in whats]

    def until(self, holds: Callable[["Stage"], bool], seconds: float = 60.0) -> None:
        """Returns once `holds` does; fails, with the log, where the process ends first or the time is
        over."""
        deadline = time.monotonic() + seconds
        while not holds(self):
            dead = self.process.poll() is not None
            if dead or time.monotonic() > deadline:
                state = f"ended with {self.process.returncode}" if dead else "is late"
                pytest.fail(f"the stage {state}; its log:\n{self.log.read_text()}", pytrace=True)
            time.sleep(0.02)

    def processed(self) -> int:
        """How many records it was given."""
        return sum(entry["count"] for entry in self.entries("process"))

    def owned(self) -> set[tuple[str, int]]:
        """What it has, by what it was told."""
        owned: set[tuple[str, int]] = set()
        for entry in self.entries("assigned", "revoked"):
            where = (entry["topic"], entry["partition"])
            (owned.add if entry["what"] == "assigned" else owned.discard)(where)
        return owned

    def stop(self) -> int:
        """SIGTERM; answers the exit status."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        return self.process.wait(30)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def own(settings: Settings) -> Settings:
    """Settings with topics of this test's own, created, and short sessions."""
    return prepared(settings)


@pytest.fixture
def start(own: Settings, tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Starts stages that end with the test."""
    stages: list[Stage] = []

    def start(**options: object) -> Stage:
        stages.append(Stage(own, tmp_path, **options))
        return stages[-1]

    yield start
    for stage in stages:
        stage.kill()


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[Kafka]:
    """A broker to stop and start."""
    kafka = Kafka(tmp_path / "kafka", tmp_path / "kafka.log")
    kafka.start()
    yield kafka
    kafka.stop()


def prepared(settings: Settings, session: float = 2.0, liveness: float = 60.0) -> Settings:
    own = msgspec.structs.replace(
        settings,
        topics=msgspec.structs.replace(settings.topics, prefix=f"{settings.topics.prefix}{next(names)}."),
        streams=msgspec.structs.replace(settings.streams, session=session, liveness=liveness),
    )
    infra.topics.create(own, forever=True)
    return own


def on(kafka: Kafka) -> Settings:
    return msgspec.structs.replace(
        Settings(), kafka=msgspec.structs.replace(Settings().kafka, brokers=kafka.brokers)
    )


def of(entries: Iterable[dict[str, Any]], topic: Topic, partition: int) -> list[dict[str, Any]]:
    return [entry for entry in entries if (entry["topic"], entry["partition"]) == (topic.name, partition)]


def producer(settings: Settings, **config: object) -> Producer:
    """Idempotent, for the order of records is what these tests know them by: retries could change it."""
    return Producer(settings.kafka.librdkafka() | {"linger.ms": 5, "enable.idempotence": True} | config)


def produce(
    settings: Settings,
    values: Iterable[int],
    topic: Topic = REQUESTS,
    partition: int = 0,
    codec: str = "none",
) -> None:
    sender = producer(settings, **{"compression.type": codec})
    for value in values:
        sender.produce(topic.full_name(settings.topics), str(value), partition=partition)
        sender.poll(0)
    assert sender.flush(30) == 0


def committed(settings: Settings, topic: Topic = REQUESTS, partition: int = 0) -> int:
    """The offset that the stage's group has committed; negative for none."""
    where = TopicPartition(topic.full_name(settings.topics), partition)
    admin = AdminClient(settings.kafka.librdkafka())
    request = ConsumerGroupTopicPartitions(f"{settings.topics.prefix}headgate-counting", [where])
    [answer] = admin.list_consumer_group_offsets([request], request_timeout=10).values()
    return int(answer.result(10).topic_partitions[0].offset)


def sums(settings: Settings) -> dict[tuple[str, int, int], set[tuple[int, int]]]:
    """All snapshots of each range that were ever emitted: (count, total)."""
    follower = Follower(settings, topics.PANES)
    found: dict[tuple[str, int, int], set[tuple[int, int]]] = {}
    for entry in follower.refresh():
        row = msgspec.json.decode(entry.value or b"", type=dict[str, Any])
        where = (row["topic"], row["partition"], row["number"])
        found.setdefault(where, set()).add((row["count"], row["total"]))
    follower.close()
    return found


def delete(settings: Settings, below: int) -> None:
    admin = AdminClient(settings.kafka.librdkafka())
    where = TopicPartition(REQUESTS.full_name(settings.topics), 0, below)
    [deletion] = admin.delete_records([where]).values()
    deletion.result(30)


def has_read(records: int) -> Callable[[Stage], bool]:
    return lambda stage: stage.processed() >= records


def expected(topic: Topic, partition: int, values: range) -> dict[tuple[str, int, int], set[tuple[int, int]]]:
    full = range(len(values) // RANGE)
    parts = {number: values[number * RANGE : (number + 1) * RANGE] for number in full}
    return {(topic.name, partition, n): {(len(part), sum(part))} for n, part in parts.items()}


def read_to_end(stage: Stage, *partitions: int, topic: Topic = REQUESTS, end: int) -> bool:
    ends = {
        (entry["topic"], entry["partition"])
        for entry in stage.entries("end")
        if entry["offset"] >= end and entry["end"] >= end
    }
    return ends >= {(topic.name, partition) for partition in partitions}


def test_a_stage_is_given_every_record_once_and_in_order(own: Settings, start: Callable[..., Stage]) -> None:
    for partition in range(PARTITIONS):
        produce(own, range(5_000), partition=partition)
    stage = start()
    stage.until(lambda s: read_to_end(s, *range(PARTITIONS), end=5_000))
    for partition in range(PARTITIONS):
        given = [e for e in stage.entries("process") if e["partition"] == partition]
        assert sum(entry["count"] for entry in given) == 5_000
        assert [given[0]["first"], given[-1]["last"]] == [0, 4_999]
        assert all(after["first"] == before["last"] + 1 for before, after in pairwise(given))


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_codec_is_read(own: Settings, start: Callable[..., Stage], codec: str) -> None:
    produce(own, range(RANGE), codec=codec)
    stage = start()
    stage.until(lambda s: read_to_end(s, 0, end=RANGE))
    assert stage.stop() == 0
    assert sums(own) == expected(REQUESTS, 0, range(RANGE))


def test_a_stop_in_good_order_commits_what_is_safe_and_leaves_the_group(
    own: Settings, start: Callable[..., Stage]
) -> None:
    produce(own, range(2_500))
    first = start()
    first.until(lambda s: read_to_end(s, 0, end=2_500))
    assert first.stop() == 0
    assert first.entries()[-1]["what"] == "close"
    assert committed(own) == 2_000
    second = start()
    second.until(lambda s: len(s.owned()) == 2 * PARTITIONS, seconds=10)


def test_offset_and_note_come_back_as_they_were_committed(own: Settings, start: Callable[..., Stage]) -> None:
    produce(own, range(2_500))
    first = start()
    first.until(lambda s: read_to_end(s, 0, end=2_500))
    first.stop()
    second = start()
    second.until(lambda s: len(s.owned()) == 2 * PARTITIONS)
    [told] = of(second.entries("assigned"), REQUESTS, 0)
    assert (told["offset"], told["metadata"]) == (2_000, "safe=2000 ✓")
    assert (told["start"], told["end"]) == (0, 2_500)


def test_a_partition_that_was_never_committed_is_assigned_without_a_commit(
    own: Settings, start: Callable[..., Stage]
) -> None:
    stage = start()
    stage.until(lambda s: len(s.owned()) == 2 * PARTITIONS)
    assert all("offset" not in entry for entry in stage.entries("assigned"))


def test_killed_at_random_moments_a_stage_resumes_exactly_where_it_called_safe(
    own: Settings, start: Callable[..., Stage]
) -> None:
    chance, size, kills = random.Random(7), 150_000, 5
    feed = producer(own)
    fed = 0

    def feed_until(share: float) -> None:
        nonlocal fed
        while fed < size * share:
            for partition in range(PARTITIONS):
                feed.produce(REQUESTS.full_name(own.topics), str(fed), partition=partition)
            fed += 1
            feed.poll(0)
        assert feed.flush(30) == 0

    lives: list[Stage] = []
    for life in range(kills):
        lives.append(start(slow=0.02))
        feed_until((life + 0.5) / kills)
        lives[-1].until(has_read(chance.randrange(1, 60_000)))
        feed_until((life + 1) / kills)
        lives[-1].until(lambda s: bool(s.entries("safe")))
        lives[-1].kill()
    last = start()
    last.until(lambda s: read_to_end(s, *range(PARTITIONS), end=size))
    assert last.stop() == 0

    whole: dict[tuple[str, int, int], set[tuple[int, int]]] = {}
    for partition in range(PARTITIONS):
        whole |= expected(REQUESTS, partition, range(size))
    assert sums(own) == whole
    for life_before, after in pairwise([*lives, last]):
        for partition in range(PARTITIONS):
            told, *given = of(after.entries("assigned", "process"), REQUESTS, partition)
            safe = [entry["offset"] for entry in of(life_before.entries("safe"), REQUESTS, partition)]
            resumed = of(life_before.entries("assigned"), REQUESTS, partition)[0].get("offset", 0)
            assert told.get("offset", 0) in [resumed, *safe]
            assert not given or given[0]["first"] == told.get("offset", 0)


def test_a_batch_that_fails_ends_the_process_and_commits_nothing_past_safe(
    own: Settings, start: Callable[..., Stage]
) -> None:
    produce(own, range(2_500))
    stage = start(bomb=4_321)
    stage.until(lambda _: committed(own) == 2_000)
    produce(own, range(2_500, 5_000))
    assert stage.process.wait(30) == 1
    assert "ValueError: the bomb at offset 4321" in stage.log.read_text()
    assert committed(own) == 2_000
    assert not stage.entries("close")


def test_when_a_second_worker_comes_and_goes_what_stays_keeps_its_state_and_is_not_read_again(
    own: Settings, start: Callable[..., Stage]
) -> None:
    for partition in range(PARTITIONS):
        produce(own, range(2_500), partition=partition)
    first = start()
    first.until(lambda s: read_to_end(s, *range(PARTITIONS), end=2_500))
    second = start()
    second.until(lambda s: bool(s.owned()))
    first.until(lambda s: bool(s.entries("revoked")))
    stayed = first.owned()
    assert len(stayed) == len(second.owned()) == PARTITIONS
    assert second.stop() == 0
    first.until(lambda s: len(s.owned()) == 2 * PARTITIONS)
    for partition in range(PARTITIONS):
        produce(own, range(2_500, 5_000), partition=partition)
    first.until(lambda s: read_to_end(s, *range(PARTITIONS), end=5_000))
    for topic, partition in stayed:
        mine = [e for e in first.entries() if (e.get("topic"), e.get("partition")) == (topic, partition)]
        assert [e["what"] for e in mine].count("assigned") == 1
        if topic == REQUESTS.name:
            assert sum(e.get("count", 0) for e in mine) == 5_000


def test_three_workers_have_the_same_numbers_of_topics_with_equally_many_partitions(
    own: Settings, start: Callable[..., Stage]
) -> None:
    workers = [start() for _ in range(3)]

    def settled(_: Stage) -> bool:
        shares = [worker.owned() for worker in workers]
        return sum(map(len, shares)) == 2 * PARTITIONS and all(shares)

    workers[0].until(settled)
    for worker in workers:
        requests, predictions = (
            {number for name, number in worker.owned() if name == topic.name}
            for topic in (REQUESTS, PREDICTIONS)
        )
        assert requests == predictions


def test_a_worker_that_was_away_while_others_had_its_partitions_starts_afresh(
    own: Settings, start: Callable[..., Stage]
) -> None:
    produce(own, range(2_500))
    sleeper = start()
    sleeper.until(lambda s: read_to_end(s, 0, end=2_500))
    sleeper.process.send_signal(signal.SIGSTOP)
    heir = start()
    heir.until(lambda s: len(s.owned()) == 2 * PARTITIONS)
    sleeper.process.send_signal(signal.SIGCONT)
    sleeper.until(lambda s: len(s.entries("revoked")) == 2 * PARTITIONS)
    sleeper.until(lambda s: len(s.owned()) + len(heir.owned()) == 2 * PARTITIONS and bool(s.owned()))


def test_a_worker_for_whom_there_was_no_partition_takes_over_when_the_other_one_dies(
    own: Settings, start: Callable[..., Stage]
) -> None:
    produce(own, range(1_500), topic=SAMPLES)
    workers = [start(reads=SAMPLES.name) for _ in range(2)]

    def one_has_read(_: Stage) -> bool:
        return any(read_to_end(worker, 0, topic=SAMPLES, end=1_500) for worker in workers)

    workers[0].until(one_has_read)
    workers[0].until(lambda _: committed(own, topic=SAMPLES) == 1_000)
    workers.sort(key=lambda worker: len(worker.owned()))
    idle, owner = workers
    owner.kill()
    produce(own, range(1_500, 3_000), topic=SAMPLES)
    idle.until(lambda s: read_to_end(s, 0, topic=SAMPLES, end=3_000))
    assert idle.entries("process")[0]["first"] == 1_000


def test_transactions_are_read_when_committed_and_their_markers_count_as_read(
    own: Settings, start: Callable[..., Stage]
) -> None:
    sender = producer(own, **{"transactional.id": f"{own.topics.prefix}test"})
    sender.init_transactions()
    for values, end in ((range(10), sender.commit_transaction), (range(10, 20), sender.abort_transaction)):
        sender.begin_transaction()
        for value in values:
            sender.produce(REQUESTS.full_name(own.topics), str(value), partition=0)
        sender.flush()
        end()
    stage = start()
    stage.until(lambda s: read_to_end(s, 0, end=22))
    assert stage.processed() == 10


def test_a_commit_that_retention_overtook_is_told_and_reading_starts_where_the_log_does(
    own: Settings, start: Callable[..., Stage]
) -> None:
    produce(own, range(2_500))
    first = start()
    first.until(lambda s: read_to_end(s, 0, end=2_500))
    first.stop()
    produce(own, range(2_500, 6_000))
    delete(own, below=3_500)
    second = start()
    second.until(lambda s: read_to_end(s, 0, end=6_000))
    [told] = of(second.entries("assigned"), REQUESTS, 0)
    assert (told["offset"], told["start"]) == (2_000, 3_500)
    assert second.entries("process")[0]["first"] == 3_500
    assert second.processed() == 2_500


def test_retention_that_overtakes_a_reader_in_mid_stream_ends_it_and_the_next_one_is_told(
    settings: Settings, tmp_path: Path
) -> None:
    own = prepared(settings, session=30.0)
    produce(own, range(2_500))
    first = Stage(own, tmp_path)
    first.until(lambda _: committed(own) == 2_000)
    first.process.send_signal(signal.SIGSTOP)
    time.sleep(1.0)  # the broker, which nobody can ask, still holds a fetch that new records would answer
    produce(own, range(2_500, 6_000))
    delete(own, below=3_500)
    first.process.send_signal(signal.SIGCONT)
    assert first.process.wait(30) == 1
    second = Stage(own, tmp_path)
    try:
        second.until(lambda s: read_to_end(s, 0, end=6_000))
        [told] = of(second.entries("assigned"), REQUESTS, 0)
        assert (told["offset"], told["start"]) == (2_000, 3_500)
    finally:
        second.kill()


def test_a_busy_partition_does_not_wait_for_idle_ones(own: Settings, start: Callable[..., Stage]) -> None:
    stage = start()
    stage.until(lambda s: len(s.owned()) == 2 * PARTITIONS)
    for value in range(20):
        produce(own, [value])
        sent = time.monotonic()
        stage.until(has_read(value + 1))
        assert time.monotonic() - sent < 1.0


def given(stage: Stage, topic: Topic) -> int:
    """How many records of a topic it was given."""
    return sum(entry["count"] for entry in stage.entries("process") if entry["topic"] == topic.name)


@pytest.mark.parametrize("after", [0, 1], ids=["from the start", "in mid-stream"])
def test_a_topic_that_is_held_back_waits_while_others_flow_and_then_comes_whole(
    settings: Settings, tmp_path: Path, after: int
) -> None:
    own = prepared(settings, liveness=2.0)
    size, others = 100_000, 2_000
    for partition in range(PARTITIONS):
        produce(own, range(size), partition=partition, codec="lz4")
        produce(own, range(others), topic=PREDICTIONS, partition=partition)
    stage = Stage(own, tmp_path, holds=REQUESTS.name, after=after, until=PARTITIONS * others + 1)
    try:
        stage.until(lambda s: read_to_end(s, *range(PARTITIONS), topic=PREDICTIONS, end=others))
        stage.until(lambda s: bool(s.entries("held")))
        before, since = given(stage, REQUESTS), time.monotonic()
        stage.until(lambda _: time.monotonic() - since > 2 * own.streams.liveness)
        assert given(stage, REQUESTS) == before < PARTITIONS * size
        waits = [of(stage.entries("held"), REQUESTS, partition)[-1] for partition in range(PARTITIONS)]
        assert sum(told["end"] - told["offset"] for told in waits) == PARTITIONS * size - before
        produce(own, [others], topic=PREDICTIONS)
        stage.until(lambda s: read_to_end(s, *range(PARTITIONS), end=size))
        assert stage.stop() == 0
    finally:
        stage.kill()
    for partition in range(PARTITIONS):
        parts = of(stage.entries("process"), REQUESTS, partition)
        assert [parts[0]["first"], parts[-1]["last"]] == [0, size - 1]
        assert all(later["first"] == earlier["last"] + 1 for earlier, later in pairwise(parts))
        assert sum(part["count"] for part in parts) == size


def test_of_a_topic_that_is_held_back_little_is_taken_into_memory_however_well_it_compresses(
    own: Settings, start: Callable[..., Stage]
) -> None:
    stage = start(holds=REQUESTS.name, after=1, until=3_000)
    stage.until(lambda s: len(s.owned()) == 2 * PARTITIONS)
    before = psutil.Process(stage.process.pid).memory_info().rss
    sender = producer(own, **{"compression.type": "zstd"})
    for _ in range(5_000):
        sender.produce(REQUESTS.full_name(own.topics), "1".rjust(100_000), partition=0)
        sender.poll(0)
    assert sender.flush(60) == 0
    stage.until(lambda s: bool(s.entries("held")))

    def has_taken_little() -> bool:
        return psutil.Process(stage.process.pid).memory_info().rss - before < 256 << 20

    def let_flow(values: Iterable[int], end: int) -> None:
        produce(own, values, topic=PREDICTIONS)
        stage.until(lambda s: read_to_end(s, 0, topic=PREDICTIONS, end=end))

    let_flow(range(1_000), 1_000)
    assert has_taken_little()
    stage.process.send_signal(signal.SIGSTOP)
    time.sleep(2 * own.streams.session)  # nobody can be asked whether the group has given it up
    stage.process.send_signal(signal.SIGCONT)
    stage.until(lambda s: len(s.entries("assigned")) == 4 * PARTITIONS)
    for end in range(1_001, 1_006):
        let_flow([0], end)
    assert has_taken_little()
    assert given(stage, REQUESTS) < 5_000


def test_a_topic_that_is_held_back_over_a_rebalance_comes_whole_afterwards(
    own: Settings, start: Callable[..., Stage]
) -> None:
    size, others = 50_000, 500
    for partition in range(PARTITIONS):
        produce(own, range(size), partition=partition)
        produce(own, range(others), topic=PREDICTIONS, partition=partition)
    first = start(holds=REQUESTS.name, after=1, until=10_000)
    first.until(lambda s: bool(s.entries("held")))
    second = start(holds=REQUESTS.name, after=1, until=10_000)
    second.until(lambda s: bool(s.owned()))
    assert second.stop() == 0
    first.until(lambda s: len(s.owned()) == 2 * PARTITIONS)
    first.until(lambda s: read_to_end(s, *range(PARTITIONS), topic=PREDICTIONS, end=others))
    assert given(first, REQUESTS) < PARTITIONS * size
    produce(own, range(others, 10_000), topic=PREDICTIONS)
    first.until(lambda s: read_to_end(s, *range(PARTITIONS), end=size))
    assert first.stop() == 0
    whole: dict[tuple[str, int, int], set[tuple[int, int]]] = {}
    for partition in range(PARTITIONS):
        whole |= expected(REQUESTS, partition, range(size))
    assert {where: found for where, found in sums(own).items() if where[0] == REQUESTS.name} == whole


def test_a_broker_restart_in_mid_stream_is_survived(kafka: Kafka, tmp_path: Path) -> None:
    own = prepared(on(kafka))
    produce(own, range(2_500))
    stage = Stage(own, tmp_path)
    try:
        stage.until(lambda s: read_to_end(s, 0, end=2_500))
        kafka.restart()
        produce(own, range(2_500, 5_000))
        stage.until(lambda s: read_to_end(s, 0, end=5_000), seconds=60)
        stage.until(lambda s: committed(own) == 5_000)
        assert stage.stop() == 0
        assert stage.processed() == 5_000
    finally:
        stage.kill()


def test_a_record_batch_that_is_damaged_on_the_brokers_disk_ends_the_process_with_a_line_that_says_where(
    kafka: Kafka, tmp_path: Path
) -> None:
    own = prepared(on(kafka))
    produce(own, range(10))
    kafka.stop()
    [segment] = (tmp_path / "kafka").rglob(f"{REQUESTS.full_name(own.topics)}-0/*.log")
    written = bytearray(segment.read_bytes())
    written[-2] ^= 0xFF
    segment.write_bytes(written)
    kafka.start()
    stage = Stage(own, tmp_path)
    try:
        assert stage.process.wait(60) == 1
        said = stage.log.read_text()
        where = f"{REQUESTS.full_name(own.topics)}-0"
        assert f"ERROR {where}: the record batch at offset 0 is damaged: its CRC is" in said
        assert "Traceback" not in said
        assert stage.processed() == 0
    finally:
        stage.kill()


def test_a_broker_that_is_away_at_the_start_is_waited_for_and_said_once(kafka: Kafka, tmp_path: Path) -> None:
    own = prepared(on(kafka))
    kafka.stop()
    stage = Stage(own, tmp_path)
    try:
        stage.until(lambda s: "does not answer" in s.log.read_text())
        kafka.start()
        stage.until(lambda s: len(s.owned()) == 2 * PARTITIONS)
        assert stage.log.read_text().count("does not answer") == 1
    finally:
        stage.kill()
