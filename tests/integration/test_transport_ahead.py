"""What is fetched before the stage takes it: ahead of it while it is at work, and of what it holds back."""

import signal
import time
from collections.abc import Callable, Iterable
from itertools import accumulate, pairwise
from pathlib import Path

import psutil
import pytest

from schemas.settings import Settings
from schemas.topics import FEEDBACK, PREDICTIONS, REQUESTS
from streams.transport.thread import MAX_BATCHES
from tests.integration.transport_world import (
    PARTITIONS,
    Stage,
    committed,
    expected,
    given,
    has_read,
    of,
    prepared,
    produce,
    producer,
    read_to_end,
    sums,
)

TOPICS = (REQUESTS, PREDICTIONS, FEEDBACK)
ALL = ",".join(topic.name for topic in TOPICS)
EACH = 100
"""Records in each of the twelve partitions: one batch, and one call of the stage."""
IN_QUEUES = 2
"""Batches that Faust holds between the transport and the stage."""


def places(stage: Stage) -> set[tuple[str, int]]:
    """Of which partitions it was given records."""
    return {(entry["topic"], entry["partition"]) for entry in stage.entries("process")}


@pytest.fixture
def filled(own: Settings) -> Settings:
    for topic in TOPICS:
        for partition in range(PARTITIONS):
            produce(own, range(EACH), topic=topic, partition=partition)
    return own


def test_the_next_batches_come_while_the_stage_is_at_work_on_the_last(
    filled: Settings, start: Callable[..., Stage]
) -> None:
    stage = start(reads=ALL, slow=3600)
    stage.until(lambda s: len(s.entries("prepare")) > MAX_BATCHES)
    assert len(stage.entries("process")) == 1


def test_no_more_comes_ahead_than_is_fetched_at_twice(filled: Settings, start: Callable[..., Stage]) -> None:
    stage = start(reads=ALL, slow=0.3)
    stage.until(has_read(len(TOPICS) * PARTITIONS * EACH))
    steps = [{"prepare": 1, "process": -1}[e["what"]] for e in stage.entries("prepare", "process")]
    assert MAX_BATCHES < max(accumulate(steps)) <= 2 * MAX_BATCHES + IN_QUEUES


def test_what_came_ahead_for_a_partition_that_went_is_given_to_its_next_owner(
    filled: Settings, start: Callable[..., Stage]
) -> None:
    first = start(reads=ALL, slow=2.0)
    first.until(lambda s: len(s.entries("prepare")) > MAX_BATCHES)
    second = start(reads=ALL)
    first.until(lambda s: bool(s.entries("revoked")))
    told = first.entries("prepare", "process", "revoked")
    before = [entry["what"] for entry in told]
    before = before[: before.index("revoked")]
    assert before.count("prepare") > before.count("process")
    gone = {(entry["topic"], entry["partition"]) for entry in told if entry["what"] == "revoked"}
    second.until(lambda s: places(s) >= gone)
    first.until(lambda s: len(places(s)) + len(gone - places(s)) == len(TOPICS) * PARTITIONS)
    for where in gone:
        mine = [
            e["what"] for e in first.entries("process", "revoked") if where == (e["topic"], e["partition"])
        ]
        assert mine[-1] == "revoked"


def test_what_cannot_be_prepared_ends_the_process(own: Settings, start: Callable[..., Stage]) -> None:
    produce(own, range(2_500))
    stage = start(fuse=4_321)
    stage.until(lambda _: committed(own) == 2_000)
    produce(own, range(2_500, 5_000))
    assert stage.process.wait(30) == 1
    assert "ValueError: the fuse has come" in stage.log.read_text()
    assert committed(own) == 2_000
    assert not stage.entries("close")


@pytest.mark.parametrize("after", [0, 1], ids=["from the start", "in mid-stream"])
def test_a_topic_that_is_held_back_waits_while_others_flow_and_then_comes_whole(
    settings: Settings, tmp_path: Path, after: int
) -> None:
    own = prepared(settings, liveness=4.0)  # on a machine with much else to do a commit may take seconds
    size, others = 100_000, 2_000
    for partition in range(PARTITIONS):
        produce(own, range(size), partition=partition, codec="lz4")
        produce(own, range(others), topic=PREDICTIONS, partition=partition)
    stage = Stage(own, tmp_path, holds=REQUESTS.name, after=after, until=PARTITIONS * others + 1)
    try:
        stage.until(lambda s: read_to_end(s, *range(PARTITIONS), topic=PREDICTIONS, end=others))
        stage.until(lambda s: bool(s.entries("held")))
        before, since = given(stage, REQUESTS), time.monotonic()
        stage.until(lambda _: time.monotonic() - since > 1.5 * own.streams.liveness)
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
