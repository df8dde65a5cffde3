"""The transport under a real stage (`counting.py`) in a process of its own, on a real broker: what it reads,
where it begins, what it commits, and how it ends."""

import signal
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from infra.local.kafka import Kafka
from schemas.settings import Settings
from schemas.topics import REQUESTS
from tests.integration.transport_world import (
    PARTITIONS,
    RANGE,
    Stage,
    committed,
    delete,
    expected,
    has_read,
    of,
    on,
    prepared,
    produce,
    producer,
    read_to_end,
    sums,
)


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
